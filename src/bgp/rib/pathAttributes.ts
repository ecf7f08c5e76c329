/** Path attribute types, by the RFC's number. */
export const ORIGIN = 1;
export const AS_PATH = 2;
export const NEXT_HOP = 3;
export const MULTI_EXIT_DISC = 4;
export const LOCAL_PREF = 5;
export const ATOMIC_AGGREGATE = 6;
export const AGGREGATOR = 7;
export const COMMUNITIES = 8;
export const ORIGINATOR_ID = 9;
export const CLUSTER_LIST = 10;
export const MP_REACH_NLRI = 14;
export const MP_UNREACH_NLRI = 15;
export const EXTENDED_COMMUNITIES = 16;
export const AS4_PATH = 17;
export const AS4_AGGREGATOR = 18;
const PMSI_TUNNEL = 22;
const TUNNEL_ENCAPSULATION = 23;
const IPV6_EXTENDED_COMMUNITIES = 25;
export const LARGE_COMMUNITIES = 32;
const PREFIX_SID = 40;

export const OPTIONAL = 0x80;
export const TRANSITIVE = 0x40;
export const PARTIAL = 0x20;
export const EXTENDED_LENGTH = 0x10;

/** The flags that a known attribute has on the wire, without the length bit; undefined for an unknown one. */
export function flagsOf(type: number): number | undefined {
  switch (type) {
    case ORIGIN:
    case AS_PATH:
    case NEXT_HOP:
    case LOCAL_PREF:
    case ATOMIC_AGGREGATE:
      return TRANSITIVE;
    case MULTI_EXIT_DISC:
    case ORIGINATOR_ID:
    case CLUSTER_LIST:
    case MP_REACH_NLRI:
    case MP_UNREACH_NLRI:
      return OPTIONAL;
    case AGGREGATOR:
    case COMMUNITIES:
    case EXTENDED_COMMUNITIES:
    case AS4_PATH:
    case AS4_AGGREGATOR:
    case LARGE_COMMUNITIES:
    case PMSI_TUNNEL:
    case TUNNEL_ENCAPSULATION:
    case IPV6_EXTENDED_COMMUNITIES:
    case PREFIX_SID:
      return OPTIONAL | TRANSITIVE;
    default:
      return undefined;
  }
}

/**
 * Walks a block of path attributes, which must be framed soundly. `visit` gets type, flags and the range of
 * the value in `bytes`.
 */
export function eachAttribute(
  bytes: Uint8Array,
  start: number,
  end: number,
  visit: (type: number, flags: number, start: number, end: number) => void,
): void {
  for (let at = start; at + 3 <= end; ) {
    const flags = bytes[at] as number;
    const type = bytes[at + 1] as number;
    const extended = (flags & EXTENDED_LENGTH) !== 0;
    const length = extended
      ? ((bytes[at + 2] as number) << 8) | (bytes[at + 3] as number)
      : (bytes[at + 2] as number);
    const value = at + (extended ? 4 : 3);
    if (value + length > end) return;
    visit(type, flags, value, value + length);
    at = value + length;
  }
}

/** Collects a block of path attributes. Order is the caller's business; {@link sort} mends it. */
export class AttributeBlock {
  readonly bytes = new Uint8Array(0x20000);
  length = 0;
  /** An attribute did not fit into a length of two bytes, and was left out. */
  overflowed = false;
  #lastType = 0;
  #sorted = true;

  clear(): this {
    this.length = 0;
    this.overflowed = false;
    this.#lastType = 0;
    this.#sorted = true;
    return this;
  }

  put(type: number, flags: number, from: Uint8Array, start = 0, end = from.length): void {
    const length = end - start;
    if (length > 0xffff) {
      this.overflowed = true;
      return;
    }
    this.#header(type, flags, length);
    const to = this.length;
    for (let at = 0; at < length; at++) this.bytes[to + at] = from[start + at] as number;
    this.length = to + length;
  }

  putU32(type: number, value: number): void {
    this.#header(type, flagsOf(type) ?? OPTIONAL, 4);
    for (let shift = 24; shift >= 0; shift -= 8) this.bytes[this.length++] = value >>> shift;
  }

  #header(type: number, flags: number, length: number): void {
    if (type <= this.#lastType) this.#sorted = false;
    this.#lastType = type;
    const kept = flags & (OPTIONAL | TRANSITIVE | PARTIAL);
    const extended = length > 255;
    this.bytes[this.length++] = extended ? kept | EXTENDED_LENGTH : kept;
    this.bytes[this.length++] = type;
    if (extended) this.bytes[this.length++] = length >>> 8;
    this.bytes[this.length++] = length & 255;
  }

  /** Brings the attributes into ascending order (RFC 4271 §5); of two of a type the first is kept. */
  sort(): this {
    if (this.#sorted) return this;
    const { overflowed } = this;
    const bytes = this.bytes.slice(0, this.length);
    const parts: { type: number; flags: number; start: number; end: number }[] = [];
    eachAttribute(bytes, 0, bytes.length, (type, flags, start, end) => {
      if (!parts.some((part) => part.type === type)) parts.push({ type, flags, start, end });
    });
    parts.sort((a, b) => a.type - b.type);
    this.clear();
    this.overflowed = overflowed;
    for (const { type, flags, start, end } of parts) this.put(type, flags, bytes, start, end);
    return this;
  }
}
