import { bitsOf, type Family } from '../address/ip.ts';
import { formatPrefix, type Prefix, prefixFamily } from '../address/prefix.ts';
import { isNobody, selects } from '../selector/selector.ts';
import type { FreeBlocks } from './blocks.ts';
import type { Draft } from './draft.ts';
import { blockAddresses, type Pool, reservedIn, usableAddresses } from './pool.ts';
import { reportOf } from './transition.ts';
import type { Request, Segment, Shortage, World } from './world.ts';

/** How many free ranges a refusal lists. */
const RANGES_SHOWN = 4;

/**
 * Gives a node the blocks it needs: at once for what its agent asks for, and up to the low watermark of the pools it
 * draws from.
 *
 * @returns What it needs and cannot have, with the reason.
 */
export function growth(draft: Draft, world: World, blocksOf: (pool: Pool) => FreeBlocks): Shortage[] {
  const shortages: Shortage[] = [];
  for (const request of draft.node.requests) {
    const { pools, refusal } = poolsFor(request, draft, world);
    const reason = refusal ?? raise(draft, world, pools, request.addresses, blocksOf, 'the node ran dry');
    if (reason !== undefined) shortages.push({ node: draft.node.name, pool: request.pool, reason });
  }
  for (const family of [4, 6] as const) {
    const open = openPools(draft, world, family);
    if (open.length > 0) shortages.push(...keepUp(draft, world, open, blocksOf));
  }
  for (const pool of boundPools(draft, world)) shortages.push(...keepUp(draft, world, [pool], blocksOf));
  return shortages;
}

function keepUp(
  draft: Draft,
  world: World,
  pools: readonly Pool[],
  blocksOf: (pool: Pool) => FreeBlocks,
): Shortage[] {
  const low = Math.max(...pools.map(({ expansion }) => expansion.low));
  const wanted = Math.max(low, Math.max(...pools.map(({ expansion }) => expansion.min)) - used(draft, pools));
  const reason = raise(draft, world, pools, wanted, blocksOf, 'the node is below its low watermark');
  return reason === undefined ? [] : [{ node: draft.node.name, pool: pools[0]?.name, reason }];
}

/** The pools a request may be answered from. A pool that is named and cannot serve is never replaced by another one. */
function poolsFor(request: Request, draft: Draft, world: World): { pools: Pool[]; refusal?: string } {
  if (request.pool === undefined) return { pools: openPools(draft, world, request.family) };
  const pool = world.pools.find(({ name }) => name === request.pool);
  if (pool === undefined) return { pools: [], refusal: `there is no pool ${request.pool}` };
  if (pool.disabled) return { pools: [], refusal: `pool ${pool.name} is disabled` };
  if (!isNobody(pool.nodeSelector) && !selects(pool.nodeSelector, draft.node.labels)) {
    return { pools: [], refusal: `pool ${pool.name} does not select node ${draft.node.name}` };
  }
  return { pools: [pool] };
}

function openPools(draft: Draft, world: World, family: Family): Pool[] {
  return world.pools
    .filter((pool) => pool.open && !pool.disabled && prefixFamily(pool.cidr) === family)
    .filter((pool) => selects(pool.nodeSelector, draft.node.labels))
    .sort((a, b) => (a.name < b.name ? -1 : 1));
}

/** Pools that pods are bound to, where the node has had a block of them before. */
function boundPools(draft: Draft, world: World): Pool[] {
  const held = new Set(draft.segments.filter(({ state }) => state === 'active').map(({ pool }) => pool));
  return world.pools.filter(
    (pool) =>
      held.has(pool.name) && !pool.disabled && !(pool.open && selects(pool.nodeSelector, draft.node.labels)),
  );
}

