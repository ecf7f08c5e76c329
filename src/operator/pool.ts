import { formatPrefix, networkOf, type Prefix, prefixSize } from '../address/prefix.ts';
import { sizeOf, within } from '../address/ranges.ts';
import type { Selector } from '../selector/selector.ts';

/** How a node's share of a pool follows its use. Counts are addresses, `step` is blocks. */
export interface Expansion {
  /** Fewer free addresses than this, and the node gets `step` more blocks. */
  readonly low: number;
  /** A block goes back when the node would still have this many free addresses without it. */
  readonly high: number;
  /** The node keeps at least this many addresses, used or not. */
  readonly min: number;
  /** The node never holds more addresses than this. */
  readonly max: number;
  readonly step: number;
}

/** An `IPPool`, parsed. */
export interface Pool {
  readonly name: string;
  readonly cidr: Prefix;
  /** The length of the blocks cut from it. */
  readonly blockSize: number;
  readonly nodeSelector: Selector;
  /** Whether pods may draw from the pool without being bound to it by name or by namespace. */
  readonly open: boolean;
  readonly disabled: boolean;
  readonly reserved: readonly Prefix[];
  readonly cooldownSeconds: number;
  readonly expansion: Expansion;
}

/** What of a pool's blocks is reserved whole: nobody is given such a block. */
export function reservedBlocks({ cidr, blockSize, reserved }: Pool): Prefix[] {
  const parts = within(cidr, reserved);
  const small = parts.filter(({ length }) => length > blockSize);
  const blocks = new Map(
    small.map(({ address }) => {
      const block = networkOf({ address, length: blockSize });
      return [formatPrefix(block), block];
    }),
  );
  const full = [...blocks.values()].filter((block) => sizeOf(within(block, small)) === prefixSize(block));
  return [...parts.filter(({ length }) => length <= blockSize), ...full];
}

/** What of a block the pool reserves. */
export function reservedIn({ reserved }: Pool, block: Prefix): Prefix[] {
  return within(block, reserved);
}

/** Addresses of a block that pods may have; see {@link blockAddresses}. */
export function usableAddresses(pool: Pool, block: Prefix): number {
  return blockAddresses(pool) - Number(sizeOf(reservedIn(pool, block)));
}

/** Addresses in one block of a pool; blocks larger than a node could ever fill count as 2^32. */
export function blockAddresses(pool: Pool): number {
  const bits = typeof pool.cidr.address === 'number' ? 32 : 128;
  return 2 ** Math.min(bits - pool.blockSize, 32);
}
