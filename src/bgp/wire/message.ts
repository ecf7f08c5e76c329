import { frame, MAX_LENGTH } from './frame.ts';
import { encodeNotification, type Notification } from './notification.ts';
import { encodeOpen, type Open } from './open.ts';
import { encodeRouteRefresh, type RouteRefresh } from './refresh.ts';
import type { Update } from './update.ts';

export interface Keepalive {
  readonly type: 'KEEPALIVE';
}

export type Message = Open | Update | Notification | Keepalive | RouteRefresh;

/** KEEPALIVE is the same 19 bytes every time. */
export const KEEPALIVE: Buffer = frame('KEEPALIVE', Buffer.alloc(0));

/**
 * A whole message, header included. UPDATEs have an encoder of their own: see `encodeUpdate`.
 *
 * @throws {RangeError} If an OPEN does not fit into 4096 bytes.
 */
export function encodeMessage(message: Open | Notification | Keepalive | RouteRefresh): Buffer {
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
