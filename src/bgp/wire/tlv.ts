import { type Flaw, UPDATE_SUBCODE } from './reason.ts';

/**
 * Checks of attributes that Tombolo passes on without acting on them. They are still checked, because whoever
 * passes a broken one on spreads the damage.
 */

function broken(message: string): Flaw {
  return { subcode: UPDATE_SUBCODE.optionalAttribute, message };
}

interface TlvShape {
  readonly typeBytes: 1 | 2;
  readonly lengthBytes: 1 | 2;
  /** Whether the length counts the type and the length too. */
  readonly inclusive?: true;
}

/** Walks TLVs to the end; `visit` may object to one by a message. */
function walk(
  bytes: Buffer,
  start: number,
  end: number,
  shape: TlvShape,
  visit: (type: number, at: number, end: number) => string | undefined = () => undefined,
): string | undefined {
  const head = shape.typeBytes + shape.lengthBytes;
  for (let at = start; at < end; ) {
    if (end - at < head) return 'a TLV is cut off in its header';
    const type = bytes.readUIntBE(at, shape.typeBytes);
    const length = bytes.readUIntBE(at + shape.typeBytes, shape.lengthBytes);
    const value = at + head;
    const next = shape.inclusive ? at + length : value + length;
    if (next < value || next > end) return `TLV ${type} of ${length} bytes does not fit`;
    const objection = visit(type, value, next);
    if (objection !== undefined) return objection;
    at = next;
  }
  return undefined;
}

function asFlaw(message: string | undefined): Flaw | undefined {
  return message === undefined ? undefined : broken(message);
}

/** AIGP (RFC 7311 §3): TLVs, the first of type 1 being eleven bytes long. */
export function checkAigp(bytes: Buffer, start: number, end: number): Flaw | undefined {
  let metrics = 0;
  const shape: TlvShape = { typeBytes: 1, lengthBytes: 2, inclusive: true };
  const message = walk(bytes, start, end, shape, (type, at, next) => {
    if (type !== 1) return undefined;
    metrics++;
    return next - at === 8 ? undefined : 'the AIGP TLV must be 11 bytes';
  });
  return asFlaw(message ?? (metrics === 0 ? 'there is no AIGP TLV' : undefined));
}

/** Prefix-SID (RFC 8669 §3): the label index is seven bytes, the SRGB two or more times three. */
export function checkPrefixSid(bytes: Buffer, start: number, end: number): Flaw | undefined {
  return asFlaw(
    walk(bytes, start, end, { typeBytes: 1, lengthBytes: 2 }, (type, at, next) => {
      if (type === 1 && next - at !== 7) return 'the label index must be 7 bytes';
      const ranges = next - at - 2;
      if (type === 3 && (ranges <= 0 || ranges % 6 !== 0)) return 'the SRGB must be 2 + 6 × n bytes';
      return undefined;
    }),
  );
}

/** BGP-LS attribute (RFC 9552 §8.2.2): only the framing of its TLVs. */
export function checkLinkState(bytes: Buffer, start: number, end: number): Flaw | undefined {
  return asFlaw(walk(bytes, start, end, { typeBytes: 2, lengthBytes: 2 }));
}

/** Next hop dependent characteristics: AFI, SAFI, next hop, TLVs. */
export function checkCharacteristics(bytes: Buffer, start: number, end: number): Flaw | undefined {
  if (end - start < 4) return broken('the next hop is cut off');
  const tlvs = start + 4 + bytes.readUInt8(start + 3);
  if (tlvs > end) return broken('the next hop is cut off');
  return asFlaw(walk(bytes, tlvs, end, { typeBytes: 2, lengthBytes: 2 }));
}

/** Tunnel encapsulation (RFC 9012 §2): tunnels made of sub-TLVs, whose length has two bytes from type 128. */
export function checkTunnelEncapsulation(bytes: Buffer, start: number, end: number): Flaw | undefined {
  return asFlaw(
    walk(bytes, start, end, { typeBytes: 2, lengthBytes: 2 }, (_type, at, next) =>
      checkSubTlvs(bytes, at, next),
    ),
  );
}

function checkSubTlvs(bytes: Buffer, start: number, end: number): string | undefined {
  for (let at = start; at < end; ) {
    const head = bytes.readUInt8(at) < 128 ? 2 : 3;
    if (end - at < head) return 'a sub-TLV is cut off in its header';
    const length = bytes.readUIntBE(at + 1, head - 1);
    at += head + length;
    if (at > end) return `a sub-TLV of ${length} bytes does not fit`;
  }
  return undefined;
}

/** RFC 9234 §5. */
export function checkOnlyToCustomer(bytes: Buffer, start: number): Flaw | undefined {
  return bytes.readUInt32BE(start) === 0 ? broken('AS 0 is reserved (RFC 7607)') : undefined;
}

/** How long the identifier of a tunnel type is, where it is fixed (RFC 6514 §5). */
const PMSI_IDENTIFIERS: readonly (readonly number[] | undefined)[] = [
  [0], // no tunnel information
  undefined, // RSVP-TE P2MP
  undefined, // mLDP P2MP
  [8, 32], // PIM-SSM
  [8, 32], // PIM-SM
  [8, 32], // BIDIR-PIM
  [4, 16], // ingress replication
  undefined, // mLDP MP2MP
];

/** An undefined tunnel type makes the attribute malformed (RFC 6514 §5). */
export function checkPmsi(bytes: Buffer, start: number, end: number): Flaw | undefined {
  if (end - start < 5) return broken(`at least 5 bytes are wanted (value ${end - start})`);
  const type = bytes.readUInt8(start + 1);
  if (type >= PMSI_IDENTIFIERS.length) return broken(`there is no tunnel type ${type}`);
  const lengths = PMSI_IDENTIFIERS[type];
  const length = end - start - 5;
  if (lengths !== undefined && !lengths.includes(length)) {
    return broken(`the identifier of tunnel type ${type} does not fit (value ${length})`);
  }
  return undefined;
}
