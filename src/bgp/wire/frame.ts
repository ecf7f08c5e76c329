import { MessageError } from './error.ts';

/** Marker (16 bytes of ones), length, type (RFC 4271 §4.1). */
export const HEADER_LENGTH = 19;
export const MAX_LENGTH = 4096;
/** Where both sides offered extended messages (RFC 8654); OPEN and KEEPALIVE stay within 4096 even then. */
export const MAX_EXTENDED_LENGTH = 65535;

export const MESSAGE_TYPES = ['OPEN', 'UPDATE', 'NOTIFICATION', 'KEEPALIVE', 'ROUTE-REFRESH'] as const;
export type MessageType = (typeof MESSAGE_TYPES)[number];

/** The shortest legal message of each type, header included; ROUTE-REFRESH says 7/1 for itself (RFC 7313 §5). */
const MIN_LENGTHS: Readonly<Record<MessageType, number>> = {
  OPEN: 29,
  UPDATE: 23,
  NOTIFICATION: 21,
  KEEPALIVE: 19,
  'ROUTE-REFRESH': 19,
};

const LENGTH_AT = 16;
const TYPE_AT = 18;

/**
 * The type of the message that starts at `offset` with at least a whole header.
 *
 * @throws {MessageError} 1/1, 1/2 or 1/3 with the data of RFC 4271 §6.1.
 */
export function checkHeader(bytes: Buffer, offset: number, maxLength: number): MessageType {
  let marker = 0xff;
  for (let at = offset; at < offset + LENGTH_AT; at++) marker &= bytes[at] as number;
  if (marker !== 0xff) throw badMarker(bytes, offset);
  const length = bytes.readUInt16BE(offset + LENGTH_AT);
  if (length < HEADER_LENGTH || length > maxLength) throw badLength(bytes, offset, length);
  const code = bytes.readUInt8(offset + TYPE_AT);
  const type = MESSAGE_TYPES[code - 1];
  if (type === undefined) {
    throw new MessageError(
      { code: 1, subcode: 3, data: Buffer.of(code) },
      `Cannot read message header: there is no such type (value ${code})`,
      TYPE_AT,
    );
  }
  const outgrown = length > MAX_LENGTH && (type === 'OPEN' || type === 'KEEPALIVE');
  const wrong = type === 'KEEPALIVE' && length !== HEADER_LENGTH;
  if (length < MIN_LENGTHS[type] || outgrown || wrong) throw badLength(bytes, offset, length);
  return type;
}

function badMarker(bytes: Buffer, offset: number): MessageError {
  const at = bytes.subarray(offset, offset + LENGTH_AT).findIndex((byte) => byte !== 0xff);
  return new MessageError(
    { code: 1, subcode: 1 },
    'Cannot read message header: the marker is not all ones',
    at,
  );
}

function badLength(bytes: Buffer, offset: number, length: number): MessageError {
  const at = offset + LENGTH_AT;
  return new MessageError(
    { code: 1, subcode: 2, data: bytes.subarray(at, at + 2) },
    `Cannot read message header: the length does not suit the type (value ${length})`,
    LENGTH_AT,
  );
}

/** Puts a header in front of a body. */
export function frame(type: MessageType, body: Uint8Array): Buffer {
  const bytes = Buffer.allocUnsafe(HEADER_LENGTH + body.length);
  writeHeader(bytes, type);
  bytes.set(body, HEADER_LENGTH);
  return bytes;
}

/** Fills in the header of a message that is already as long as it will be. */
export function writeHeader(message: Buffer, type: MessageType): void {
  message.fill(0xff, 0, LENGTH_AT);
  message.writeUInt16BE(message.length, LENGTH_AT);
  message.writeUInt8(MESSAGE_TYPES.indexOf(type) + 1, TYPE_AT);
}

/**
 * Takes a message out of a stream: the bytes of `bytes` from `start` to `end`, header included. They are valid
 * during the call. No view is made of them, because a view costs more than to read a short UPDATE.
 */
export type Receive = (type: MessageType, bytes: Buffer, start: number, end: number) => void;

/** Cuts a stream into messages. */
export class Framer {
  /** Raise it to MAX_EXTENDED_LENGTH once both OPENs have been exchanged. */
  maxLength = MAX_LENGTH;
  #pending: Buffer = Buffer.alloc(0);

  /** Bytes that wait for the rest of their message. */
  get pending(): number {
    return this.#pending.length;
  }

  /**
   * @throws {MessageError} Of the header, or whatever `receive` throws. The stream cannot be continued after the former.
   */
  push(chunk: Buffer, receive: Receive): void {
    const bytes = this.#pending.length === 0 ? chunk : Buffer.concat([this.#pending, chunk]);
    let at = 0;
    try {
      while (bytes.length - at >= HEADER_LENGTH) {
        const type = checkHeader(bytes, at, this.maxLength);
        const start = at;
        const end = start + bytes.readUInt16BE(start + LENGTH_AT);
        if (end > bytes.length) break;
        at = end;
        receive(type, bytes, start, end);
      }
    } finally {
      // The chunk belongs to the socket: what waits is copied, less than one message of it.
      this.#pending = Buffer.from(bytes.subarray(at));
    }
  }
}