/** Adds blocks until `wanted` addresses are free in these pools together; says why if that many cannot be had. */
function raise(
  draft: Draft,
  world: World,
  pools: readonly Pool[],
  wanted: number,
  blocksOf: (pool: Pool) => FreeBlocks,
  why: string,
): string | undefined {
  let missing = wanted - free(draft, pools);
  let refusal: string | undefined;
  for (const pool of pools) {
    let step = missing > 0 ? pool.expansion.step : 0;
    while (missing > 0 || step > 0) {
      refusal = limitReached(draft, world, pool);
      const block = refusal === undefined ? (takeBack(draft, pool) ?? blocksOf(pool).take()) : undefined;
      if (block === undefined) {
        refusal ??= exhausted(pool, blocksOf(pool));
        break;
      }
      assign(draft, pool, block, why);
      missing -= usableAddresses(pool, block);
      step--;
    }
    if (missing <= 0) return undefined;
  }
  return missing > 0 ? (refusal ?? 'no pool selects this node') : undefined;
}

/** A block the node is about to give back is the first one it gets again. */
function takeBack(draft: Draft, pool: Pool): Prefix | undefined {
  const leaving = draft.segments.find(({ state, pool: name }) => state === 'releasing' && name === pool.name);
  return leaving?.cidr;
}

function assign(draft: Draft, pool: Pool, block: Prefix, why: string): void {
  const before = draft.segments.find(({ cidr }) => cidr === block);
  const range = formatPrefix(block);
  if (before) {
    const { until: _, ...rest } = before;
    const kept: Segment = { ...rest, state: 'active', generation: before.generation + 1 };
    draft.change(before, kept, `${range} is kept: ${why}`);
  } else {
    const reserved = reservedIn(pool, block);
    const claim: Segment = {
      cidr: block,
      pool: pool.name,
      state: 'claimed',
      generation: 1,
      ...(reserved.length > 0 && { reserved }),
    };
    draft.add(claim, `${range} of pool ${pool.name} is claimed: ${why}`);
  }
}

function limitReached(draft: Draft, world: World, pool: Pool): string | undefined {
  const [unreadable] = world.unreadable;
  if (unreadable !== undefined) return `nobody knows which blocks are free: ${unreadable}`;
  const mine = draft.segments.filter(({ pool: name, state }) => name === pool.name && state !== 'cooling');
  const addresses = mine.reduce((sum, { cidr }) => sum + usableAddresses(pool, cidr), 0);
  if (addresses + blockAddresses(pool) > pool.expansion.max) {
    return `the node holds ${addresses} addresses of pool ${pool.name}, and expansion.max is ${pool.expansion.max}`;
  }
  const blocks = draft.segments.filter(({ state }) => state !== 'cooling').length;
  if (world.maxBlocksPerNode > 0 && blocks >= world.maxBlocksPerNode) {
    return `the node holds ${blocks} blocks, and maxBlocksPerHost is ${world.maxBlocksPerNode}`;
  }
  return undefined;
}

function exhausted(pool: Pool, blocks: FreeBlocks): string {
  const bits = bitsOf(prefixFamily(pool.cidr));
  const left = blocks.count === 0n ? 'none is free' : `free: ${blocks.describe(RANGES_SHOWN).join(', ')}`;
  return `pool ${pool.name} (${formatPrefix(pool.cidr)}) has no free block of /${pool.blockSize} among its ${blocks.total}; ${left}${
    pool.blockSize < bits ? '; segments that cool down come back by themselves' : ''
  }`;
}

function free(draft: Draft, pools: readonly Pool[]): number {
  return capacity(draft, pools) - used(draft, pools);
}

function capacity(draft: Draft, pools: readonly Pool[]): number {
  return supply(draft, pools).reduce(
    (sum, { segment, pool }) => sum + usableAddresses(pool, segment.cidr),
    0,
  );
}

function used(draft: Draft, pools: readonly Pool[]): number {
  return supply(draft, pools).reduce(
    (sum, { segment }) => sum + (reportOf(draft.node, segment)?.used ?? 0),
    0,
  );
}

/** What the node has or is about to have. */
function supply(draft: Draft, pools: readonly Pool[]) {
  return draft.segments.flatMap((segment) => {
    const pool = pools.find(({ name }) => name === segment.pool);
    return pool && (segment.state === 'active' || segment.state === 'claimed') ? [{ segment, pool }] : [];
  });
}
