import { formatPrefix } from '../address/prefix.ts';
import type { Draft } from './draft.ts';
import { type Pool, usableAddresses } from './pool.ts';
import { reportOf, type Seen, since } from './transition.ts';
import { keyOf, type Segment, type World } from './world.ts';

/**
 * Asks back what a node holds without need: one wholly empty block at a time, the newest first, never the last one of its
 * pool, unless that is disabled, and never the one with the node's own address.
 *
 * @param seen Remembers since when blocks have been superfluous.
 */
export function surplus(draft: Draft, world: World, seen: Seen): void {
  if (draft.segments.some(({ state }) => state === 'releasing') || draft.node.requests.length > 0) return;
  for (const pool of world.pools) {
    const candidate = superfluous(draft, pool);
    if (candidate === undefined) continue;
    const key = keyOf(draft.node.name, candidate);
    if (world.now - since(key, world.now, seen) < world.shrinkAfter) continue;
    draft.change(
      candidate,
      { ...candidate, state: 'releasing', generation: candidate.generation + 1 },
      `${formatPrefix(candidate.cidr)} is asked back: the node has more free addresses than expansion.high`,
    );
    return;
  }
}

function superfluous(draft: Draft, pool: Pool): Segment | undefined {
  const mine = draft.segments.filter(({ pool: name, state }) => name === pool.name && state === 'active');
  const reports = mine.map((segment) => reportOf(draft.node, segment));
  // Without an answer about every block of the pool nobody knows what is free.
  if (reports.includes(undefined)) return undefined;
  const used = reports.reduce((sum, report) => sum + (report?.used ?? 0), 0);
  const capacity = mine.reduce((sum, { cidr }) => sum + usableAddresses(pool, cidr), 0);
  const isNeeded = ({ cidr }: Segment) => {
    const left = capacity - usableAddresses(pool, cidr);
    return mine.length < 2 || left - used < pool.expansion.high || left < pool.expansion.min;
  };
  return mine.findLast(
    (segment, index) =>
      reports[index]?.used === 0 && reports[index]?.pinned === false && (pool.disabled || !isNeeded(segment)),
  );
}
