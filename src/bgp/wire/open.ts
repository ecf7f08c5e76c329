import type { IPv4 } from '../../address/ip.ts';
import { type Capability, decodeCapabilities, encodeCapability, findCapability } from './capability.ts';
import { Cursor } from './cursor.ts';
import { MessageError } from './error.ts';
import { HEADER_LENGTH } from './frame.ts';
import { OPEN_ERROR } from './notification.ts';
import { Writer } from './writer.ts';

/** RFC 4271 §4.2. */
export interface Open {
  readonly type: 'OPEN';
  /** "My Autonomous System", 16 bits: AS_TRANS where the number needs more. `asnOf` has the real one. */
  readonly myAs: number;
  /** Seconds; 0 means none, 1 and 2 are illegal and refused when decoding. */
  readonly holdTime: number;
  readonly identifier: IPv4;
  readonly capabilities: readonly Capability[];
}

/** Stands in for a number above 65535 towards who reads two octets (RFC 6793 §9). */
export const AS_TRANS = 23456;

const VERSION = 4;
const CAPABILITIES = 2;
/** As length and as type it announces two-byte lengths (RFC 9072 §2). */
const EXTENDED = 255;

/** The sender's AS number, from its 4-octet capability where it has one. */
export function asnOf(open: Open): number {
  return findCapability(open.capabilities, 'four-octet-as')?.asn ?? open.myAs;
}

/** `asn` as it goes into `Open.myAs`. */
export function twoOctetAs(asn: number): number {
  return asn > 0xffff ? AS_TRANS : asn;
}

/**
 * Reads a whole OPEN. What depends on configuration (peer AS, a BGP identifier equal to ours) is left to the FSM.
 *
 * @throws {MessageError} 2/1, 2/2, 2/3, 2/4, 2/6, or 2/0 where lengths contradict each other.
 */
export function decodeOpen(message: Buffer): Open {
  const cursor = new Cursor(message, { code: OPEN_ERROR, subcode: 0, what: 'OPEN' }, HEADER_LENGTH);
  const version = cursor.u8();
  if (version !== VERSION) {
    throw refusal(1, `version 4 is wanted (value ${version})`, HEADER_LENGTH, Buffer.of(0, VERSION));
  }
  const myAs = cursor.u16();
  const holdTime = cursor.u16();
  const identifier = cursor.ipv4();
  const capabilities = decodeParameters(cursor);
  const open: Open = { type: 'OPEN', myAs, holdTime, identifier, capabilities };
  if (myAs === 0 || asnOf(open) === 0) throw refusal(2, 'AS 0 is reserved (RFC 7607)', HEADER_LENGTH + 1);
  if (holdTime === 1 || holdTime === 2) {
    throw refusal(6, `the hold time must be 0 or at least 3 s (value ${holdTime})`, HEADER_LENGTH + 3);
  }
  if (identifier === 0) throw refusal(3, 'the BGP identifier is 0 (RFC 6286)', HEADER_LENGTH + 5);
  return open;
}

function decodeParameters(cursor: Cursor): Capability[] {
  const { cursor: parameters, wide } = openParameters(cursor);
  const capabilities: Capability[] = [];
  while (parameters.remaining > 0) {
    const at = parameters.offset;
    const type = parameters.u8();
    const length = wide ? parameters.u16() : parameters.u8();
    const value = parameters.part(length);
    if (type !== CAPABILITIES) {
      throw refusal(4, `there is no such optional parameter (value ${type})`, at);
    }
    capabilities.push(...decodeCapabilities(value));
  }
  return capabilities;
}

/** The extended form is recognised by its type byte alone, whatever the first length says (RFC 9072 §2). */
function openParameters(cursor: Cursor): { cursor: Cursor; wide: boolean } {
  const length = cursor.u8();
  const wide = length !== 0 && cursor.remaining > 0 && cursor.bytes[cursor.offset] === EXTENDED;
  if (wide) cursor.u8();
  const counted = wide ? cursor.u16() : length;
  if (counted !== cursor.remaining) {
    throw cursor.error(
      `the optional parameters must fill the message: ${cursor.remaining} bytes are left (value ${counted})`,
    );
  }
  return { cursor, wide };
}

/** The body, without header. All capabilities travel in one parameter (RFC 5492 §4). */
export function encodeOpen(open: Open): Buffer {
  const list = new Writer();
  for (const capability of open.capabilities) encodeCapability(capability, list);
  const to = new Writer().u8(VERSION).u16(open.myAs).u16(open.holdTime).u32(open.identifier);
  if (list.length === 0) return to.u8(0).done();
  if (list.length + 2 <= EXTENDED) {
    to.u8(list.length + 2)
      .u8(CAPABILITIES)
      .u8(list.length);
  } else {
    to.u8(EXTENDED)
      .u8(EXTENDED)
      .u16(list.length + 3)
      .u8(CAPABILITIES)
      .u16(list.length);
  }
  return to.put(list.view()).done();
}

function refusal(subcode: number, reason: string, offset: number, data?: Buffer): MessageError {
  const cause = { code: OPEN_ERROR, subcode, ...(data && { data }) };
  return new MessageError(cause, `Cannot accept OPEN: ${reason}`, offset);
}
