import {
  bitsOf,
  type Family,
  familyOf,
  formatIP,
  type IP,
  type IPv4,
  type IPv6,
  isIPv4,
  parseIP,
} from './ip.ts';

/** An address range by CIDR; every bit of `address` beyond `length` is zero. */
export interface Prefix {
  readonly address: IP;
  /** 0 to 32, or 0 to 128. */
  readonly length: number;
}

/** An address with the length of the network it stands in: `10.0.0.5/24`. */
export interface InterfaceAddress {
  readonly address: IP;
  readonly length: number;
}

/**
 * Parses `10.0.0.0/24`.
 *
 * @throws {SyntaxError} If the text is not a prefix, or has bits set beyond its length.
 */
export function parsePrefix(text: string): Prefix {
  const parsed = parseInterfaceAddress(text);
  const prefix = networkOf(parsed);
  if (prefix.address !== parsed.address) {
    throw new SyntaxError(
      `Cannot parse prefix: bits are set beyond the length, did you mean ${formatPrefix(prefix)} (value ${JSON.stringify(text)})`,
    );
  }
  return prefix;
}

/**
 * Parses `10.0.0.5/24`, host bits welcome.
 *
 * @throws {SyntaxError} If the text is not an address and a length.
 */
export function parseInterfaceAddress(text: string): InterfaceAddress {
  const slash = text.indexOf('/');
  if (slash < 0) {
    throw new SyntaxError(`Cannot parse prefix: expected ADDRESS/LENGTH (value ${JSON.stringify(text)})`);
  }
  const address = parseIP(text.slice(0, slash));
  const digits = text.slice(slash + 1);
  const length = /^(0|[1-9]\d{0,2})$/.test(digits) ? Number(digits) : Number.NaN;
  if (!(length <= bitsOf(familyOf(address)))) {
    throw new SyntaxError(
      `Cannot parse prefix: the length must be 0 to ${bitsOf(familyOf(address))} (value ${JSON.stringify(text)})`,
    );
  }
  return { address, length };
}

export function formatPrefix(prefix: Prefix | InterfaceAddress): string {
  return `${formatIP(prefix.address)}/${prefix.length}`;
}

export function prefixFamily(prefix: Prefix): Family {
  return familyOf(prefix.address);
}

/** The prefix that `address/length` stands in. */
export function networkOf({ address, length }: InterfaceAddress): Prefix {
  if (isIPv4(address)) {
    const mask = length === 0 ? 0 : (0xffffffff << (32 - length)) >>> 0;
    return { address: ((address & mask) >>> 0) as IPv4, length };
  }
  const host = BigInt(128 - length);
  return { address: ((address >> host) << host) as IPv6, length };
}

/** The prefix that holds this one address. */
export function hostPrefix(address: IP): Prefix {
  return { address, length: bitsOf(familyOf(address)) };
}

/** How many addresses a prefix holds. */
export function prefixSize(prefix: Prefix): bigint {
  return 1n << BigInt(bitsOf(prefixFamily(prefix)) - prefix.length);
}

/**
 * The address `index` places behind the first one.
 *
 * @throws {RangeError} If the prefix does not reach that far.
 */
export function addressAt(prefix: Prefix, index: number | bigint): IP {
  if (BigInt(index) < 0n || BigInt(index) >= prefixSize(prefix)) {
    throw new RangeError(
      `Cannot take address of ${formatPrefix(prefix)}: index out of range (value ${index})`,
    );
  }
  return isIPv4(prefix.address)
    ? ((prefix.address + Number(index)) as IPv4)
    : ((prefix.address + BigInt(index)) as IPv6);
}

export function lastAddress(prefix: Prefix): IP {
  return addressAt(prefix, prefixSize(prefix) - 1n);
}

export function contains(prefix: Prefix, address: IP): boolean {
  if (familyOf(address) !== prefixFamily(prefix)) return false;
  return networkOf({ address, length: prefix.length }).address === prefix.address;
}

/** Whether every address of `inner` is one of `outer`. */
export function covers(outer: Prefix, inner: Prefix): boolean {
  return inner.length >= outer.length && contains(outer, inner.address);
}

export function overlaps(a: Prefix, b: Prefix): boolean {
  return covers(a, b) || covers(b, a);
}

export function samePrefix(a: Prefix, b: Prefix): boolean {
  return a.address === b.address && a.length === b.length;
}

/** Orders by family, then address, then length, shortest first. */
export function comparePrefixes(a: Prefix, b: Prefix): number {
  const family = prefixFamily(a) - prefixFamily(b);
  if (family !== 0) return family;
  if (a.address !== b.address) return a.address < b.address ? -1 : 1;
  return a.length - b.length;
}
