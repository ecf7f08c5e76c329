import { MessageError } from './error.ts';
import { checkHeader, frame, HEADER_LENGTH, MAX_EXTENDED_LENGTH, MAX_LENGTH } from './frame.ts';
import { decodeNotification, encodeNotification, type Notification } from './notification.ts';
import { decodeOpen, encodeOpen, type Open } from './open.ts';
import { decodeRouteRefresh, encodeRouteRefresh, type RouteRefresh } from './refresh.ts';
import { type DecodedUpdate, decodeUpdate, type Update, type UpdateContext } from './update.ts';

export interface Keepalive {
  readonly type: 'KEEPALIVE';
}

export type Message = Open | Update | Notification | Keepalive | RouteRefresh;

/** A message as received: an UPDATE comes with the verdict on it. */
export type DecodedMessage = Exclude<Message, Update> | ({ readonly type: 'UPDATE' } & DecodedUpdate);

/** KEEPALIVE is the same 19 bytes every time. */
export const KEEPALIVE: Buffer = frame('KEEPALIVE', Buffer.alloc(0));

/**
 * A whole message, header included.
 *
 * @throws {RangeError} If an OPEN does not fit into 4096 bytes.
 */
export function encodeMessage(message: Exclude<Message, Update>): Buffer {
  switch (message.type) {
    case 'OPEN': {
      const bytes = frame('OPEN', encodeOpen(message));
      if (bytes.length > MAX_LENGTH) {
        throw new RangeError(
          `Cannot write OPEN: it is longer than ${MAX_LENGTH} bytes (value ${bytes.length})`,
        );
      }
      return bytes;
    }
    case 'NOTIFICATION':
      return frame('NOTIFICATION', encodeNotification(message));
    case 'KEEPALIVE':
      return KEEPALIVE;
    case 'ROUTE-REFRESH':
      return frame('ROUTE-REFRESH', encodeRouteRefresh(message));
  }
}

/**
 * Reads the one message that `bytes` holds, as long as extended messages may be.
 *
 * @throws {MessageError} If it is not one, or not all of one; never for what is wrong inside an UPDATE.
 */
export function decodeMessage(bytes: Buffer, context: UpdateContext): DecodedMessage {
  if (bytes.length < HEADER_LENGTH) throw wrongSize(bytes, `a header is ${HEADER_LENGTH} bytes`);
  const type = checkHeader(bytes, 0, MAX_EXTENDED_LENGTH);
  const length = bytes.readUInt16BE(16);
  if (length !== bytes.length) throw wrongSize(bytes, `the header announces ${length} bytes`);
  switch (type) {
    case 'OPEN':
      return decodeOpen(bytes);
    case 'UPDATE':
      return { type, ...decodeUpdate(bytes, context) };
    case 'NOTIFICATION':
      return decodeNotification(bytes);
    case 'KEEPALIVE':
      return { type };
    case 'ROUTE-REFRESH':
      return decodeRouteRefresh(bytes);
  }
}

function wrongSize(bytes: Buffer, reason: string): MessageError {
  return new MessageError(
    { code: 1, subcode: 2, data: bytes.subarray(16, 18) },
    `Cannot read message: ${reason} (value ${bytes.length})`,
    Math.min(16, bytes.length),
  );
}
