import { type AfiSafi, IPV4_UNICAST, IPV6_UNICAST, L2VPN_EVPN, safiOf } from '../wire/family.ts';
import { Arena } from './arena.ts';
import { Columns } from './columns.ts';

/** The most prefixes of one family. */
export const PREFIX_LIMIT = 1 << 24;

/**
 * What identifies the routes of one family, kept by row. An NLRI is first {@link read}; the other methods then
 * speak of that one.
 */
export interface NlriKeys {
  /** The NLRI holds more than the key, labels say; routes must keep it whole. */
  readonly partial: boolean;
  /** Reads the NLRI that starts at `at`, path identifier excluded. Answers its length, or 0 for one that cannot be. */
  read(bytes: Uint8Array, at: number, end: number): number;
  hash(): number;
  is(row: number): boolean;
  store(row: number): void;
  free(row: number): void;
  /** Writes the NLRI of a row and answers its length. */
  write(row: number, bytes: Uint8Array, at: number): number;
}

/** `seed` is a secret: who knows it could choose prefixes that all fall into one bucket. */
export function keysOf(family: AfiSafi, seed: number): NlriKeys {
  if (family === IPV4_UNICAST) return new IPv4Keys(seed);
  if (family === IPV6_UNICAST) return new IPv6Keys(seed);
  return new ByteKeys(family, seed);
}

/** Prefixes in five bytes each. */
export class IPv4Keys implements NlriKeys {
  readonly partial = false;
  readonly #columns = new Columns('IPv4 prefixes', PREFIX_LIMIT);
  readonly address = this.#columns.u32();
  readonly length = this.#columns.u8();
  readonly #factor: number;
  #address = 0;
  #length = 0;

  constructor(seed: number) {
    this.#factor = oddFrom(seed, 1);
  }

  read(bytes: Uint8Array, at: number, end: number): number {
    const length = bytes[at] as number;
    const size = (length + 7) >>> 3;
    if (length > 32 || at + 1 + size > end) return 0;
    let address = 0;
    for (let index = 0; index < size; index++)
      address |= (bytes[at + 1 + index] as number) << (24 - 8 * index);
    this.seek(address, length);
    return size + 1;
  }

  /** As {@link read}, for a prefix by its numbers; bits beyond the length do not count. */
  seek(address: number, length: number): void {
    this.#address = length === 0 ? 0 : (address & (-1 << (32 - length))) >>> 0;
    this.#length = length;
  }

