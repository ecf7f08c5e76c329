import { covers, formatPrefix, overlaps } from '../address/prefix.ts';
import type { Draft } from './draft.ts';
import type { Pool } from './pool.ts';
import { cooled, type Seen, since } from './transition.ts';
import { keyOf, type SegmentReport, type World } from './world.ts';

/**
 * A node that is gone may say that it uses blocks that nobody has assigned to it: the store has been restored from a time before it
 * came. If its agent lives, they are its pods'; if it is dead, those are its last words. So the blocks are put down as its own once
 * more, to cool: the living answer the new generation, and what they use is not given to anybody else.
 */
export function ask(draft: Draft, world: World, seen: Seen): void {
  const { node } = draft;
  if (node.present) return;
  for (const report of node.reports) {
    if (report.used === 0) continue;
    const key = `${keyOf(node.name, report)} asked`;
    const own = node.segments.find(({ cidr }) => overlaps(cidr, report.cidr));
    const asked = own === undefined ? seen.before.has(key) : own.generation > report.generation;
    if (asked) since(key, world.now, seen);
    if (asked || own) continue;
    const pool = poolOf(report, world);
    if (pool === undefined || isAnothers(report, draft, world)) continue;
    const { cidr, generation } = report;
    const segment = { cidr, generation, pool: pool.name, state: 'active' } as const;
    const range = formatPrefix(cidr);
    draft.add(
      cooled(segment, node, world),
      `${range} cools down: node ${node.name} is gone, and said it uses it`,
    );
  }
}

function poolOf({ cidr }: SegmentReport, { pools }: World): Pool | undefined {
  return pools.find((pool) => covers(pool.cidr, cidr) && pool.blockSize === cidr.length);
}

/** Long since given to somebody else: who is right, nobody can say. */
function isAnothers({ cidr }: SegmentReport, { node }: Draft, { nodes, uncertain }: World): boolean {
  const segments = nodes.filter((other) => other !== node).flatMap((other) => other.segments);
  return [...segments.map((segment) => segment.cidr), ...uncertain].some((other) => overlaps(other, cidr));
}
