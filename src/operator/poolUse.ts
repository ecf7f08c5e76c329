import { type IP, parseIP } from '../address/ip.ts';
import { contains, formatPrefix, overlaps, type Prefix, prefixSize } from '../address/prefix.ts';
import { sizeOf } from '../address/ranges.ts';
import type { IPClaim } from '../store/kinds/ipClaim.ts';
import { FreeBlocks } from './blocks.ts';
import { type Pool, reservedBlocks, reservedIn } from './pool.ts';
import { reportOf } from './transition.ts';
import type { World } from './world.ts';

/** How a pool is used. Counts that IPv6 can make larger than JSON's numbers are text. */
export interface PoolUse {
  readonly pool: string;
  readonly cidr: string;
  /** The length of its blocks. */
  readonly blockSize: number;
  readonly disabled: boolean;
  /** In blocks. */
  readonly total: string;
  readonly free: string;
  readonly held: number;
  /** Of those held: given back, and resting. */
  readonly cooling: number;
  /** The free ranges, at most {@link RANGES} of them: what a larger block would have to fit into. */
  readonly freeRanges: readonly string[];
  /** Addresses of the whole pool that nobody is given. */
  readonly reserved: string;
  /** Addresses of the blocks that nodes hold, save reserved ones, and how many of them are in use, rest, or are kept. */
  readonly capacity: string;
  readonly used: number;
  readonly nodes: number;
  /** Claims that have addresses of this pool. */
  readonly claims: number;
}

const RANGES = 4;

/** Of every pool there is. */
export function poolUses(world: World, claims: readonly Pick<IPClaim, 'status'>[]): PoolUse[] {
  const claimed = claims.map(({ status }) => (status?.addresses ?? []).map(parseIP));
  return world.pools.map((pool) => poolUse(pool, world, claimed));
}

function poolUse(pool: Pool, world: World, claimed: readonly (readonly IP[])[]): PoolUse {
  const blocks = world.nodes.flatMap((node) =>
    node.segments
      .filter((segment) => segment.pool === pool.name)
      .map((segment) => ({ node, segment, used: reportOf(node, segment)?.used ?? 0 })),
  );
  const taken: Prefix[] = [...world.uncertain, ...reservedBlocks(pool)];
  for (const { segments } of world.nodes) {
    for (const { cidr } of segments) if (overlaps(cidr, pool.cidr)) taken.push(cidr);
  }
  const free = new FreeBlocks(pool.cidr, pool.blockSize, taken);
  const capacity = blocks.reduce(
    (sum, { segment }) => sum + prefixSize(segment.cidr) - sizeOf(reservedIn(pool, segment.cidr)),
    0n,
  );
  return {
    pool: pool.name,
    cidr: formatPrefix(pool.cidr),
    blockSize: pool.blockSize,
    disabled: pool.disabled,
    total: String(free.total),
    free: String(free.count),
    held: blocks.length,
    cooling: blocks.filter(({ segment }) => segment.state === 'cooling').length,
    freeRanges: free.describe(RANGES),
    capacity: String(capacity),
    reserved: String(sizeOf(reservedIn(pool, pool.cidr))),
    used: blocks.reduce((sum, { used }) => sum + used, 0),
    nodes: new Set(blocks.map(({ node }) => node.name)).size,
    claims: claimed.filter((addresses) => addresses.some((one) => contains(pool.cidr, one))).length,
  };
}
