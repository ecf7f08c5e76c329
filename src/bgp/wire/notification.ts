import { Cursor } from './cursor.ts';
import type { AfiSafi } from './family.ts';
import { HEADER_LENGTH } from './frame.ts';

/** RFC 4271 §4.5. */
export interface Notification {
  readonly type: 'NOTIFICATION';
  readonly code: number;
  readonly subcode: number;
  readonly data: Buffer;
}

export const HEADER_ERROR = 1;
export const OPEN_ERROR = 2;
export const UPDATE_ERROR = 3;
export const HOLD_TIMER_EXPIRED = 4;
export const FSM_ERROR = 5;
export const CEASE = 6;
export const ROUTE_REFRESH_ERROR = 7;
export const SEND_HOLD_TIMER_EXPIRED = 8;

/** Subcodes of Cease (RFC 4486, RFC 8538, RFC 9384). */
export const CEASE_SUBCODE = {
  maximumPrefixes: 1,
  administrativeShutdown: 2,
  peerDeconfigured: 3,
  administrativeReset: 4,
  connectionRejected: 5,
  configurationChange: 6,
  collision: 7,
  outOfResources: 8,
  hardReset: 9,
  bfdDown: 10,
} as const;

interface CodeName {
  readonly name: string;
  /** By subcode; 0 is `Unspecific` throughout. */
  readonly subcodes: Readonly<Record<number, string>>;
}

/** Names as registered with IANA, "BGP Error (Notification) Codes" and its subcode registries. */
const CODES: Readonly<Record<number, CodeName>> = {
  1: {
    name: 'Message Header Error',
    subcodes: { 1: 'Connection Not Synchronized', 2: 'Bad Message Length', 3: 'Bad Message Type' },
  },
  2: {
    name: 'OPEN Message Error',
    subcodes: {
      1: 'Unsupported Version Number',
      2: 'Bad Peer AS',
      3: 'Bad BGP Identifier',
      4: 'Unsupported Optional Parameter',
      6: 'Unacceptable Hold Time',
      7: 'Unsupported Capability',
      11: 'Role Mismatch',
    },
  },
  3: {
    name: 'UPDATE Message Error',
    subcodes: {
      1: 'Malformed Attribute List',
      2: 'Unrecognized Well-known Attribute',
      3: 'Missing Well-known Attribute',
      4: 'Attribute Flags Error',
      5: 'Attribute Length Error',
      6: 'Invalid ORIGIN Attribute',
      8: 'Invalid NEXT_HOP Attribute',
      9: 'Optional Attribute Error',
      10: 'Invalid Network Field',
      11: 'Malformed AS_PATH',
    },
  },
  4: { name: 'Hold Timer Expired', subcodes: {} },
  5: {
    name: 'Finite State Machine Error',
    subcodes: {
      1: 'Receive Unexpected Message in OpenSent State',
      2: 'Receive Unexpected Message in OpenConfirm State',
      3: 'Receive Unexpected Message in Established State',
    },
  },
  6: {
    name: 'Cease',
    subcodes: {
      1: 'Maximum Number of Prefixes Reached',
      2: 'Administrative Shutdown',
      3: 'Peer De-configured',
      4: 'Administrative Reset',
      5: 'Connection Rejected',
      6: 'Other Configuration Change',
      7: 'Connection Collision Resolution',
      8: 'Out of Resources',
      9: 'Hard Reset',
      10: 'BFD Down',
    },
  },
  7: { name: 'ROUTE-REFRESH Message Error', subcodes: { 1: 'Invalid Message Length' } },
  8: { name: 'Send Hold Timer Expired', subcodes: {} },
};

/** Reads a whole NOTIFICATION; a broken one cannot be answered, so nothing of it but its length is checked. */
export function decodeNotification(message: Buffer): Notification {
  const cursor = new Cursor(message, { code: HEADER_ERROR, subcode: 2, what: 'NOTIFICATION' }, HEADER_LENGTH);
  return { type: 'NOTIFICATION', code: cursor.u8(), subcode: cursor.u8(), data: Buffer.from(cursor.rest()) };
}

