import { Cursor } from './cursor.ts';
import { MessageError } from './error.ts';
import { type AfiSafi, afiOf, afiSafiOf, safiOf } from './family.ts';
import { HEADER_LENGTH } from './frame.ts';
import { ROUTE_REFRESH_ERROR } from './notification.ts';

/** RFC 2918; the subtype is the message's third byte, reserved before RFC 7313. */
export interface RouteRefresh {
  readonly type: 'ROUTE-REFRESH';
  readonly family: AfiSafi;
  readonly subtype: number;
}

/** Please send everything again. */
export const REFRESH_REQUEST = 0;
/** Beginning of Route Refresh: what follows replaces all routes sent so far. */
export const REFRESH_BEGIN = 1;
/** End of Route Refresh: what has not been sent again is gone. */
export const REFRESH_END = 2;

/**
 * Subtypes are checked by who negotiated enhanced refresh; unknown ones are to be ignored (RFC 7313 §5).
 *
 * @throws {MessageError} 7/1 with the whole message as data, if BoRR or EoRR are not four bytes; 1/2 for the rest.
 */
export function decodeRouteRefresh(message: Buffer): RouteRefresh {
  const length = message.length - HEADER_LENGTH;
  const subtype = message[HEADER_LENGTH + 2] ?? 0;
  const enhanced = subtype === REFRESH_BEGIN || subtype === REFRESH_END;
  // A plain request may carry outbound route filters (RFC 5291) behind the first four bytes.
  if (length < 4 || (enhanced && length !== 4)) {
    throw new MessageError(
      { code: ROUTE_REFRESH_ERROR, subcode: 1, data: message },
      `Cannot read ROUTE-REFRESH: the body must be 4 bytes (value ${length})`,
      HEADER_LENGTH,
    );
  }
  const cursor = new Cursor(
    message,
    { code: ROUTE_REFRESH_ERROR, subcode: 1, what: 'ROUTE-REFRESH' },
    HEADER_LENGTH,
  );
  const afi = cursor.u16();
  cursor.u8();
  return { type: 'ROUTE-REFRESH', family: afiSafiOf(afi, cursor.u8()), subtype };
}

export function encodeRouteRefresh({ family, subtype }: RouteRefresh): Buffer {
  return Buffer.of(afiOf(family) >> 8, afiOf(family) & 255, subtype, safiOf(family));
}
