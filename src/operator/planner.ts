import { overlaps, type Prefix } from '../address/prefix.ts';
import { FreeBlocks } from './blocks.ts';
import { findClashes, strays } from './clash.ts';
import { Draft } from './draft.ts';
import { growth } from './growth.ts';
import { ask } from './inquiry.ts';
import { type Pool, reservedBlocks } from './pool.ts';
import { reserve } from './reservation.ts';
import { surplus } from './surplus.ts';
import { advance } from './transition.ts';
import type { Idle, Plan, Shortage, World } from './world.ts';

/**
 * Decides who gets which segment. A function of what was read and of what was idle before; whoever calls it writes the
 * assignments with compare-and-swap and reads again.
 *
 * In this order: segments move along their way, nodes that ran dry get blocks, nodes below their low watermark get
 * blocks, and superfluous blocks are asked back.
 */
export function plan(world: World, idle: Idle = new Map()): Plan {
  const clashes = findClashes(world.nodes);
  const seen = { before: idle, now: new Map<string, number>() };
  const drafts = world.nodes.map((node) => new Draft(node, advance(node, world, clashes.segments, seen)));
  const free = new Map<string, FreeBlocks>();
  const blocksOf = (pool: Pool): FreeBlocks => {
    const known =
      free.get(pool.name) ?? new FreeBlocks(pool.cidr, pool.blockSize, takenIn(world, drafts, pool));
    free.set(pool.name, known);
    return known;
  };
  for (const draft of drafts) ask(draft, world, seen);
  for (const draft of drafts) reserve(draft, world);
  const shortages: Shortage[] = [];
  const living = drafts.filter(({ node }) => node.present).sort(byNeed);
  for (const draft of living) shortages.push(...growth(draft, world, blocksOf));
  for (const draft of living) surplus(draft, world, seen);
  return {
    assignments: drafts.flatMap((draft) => draft.assignment() ?? []),
    shortages,
    conflicts: clashes.conflicts,
    idle: seen.now,
  };
}

/** Nodes that ran dry come first: there, somebody is waiting. */
function byNeed(a: Draft, b: Draft): number {
  const need = Number(b.node.requests.length > 0) - Number(a.node.requests.length > 0);
  return need !== 0 ? need : a.node.name < b.node.name ? -1 : Number(a.node.name > b.node.name);
}

/**
 * What is held before this plan, of whatever state and by whatever node, and what the plan itself gives out. A segment that
 * this plan lets go of is free only in the next one: the write that removes it may fail.
 */
function takenIn(world: World, drafts: readonly Draft[], pool: Pool): Prefix[] {
  const held = [...world.uncertain, ...reservedBlocks(pool)];
  for (const { node, segments } of drafts) {
    for (const { cidr } of [...node.segments, ...segments, ...strays(node)]) held.push(cidr);
  }
  return held.filter((cidr) => overlaps(cidr, pool.cidr));
}