export function encodeNotification(notification: Notification): Buffer {
  return Buffer.concat([Buffer.of(notification.code, notification.subcode), notification.data]);
}

/** Longest shutdown communication in bytes of UTF-8 (RFC 9003 §2). */
const MAX_COMMUNICATION = 255;

/** A Cease; `text` tells the peer's operator why (RFC 9003) and is cut to 255 bytes at a character. */
export function cease(subcode: number, text = ''): Notification {
  const carries = takesText(subcode) && text !== '';
  const bytes = utf8Prefix(text, MAX_COMMUNICATION);
  const data = carries ? Buffer.concat([Buffer.of(bytes.length), bytes]) : Buffer.alloc(0);
  return { type: 'NOTIFICATION', code: CEASE, subcode, data };
}

/** The peer has sent more prefixes of a family than the limit allows (RFC 4486 §4: AFI, SAFI and the limit). */
export function maximumPrefixes(family: AfiSafi, limit: number): Notification {
  const data = Buffer.alloc(7);
  data.writeUInt16BE(family >> 8, 0);
  data.writeUInt8(family & 255, 2);
  data.writeUInt32BE(limit, 3);
  return { ...cease(CEASE_SUBCODE.maximumPrefixes), data };
}

/** Ends a session for good where a plain NOTIFICATION would start graceful restart (RFC 8538 §3). */
export function hardReset(inner: Notification): Notification {
  const data = Buffer.concat([Buffer.of(inner.code, inner.subcode), inner.data]);
  return { type: 'NOTIFICATION', code: CEASE, subcode: CEASE_SUBCODE.hardReset, data };
}

/** What a Hard Reset wraps; `undefined` for any other NOTIFICATION, or one that wraps nothing. */
export function unwrapHardReset(notification: Notification): Notification | undefined {
  const { code, subcode, data } = notification;
  if (code !== CEASE || subcode !== CEASE_SUBCODE.hardReset || data.length < 2) return undefined;
  return {
    type: 'NOTIFICATION',
    code: data.readUInt8(0),
    subcode: data.readUInt8(1),
    data: data.subarray(2),
  };
}

/** The peer's words in an administrative shutdown or reset, also inside a Hard Reset. */
export function shutdownCommunication(notification: Notification): string | undefined {
  const { code, subcode, data } = unwrapHardReset(notification) ?? notification;
  if (code !== CEASE || !takesText(subcode)) return undefined;
  const length = data[0] ?? 0;
  if (length === 0 || data.length < 1 + length) return undefined;
  return printable(data.toString('utf8', 1, 1 + length));
}

/** `Cease/Administrative Shutdown`, or numbers where there is no name. */
export function notificationName({ code, subcode }: { code: number; subcode: number }): string {
  const known = CODES[code];
  if (known === undefined) return `${code}/${subcode}`;
  if (subcode === 0) return known.name;
  return `${known.name}/${known.subcodes[subcode] ?? subcode}`;
}

/** One line for people: name, what a Hard Reset wraps, and the peer's words. */
export function describeNotification(notification: Notification): string {
  const inner = unwrapHardReset(notification);
  const name = notificationName(notification) + (inner ? ` (${notificationName(inner)})` : '');
  const text = shutdownCommunication(notification);
  return text === undefined ? name : `${name}: ${text}`;
}

function takesText(subcode: number): boolean {
  return subcode === CEASE_SUBCODE.administrativeShutdown || subcode === CEASE_SUBCODE.administrativeReset;
}

function utf8Prefix(text: string, limit: number): Buffer {
  const bytes = Buffer.from(text);
  if (bytes.length <= limit) return bytes;
  let end = limit;
  while (((bytes[end] ?? 0) & 0xc0) === 0x80) end--;
  return bytes.subarray(0, end);
}

/** RFC 9003 §4: the text goes into logs, where control characters forge lines. */
function printable(text: string): string {
  return text.replace(/\p{Cc}/gu, ' ');
}
