import type { Prefix } from '../../address/prefix.ts';
import { matchOf, type PrefixMatch, within } from './prefixMatch.ts';

/**
 * The last gate on the way out: a prefix leaves only if it lies within a known pool or service range, whatever
 * filters and their operations say. A node with a wrong filter then announces too little, never somebody
 * else's addresses, and never the default route.
 */
export class ExportGuard {
  readonly #ranges: readonly PrefixMatch[];

  constructor(ranges: readonly Prefix[]) {
    this.#ranges = ranges.map(matchOf);
  }

  allows(family: 4 | 6, words: ArrayLike<number>, length: number): boolean {
    return this.#ranges.some((range) => within(range, family, words, length));
  }
}
