import { isIPv4 } from '../../address/ip.ts';
import { Cursor, type Fault } from '../wire/cursor.ts';
import { MessageError } from '../wire/error.ts';
import { afiSafiOf } from '../wire/family.ts';
import {
  BMP_TYPES,
  BMP_VERSION,
  type BmpMessage,
  COMMON_HEADER,
  type Information,
  type PeerDownReason,
  type PeerUp,
  type Statistic,
  statisticShape,
  type Termination,
  type UnknownStatistic,
} from './message.ts';
import { readAddress, readPeerHeader } from './peerHeader.ts';

/** BMP knows no NOTIFICATION: a station that cannot read closes the connection. */
const FAULT: Fault = { code: 0, subcode: 0, what: 'BMP message' };

/** More than a Peer Up with two extended OPENs and text, or an extended UPDATE, can take. */
const MAX_BMP_LENGTH = 0x30000;

const BGP_LENGTH_AT = 16;
const BGP_HEADER = 19;

/**
 * Reads a whole message. Types and TLVs not known here are kept as bytes.
 *
 * @throws {MessageError} With code 0, if the version or a length is wrong.
 */
export function decodeBmp(bytes: Buffer): BmpMessage {
  const cursor = new Cursor(bytes, FAULT);
  const version = cursor.u8();
  if (version !== BMP_VERSION) throw cursor.error(`version 3 is wanted (value ${version})`);
  const length = cursor.u32();
  if (length !== bytes.length) throw cursor.error(`the header announces ${length} bytes of ${bytes.length}`);
  const code = cursor.u8();
  const type = BMP_TYPES[code];
  switch (type) {
    case 'initiation':
      return { type, information: readInformation(cursor) };
    case 'termination':
      return readTermination(cursor);
    case 'route-monitoring':
      return { type, peer: readPeerHeader(cursor), update: Buffer.from(cursor.rest()) };
    case 'peer-up':
      return readPeerUp(cursor);
    case 'peer-down':
      return { type, peer: readPeerHeader(cursor), reason: readReason(cursor) };
    case 'statistics':
      return { type, peer: readPeerHeader(cursor), statistics: readStatistics(cursor) };
    default:
      return { type: 'unknown', code, body: Buffer.from(cursor.rest()) };
  }
}

function readInformation(cursor: Cursor): Information[] {
  const information: Information[] = [];
  while (cursor.remaining > 0) {
    const type = cursor.u16();
    information.push({ type, value: Buffer.from(cursor.take(cursor.u16())) });
  }
  return information;
}

function readTermination(cursor: Cursor): Termination {
  let reason = 1;
  let text: string | undefined;
  for (const { type, value } of readInformation(cursor)) {
    if (type === 0) text = value.toString();
    else if (type === 1 && value.length === 2) reason = value.readUInt16BE();
  }
  return { type: 'termination', reason, ...(text !== undefined && { text }) };
}

function readPeerUp(cursor: Cursor): PeerUp {
  const peer = readPeerHeader(cursor);
  const local = cursor.take(16);
  const { address } = peer;
  return {
    type: 'peer-up',
    peer,
    ...(address !== undefined && { localAddress: readAddress(local, !isIPv4(address)) }),
    localPort: cursor.u16(),
    remotePort: cursor.u16(),
    sentOpen: readBgpMessage(cursor),
    receivedOpen: readBgpMessage(cursor),
    information: readInformation(cursor),
  };
}

/** One BGP message, as long as its own header says. */
function readBgpMessage(cursor: Cursor): Buffer {
  const start = cursor.offset;
  if (cursor.remaining < BGP_HEADER) throw cursor.error('a BGP message is cut off in its header');
  const length = cursor.bytes.readUInt16BE(start + BGP_LENGTH_AT);
  if (length < BGP_HEADER) throw cursor.error(`a BGP message has at least 19 bytes (value ${length})`);
  return Buffer.from(cursor.take(length));
}

function readReason(cursor: Cursor): PeerDownReason {
  const code = cursor.u8();
  switch (code) {
    case 1:
      return { kind: 'local-notification', notification: readBgpMessage(cursor) };
    case 2:
      return { kind: 'local-close', event: cursor.u16() };
    case 3:
      return { kind: 'remote-notification', notification: readBgpMessage(cursor) };
    case 4:
      return { kind: 'remote-close' };
    case 5:
      return { kind: 'deconfigured' };
    case 6:
      return { kind: 'table-closed', information: readInformation(cursor) };
    default:
      return { kind: 'unknown', code, data: Buffer.from(cursor.rest()) };
  }
}

function readStatistics(cursor: Cursor): (Statistic | UnknownStatistic)[] {
  const count = cursor.u32();
  // Each takes at least its type and length: a wrong count must not make a large array.
  if (count > cursor.remaining / 4) throw cursor.error(`there cannot be so many statistics (value ${count})`);
  return Array.from({ length: count }, () => readStatistic(cursor));
}

function readStatistic(cursor: Cursor): Statistic | UnknownStatistic {
  const type = cursor.u16();
  const value = cursor.part(cursor.u16());
  const shape = statisticShape(type);
  if (shape === 'counter' && value.remaining === 4) return { type, value: BigInt(value.u32()) };
  if (shape === 'gauge' && value.remaining === 8) return { type, value: value.u64() };
  if (shape === 'family-gauge' && value.remaining === 11) {
    const family = afiSafiOf(value.u16(), value.u8());
    return { type, family, value: value.u64() };
  }
  return { type, data: Buffer.from(value.rest()) };
}

/** Cuts the stream of one router into messages; what waits for its rest is bounded by {@link MAX_BMP_LENGTH}. */
export class BmpFramer {
  #pending: Buffer = Buffer.alloc(0);

  /** @throws {MessageError} If the stream is not BMP version 3, or a message is longer than any may be. */
  push(chunk: Buffer, receive: (message: Buffer) => void): void {
    const bytes = this.#pending.length === 0 ? chunk : Buffer.concat([this.#pending, chunk]);
    let at = 0;
    try {
      while (bytes.length - at >= COMMON_HEADER) {
        const length = bytes.readUInt32BE(at + 1);
        if (bytes[at] !== BMP_VERSION || length < COMMON_HEADER || length > MAX_BMP_LENGTH) {
          const value = `version ${bytes[at]}, length ${length}`;
          throw new MessageError(FAULT, `Cannot read BMP message: the header is wrong (value ${value})`, 0);
        }
        const start = at;
        if (start + length > bytes.length) break;
        at += length;
        receive(bytes.subarray(start, at));
      }
    } finally {
      this.#pending = Buffer.from(bytes.subarray(at));
    }
  }
}