  hash(): number {
    // Neighbours stand side by side, sixteen to a cache line: tables come sorted, and reading memory is what costs.
    const number = this.#length === 0 ? 0 : this.#address >>> (32 - this.#length);
    const above = Math.imul((number >>> 4) ^ Math.imul(this.#length, 0x9e3779b1), this.#factor);
    return ((mix(above) & ~15) | (number & 15)) >>> 0;
  }

  is(row: number): boolean {
    return this.address[row] === this.#address && this.length[row] === this.#length;
  }

  store(row: number): void {
    this.#columns.reach(row);
    this.address[row] = this.#address;
    this.length[row] = this.#length;
  }

  free(): void {}

  write(row: number, bytes: Uint8Array, at: number): number {
    const address = this.address[row] as number;
    const length = this.length[row] as number;
    const size = (length + 7) >>> 3;
    bytes[at] = length;
    for (let index = 0; index < size; index++) bytes[at + 1 + index] = address >>> (24 - 8 * index);
    return size + 1;
  }
}

/** Prefixes in 17 bytes each: four words and a length. */
export class IPv6Keys implements NlriKeys {
  readonly partial = false;
  readonly #columns = new Columns('IPv6 prefixes', PREFIX_LIMIT);
  readonly words = [
    this.#columns.u32(),
    this.#columns.u32(),
    this.#columns.u32(),
    this.#columns.u32(),
  ] as const;
  readonly length = this.#columns.u8();
  readonly #words = new Uint32Array(4);
  readonly #factors: readonly number[];
  #length = 0;

  constructor(seed: number) {
    this.#factors = [oddFrom(seed, 1), oddFrom(seed, 2)];
  }

  read(bytes: Uint8Array, at: number, end: number): number {
    const length = bytes[at] as number;
    const size = (length + 7) >>> 3;
    if (length > 128 || at + 1 + size > end) return 0;
    const words = this.#words.fill(0);
    for (let index = 0; index < size; index++) {
      const word = index >>> 2;
      const shift = 24 - 8 * (index & 3);
      words[word] = (words[word] as number) | ((bytes[at + 1 + index] as number) << shift);
    }
    this.#mask(length);
    return size + 1;
  }

  seek(words: ArrayLike<number>, length: number): void {
    for (let word = 0; word < 4; word++) this.#words[word] = words[word] as number;
    this.#mask(length);
  }

  hash(): number {
    const words = this.#words;
    let hash = this.#length;
    for (let word = 3; word >= 0; word--) {
      hash = mix((words[word] as number) ^ Math.imul(hash, this.#factors[word & 1] as number));
    }
    return hash;
  }

  is(row: number): boolean {
    return (
      this.words[1][row] === this.#words[1] &&
      this.words[0][row] === this.#words[0] &&
      this.words[2][row] === this.#words[2] &&
      this.words[3][row] === this.#words[3] &&
      this.length[row] === this.#length
    );
  }

  store(row: number): void {
    this.#columns.reach(row);
    for (let word = 0; word < 4; word++) {
      (this.words[word] as Uint32Array)[row] = this.#words[word] as number;
    }
    this.length[row] = this.#length;
  }

  free(): void {}

  write(row: number, bytes: Uint8Array, at: number): number {
    const length = this.length[row] as number;
    const size = (length + 7) >>> 3;
    bytes[at] = length;
    for (let index = 0; index < size; index++) {
      bytes[at + 1 + index] =
        ((this.words[index >>> 2] as Uint32Array)[row] as number) >>> (24 - 8 * (index & 3));
    }
    return size + 1;
  }

  #mask(length: number): void {
    this.#length = length;
    for (let word = 0; word < 4; word++) {
      const bits = Math.min(32, Math.max(0, length - 32 * word));
      this.#words[word] = bits === 0 ? 0 : (this.#words[word] as number) & (-1 << (32 - bits));
    }
  }
}

/** Any other family: the bytes that identify a route, cut out of its NLRI. */
class ByteKeys implements NlriKeys {
  readonly partial: boolean;
  readonly #family: AfiSafi;
  readonly #seed: number;
  readonly #columns = new Columns('NLRI', PREFIX_LIMIT);
  readonly #address = this.#columns.u32();
  readonly #size = this.#columns.u16();
  readonly #arena = new Arena('NLRI', 2 ** 31);
  #key: Uint8Array = new Uint8Array();

  constructor(family: AfiSafi, seed: number) {
    this.#family = family;
    this.#seed = seed;
    this.partial = family === L2VPN_EVPN || isLabelled(family);
  }

  read(bytes: Uint8Array, at: number, end: number): number {
    const size = this.#family === L2VPN_EVPN ? 2 + (bytes[at + 1] ?? 0) : 1 + (((bytes[at] ?? 0) + 7) >>> 3);
    if (at + size > end) return 0;
    const nlri = bytes.subarray(at, at + size);
    if (this.#family === L2VPN_EVPN) this.#key = evpnKey(nlri);
    else this.#key = isLabelled(this.#family) ? unlabelled(nlri) : nlri;
    return size;
  }

  hash(): number {
    let hash = this.#seed;
    for (const byte of this.#key) hash = Math.imul(hash ^ byte, 0x01000193);
    return mix(hash);
  }

  is(row: number): boolean {
    const size = this.#key.length;
    return this.#size[row] === size && this.#arena.equals(this.#address[row] as number, this.#key, 0, size);
  }

  store(row: number): void {
    this.#columns.reach(row);
    this.#address[row] = this.#arena.put(this.#key, 0, this.#key.length);
    this.#size[row] = this.#key.length;
  }

  free(row: number): void {
    this.#arena.free(this.#address[row] as number, this.#size[row] as number);
  }

  /** What is no part of the key is written as a withdrawal may have it: the reserved label, and zeros. */
  write(row: number, bytes: Uint8Array, at: number): number {
    const from = this.#arena.offset(this.#address[row] as number);
    const key = this.#arena.bytes.subarray(from, from + (this.#size[row] as number));
    const nlri =
      this.#family === L2VPN_EVPN ? evpnNlri(key) : isLabelled(this.#family) ? relabelled(key) : key;
    bytes.set(nlri, at);
    return nlri.length;
  }
}

/** SAFI 4 and 128 put labels in front of what identifies the route (RFC 8277 §2, RFC 4364 §4.3.4). */
function isLabelled(family: AfiSafi): boolean {
  return safiOf(family) === 4 || safiOf(family) === 128;
}

/** The NLRI without its labels, and with the length that remains. */
function unlabelled(nlri: Uint8Array): Uint8Array {
  let labels = 0;
  let last = false;
  for (let at = 1; !last && at + 3 <= nlri.length; at += 3, labels++) {
    const label = ((nlri[at] as number) << 16) | ((nlri[at + 1] as number) << 8) | (nlri[at + 2] as number);
    // Bottom of stack, or one of the values that a withdrawal carries instead (RFC 8277 §2.4).
    last = (label & 1) === 1 || label === 0x800000 || label === 0;
  }
  // A copy in any case: what slice() of a Buffer answers is not.
  const key = Uint8Array.from(nlri.subarray(3 * labels));
  key[0] = (nlri[0] as number) - 24 * labels;
  return key;
}

function relabelled(key: Uint8Array): Uint8Array {
  return Uint8Array.of((key[0] as number) + 24, 0x80, 0, 0, ...key.subarray(1));
}

/** RFC 7432 §7 and RFC 9136 §3.1 say which fields of a type count as its prefix. */
function evpnKey(nlri: Uint8Array): Uint8Array {
  const part = (start: number, end: number) => nlri.subarray(2 + start, 2 + end);
  switch (nlri[0]) {
    case 1:
      return Uint8Array.of(1, ...part(0, 22));
    case 2: {
      const ip = part(29, 30)[0] ?? 0;
      return Uint8Array.of(2, ...part(0, 8), ...part(18, 30 + (ip >>> 3)));
    }
    case 5:
      return Uint8Array.of(5, ...part(0, 8), ...part(18, nlri.length - 2 > 34 ? 39 : 27));
    default:
      return nlri;
  }
}

function evpnNlri(key: Uint8Array): Uint8Array {
  const zeros = (count: number) => new Uint8Array(count);
  const of = (...parts: Uint8Array[]) => {
    const value = Buffer.concat(parts);
    return Uint8Array.of(key[0] as number, value.length, ...value);
  };
  switch (key[0]) {
    case 1:
      return of(key.subarray(1), zeros(3));
    case 2:
      return of(key.subarray(1, 9), zeros(10), key.subarray(9), zeros(3));
    case 5:
      return of(key.subarray(1, 9), zeros(10), key.subarray(9), zeros(key.length > 18 ? 19 : 7));
    default:
      return key;
  }
}

/** An odd number that nobody can guess who does not know the seed; multiplying by it loses nothing. */
function oddFrom(seed: number, index: number): number {
  return mix(seed + Math.imul(index, 0x9e3779b1)) | 1;
}

/** Spreads all bits of a word over all others (the finaliser of MurmurHash3). */
function mix(word: number): number {
  let hash = word ^ (word >>> 16);
  hash = Math.imul(hash, 0x85ebca6b);
  hash ^= hash >>> 13;
  hash = Math.imul(hash, 0xc2b2ae35);
  return (hash ^ (hash >>> 16)) >>> 0;
}
