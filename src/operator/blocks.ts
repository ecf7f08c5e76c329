import { bitsOf, type IP, type IPv4, type IPv6 } from '../address/ip.ts';
import { formatPrefix, overlaps, type Prefix, prefixFamily } from '../address/prefix.ts';

/** Half-open ranges of block numbers of one pool, in order and apart from each other. */
interface Range {
  readonly from: bigint;
  readonly to: bigint;
}

/**
 * The blocks of a pool that nobody holds. Blocks are numbered from the start of the pool; nothing is enumerated, so a /48
 * cut into /122s costs as much as a /24.
 */
export class FreeBlocks {
  readonly #cidr: Prefix;
  readonly #length: number;
  #gaps: Range[];

  /** @param taken Ranges inside or outside the pool, overlapping each other or not. */
  constructor(cidr: Prefix, blockLength: number, taken: Iterable<Prefix>) {
    this.#cidr = cidr;
    this.#length = blockLength;
    this.#gaps = gapsOf(this.total, this.#rangesOf(taken));
  }

  /** How many blocks the pool has, held or free. */
  get total(): bigint {
    return this.#length < this.#cidr.length ? 0n : 1n << BigInt(this.#length - this.#cidr.length);
  }

  get count(): bigint {
    return this.#gaps.reduce((sum, { from, to }) => sum + to - from, 0n);
  }

  /** The free ranges as text, for people who ask why there is no block: at most `limit` of them. */
  describe(limit: number): string[] {
    const last = (to: bigint) => formatPrefix(this.#block(to - 1n));
    return this.#gaps
      .slice(0, limit)
      .map(({ from, to }) =>
        to - from === 1n
          ? formatPrefix(this.#block(from))
          : `${formatPrefix(this.#block(from))} to ${last(to)}`,
      );
  }

  /** Takes the lowest free block, or undefined where there is none left. */
  take(): Prefix | undefined {
    const first = this.#gaps[0];
    if (first === undefined) return undefined;
    if (first.to - first.from === 1n) this.#gaps.shift();
    else this.#gaps[0] = { from: first.from + 1n, to: first.to };
    return this.#block(first.from);
  }

  #block(index: bigint): Prefix {
    const bits = bitsOf(prefixFamily(this.#cidr));
    const address = BigInt(this.#cidr.address) + (index << BigInt(bits - this.#length));
    return {
      address: (bits === 32 ? (Number(address) as IPv4) : (address as IPv6)) as IP,
      length: this.#length,
    };
  }

  #rangesOf(taken: Iterable<Prefix>): Range[] {
    const bits = bitsOf(prefixFamily(this.#cidr));
    const shift = BigInt(bits - this.#length);
    const base = BigInt(this.#cidr.address);
    const ranges: Range[] = [];
    for (const prefix of taken) {
      if (!overlaps(this.#cidr, prefix)) continue;
      const offset = BigInt(prefix.address) - base;
      const end = offset + (1n << BigInt(bits - prefix.length));
      ranges.push({ from: max(offset, 0n) >> shift, to: ((end - 1n) >> shift) + 1n });
    }
    return ranges.sort((a, b) => (a.from < b.from ? -1 : Number(a.from > b.from)));
  }
}

function gapsOf(total: bigint, sorted: readonly Range[]): Range[] {
  const gaps: Range[] = [];
  let next = 0n;
  for (const { from, to } of sorted) {
    if (from > next) gaps.push({ from: next, to: min(from, total) });
    next = max(next, to);
  }
  if (next < total) gaps.push({ from: next, to: total });
  return gaps;
}

function min(a: bigint, b: bigint): bigint {
  return a < b ? a : b;
}

function max(a: bigint, b: bigint): bigint {
  return a > b ? a : b;
}
