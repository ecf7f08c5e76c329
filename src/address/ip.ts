declare const ipv4: unique symbol;
declare const ipv6: unique symbol;

/** An IPv4 address as an unsigned 32-bit number in host order: 10.0.0.1 is 0x0a000001. */
export type IPv4 = number & { readonly [ipv4]: true };

/** An IPv6 address as an unsigned 128-bit bigint in host order. */
export type IPv6 = bigint & { readonly [ipv6]: true };

/** An address of either family; `typeof ip === 'number'` tells IPv4 from IPv6. */
export type IP = IPv4 | IPv6;

export type Family = 4 | 6;

export function isIPv4(ip: IP): ip is IPv4 {
  return typeof ip === 'number';
}

export function familyOf(ip: IP): Family {
  return isIPv4(ip) ? 4 : 6;
}

/** The number of bits of an address: 32 or 128. */
export function bitsOf(family: Family): 32 | 128 {
  return family === 4 ? 32 : 128;
}

/**
 * Parses dotted-quad text. Leading zeros are refused: some resolvers read them as octal (RFC 6943 §3.1.1).
 *
 * @throws {SyntaxError} If `text` is not exactly one IPv4 address.
 */
export function parseIPv4(text: string): IPv4 {
  const match = /^(0|[1-9]\d{0,2})\.(0|[1-9]\d{0,2})\.(0|[1-9]\d{0,2})\.(0|[1-9]\d{0,2})$/.exec(text);
  const octets = match?.slice(1).map(Number);
  if (octets === undefined || octets.some((octet) => octet > 255)) {
    throw new SyntaxError(
      `Cannot parse IPv4 address: expected four numbers from 0 to 255 (value ${quote(text)})`,
    );
  }
  return octets.reduce((sum, octet) => sum * 256 + octet, 0) as IPv4;
}

/**
 * Parses IPv6 text (RFC 4291 §2.2), also with an embedded IPv4 address; no zone.
 *
 * @throws {SyntaxError} If `text` is not exactly one IPv6 address.
 */
export function parseIPv6(text: string): IPv6 {
  const groups = text.length <= 45 ? groupsOf(text) : undefined;
  if (groups === undefined) {
    throw new SyntaxError(
      `Cannot parse IPv6 address: expected eight groups of hex digits (value ${quote(text)})`,
    );
  }
  return groups.reduce((sum, group) => (sum << 16n) | BigInt(group), 0n) as IPv6;
}

function groupsOf(text: string): number[] | undefined {
  const halves = withoutDottedTail(text)?.split('::');
  if (halves === undefined || halves.length > 2) return undefined;
  const [head, tail] = halves.map((half) => (half === '' ? [] : half.split(':')));
  if (head === undefined) return undefined;
  const given = [...head, ...(tail ?? [])];
  if (!given.every((group) => /^[0-9a-fA-F]{1,4}$/.test(group))) return undefined;
  const missing = 8 - given.length;
  if (tail === undefined ? missing !== 0 : missing < 1) return undefined;
  const zeros = Array.from({ length: missing }, () => '0');
  return [...head, ...zeros, ...(tail ?? [])].map((group) => Number.parseInt(group, 16));
}

/** `::ffff:10.0.0.1` as `::ffff:a00:1`; text without a dot as it is. */
function withoutDottedTail(text: string): string | undefined {
  if (!text.includes('.')) return text;
  const colon = text.lastIndexOf(':');
  if (colon < 0) return undefined;
  try {
    const v4 = parseIPv4(text.slice(colon + 1));
    return `${text.slice(0, colon + 1)}${(v4 >>> 16).toString(16)}:${(v4 & 0xffff).toString(16)}`;
  } catch {
    return undefined;
  }
}

/**
 * Parses an address of either family.
 *
 * @throws {SyntaxError} If `text` is neither.
 */
export function parseIP(text: string): IP {
  return text.includes(':') ? parseIPv6(text) : parseIPv4(text);
}

export function formatIP(ip: IP): string {
  return isIPv4(ip) ? formatIPv4(ip) : formatIPv6(ip);
}

export function formatIPv4(ip: IPv4): string {
  return `${ip >>> 24}.${(ip >>> 16) & 255}.${(ip >>> 8) & 255}.${ip & 255}`;
}

/** Canonical text by RFC 5952; IPv4-mapped addresses end in a dotted quad (§5). */
function formatIPv6(ip: IPv6): string {
  if (ip >> 32n === 0xffffn) return `::ffff:${formatIPv4(Number(ip & 0xffffffffn) as IPv4)}`;
  const groups = Array.from({ length: 8 }, (_, index) => Number((ip >> BigInt(112 - 16 * index)) & 0xffffn));
  const { start, length } = longestZeroRun(groups);
  const text = (part: number[]) => part.map((group) => group.toString(16)).join(':');
  if (length < 2) return text(groups);
  return `${text(groups.slice(0, start))}::${text(groups.slice(start + length))}`;
}

function longestZeroRun(groups: number[]): { start: number; length: number } {
  let best = { start: 0, length: 0 };
  for (let start = 0; start < groups.length; start++) {
    let end = start;
    while (groups[end] === 0) end++;
    if (end - start > best.length) best = { start, length: end - start };
  }
  return best;
}

/** Four or sixteen bytes in network order. */
export function bytesOf(ip: IP): Buffer {
  if (isIPv4(ip)) {
    const bytes = Buffer.allocUnsafe(4);
    bytes.writeUInt32BE(ip);
    return bytes;
  }
  const bytes = Buffer.allocUnsafe(16);
  bytes.writeBigUInt64BE(ip >> 64n, 0);
  bytes.writeBigUInt64BE(ip & 0xffffffffffffffffn, 8);
  return bytes;
}

/**
 * Reads an address in network order.
 *
 * @throws {RangeError} If there are neither four nor sixteen bytes.
 */
export function ipFromBytes(bytes: Uint8Array): IP {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  if (bytes.byteLength === 4) return view.getUint32(0) as IPv4;
  if (bytes.byteLength === 16) return ((view.getBigUint64(0) << 64n) | view.getBigUint64(8)) as IPv6;
  throw new RangeError(`Cannot read address: expected 4 or 16 bytes (value ${bytes.byteLength})`);
}

function quote(text: string): string {
  return JSON.stringify(text.length > 64 ? `${text.slice(0, 64)}…` : text);
}

/** fe80::/10. */
export function isLinkLocal(address: IP): boolean {
  return !isIPv4(address) && address >> 118n === 0x3fan;
}
