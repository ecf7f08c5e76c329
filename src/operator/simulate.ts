import { formatPrefix, samePrefix } from '../address/prefix.ts';
import { type IPPool, shapeOf } from '../store/kinds/ipPool.ts';
import { plan } from './planner.ts';
import { refusePool } from './poolChange.ts';
import { type PoolUse, poolUses } from './poolUse.ts';
import { type Listed, readWorld } from './reading.ts';
import { reportOf } from './transition.ts';
import type { Assignment, Idle, NodeView, World } from './world.ts';

/** What might be done to a cluster. */
export interface Change {
  /** Pools as they would be; undefined: deleted. */
  readonly pools: ReadonlyMap<string, IPPool | undefined>;
  /** Nodes that would be gone. */
  readonly withoutNodes: readonly string[];
}

export interface Verdict {
  readonly pool: string;
  readonly verdict: 'accepted' | 'refused';
  readonly reason?: string;
  readonly advice?: string;
}

/** What would come of it, once operator and agents had nothing more to do. */
export interface Simulation {
  readonly changes: readonly Verdict[];
  readonly before: readonly PoolUse[];
  readonly after: readonly PoolUse[];
  readonly nodes: readonly {
    readonly node: string;
    readonly gains: readonly string[];
    readonly loses: readonly string[];
  }[];
  /** Blocks of pools that were to be emptied, which stay because of who uses them. */
  readonly stuck: readonly {
    readonly node: string;
    readonly pool: string;
    readonly block: string;
    readonly used: number;
  }[];
  /** What nodes would need and not get. */
  readonly shortages: readonly { readonly node: string; readonly reason: string }[];
  /** Rounds of the operator until then. */
  readonly rounds: number;
}

/** Rounds are a minute apart here: long enough for every observation and every cool-down to take a few. */
const ROUND_MS = 120_000;
const MOST_ROUNDS = 1000;

/**
 * Plays a change through with the operator's own planner, on a copy of what was listed. Pods stay where they are; agents
 * answer at once. A change that would be refused is played as the way that is advised instead: the pool is disabled.
 */
export function simulate(listed: Listed, change: Change, now: number): Simulation {
  const changes = [...change.pools].map(([name, after]) => judge(name, after, listed));
  const refused = new Set(changes.filter(({ verdict }) => verdict === 'refused').map(({ pool }) => pool));
  const before = worldOf(listed, now);
  const altered = {
    ...listed,
    pools: poolsAfter(listed.pools, change, refused),
    nodes: listed.nodes.filter(({ metadata }) => !change.withoutNodes.includes(metadata.name)),
  };
  const { world, rounds, shortages } = settle(worldOf(altered, now));
  const leaving = new Set([...world.pools].filter(({ disabled }) => disabled).map(({ name }) => name));
  return {
    changes,
    before: poolUses(before, listed.claims),
    after: poolUses(world, listed.claims),
    nodes: differences(before, world),
    stuck: world.nodes.flatMap((node) =>
      node.segments
        .filter(({ pool }) => pool !== undefined && leaving.has(pool))
        .map((segment) => ({
          node: node.name,
          pool: segment.pool ?? '',
          block: formatPrefix(segment.cidr),
          used: reportOf(node, segment)?.used ?? 0,
        })),
    ),
    shortages,
    rounds,
  };
}

function worldOf(listed: Listed, now: number): World {
  return { ...readWorld(listed, now).world, uncertain: [] };
}

function judge(name: string, after: IPPool | undefined, listed: Listed): Verdict {
  const stored = listed.pools.find(({ metadata }) => metadata.name === name);
  const before = stored && (stored.status?.inForce ?? shapeOf(stored.spec));
  const refusal = refusePool(name, before, after, { ...listed, configurations: listed.bgpConfigurations });
  return refusal ? { pool: name, verdict: 'refused', ...refusal } : { pool: name, verdict: 'accepted' };
}

function poolsAfter(pools: readonly IPPool[], change: Change, refused: ReadonlySet<string>): IPPool[] {
  const known = new Set(pools.map(({ metadata }) => metadata.name));
  const kept = pools.flatMap((pool) => {
    const { name } = pool.metadata;
    if (!change.pools.has(name)) return [pool];
    if (refused.has(name)) return [{ ...pool, spec: { ...pool.spec, disabled: true } }];
    const after = change.pools.get(name);
    return after ? [{ ...pool, spec: after.spec, status: { inForce: shapeOf(after.spec) } }] : [];
  });
  const added = [...change.pools].flatMap(([name, after]) =>
    after && !known.has(name) && !refused.has(name) ? [after] : [],
  );
  return [...kept, ...added];
}

function settle(start: World) {
  let world = start;
  let idle: Idle = new Map();
  let quiet = 0;
  let rounds = 0;
  let shortages: Simulation['shortages'] = [];
  // Something that idles is noticed in one round and acted upon in the next.
  while (quiet < 2 && rounds < MOST_ROUNDS) {
    const planned = plan(world, idle);
    idle = planned.idle;
    shortages = planned.shortages.map(({ node, reason }) => ({ node, reason }));
    const waits = world.nodes.some(({ segments }) => segments.some(({ state }) => state === 'cooling'));
    quiet = planned.assignments.length > 0 || waits ? 0 : quiet + 1;
    world = { ...world, now: world.now + ROUND_MS, nodes: answered(world.nodes, planned.assignments) };
    rounds++;
  }
  return { world, rounds, shortages };
}

/** The nodes after their agents have answered: what was in use is, and nothing else is asked for. */
function answered(nodes: readonly NodeView[], assignments: readonly Assignment[]): NodeView[] {
  const assigned = new Map(assignments.map(({ node, segments }) => [node, segments]));
  return nodes.map((node) => {
    const segments = assigned.get(node.name) ?? node.segments;
    const reports = segments.map(({ cidr, generation, state }) => {
      const before = node.reports.find((report) => samePrefix(report.cidr, cidr));
      const used = before?.used ?? 0;
      return {
        cidr,
        generation,
        used,
        pinned: before?.pinned ?? false,
        drained: state !== 'active' && used === 0,
      };
    });
    return { ...node, segments, reports: node.present ? reports : node.reports, requests: [] };
  });
}

function differences(before: World, after: World): Simulation['nodes'] {
  const blocks = (world: World) =>
    new Map(
      world.nodes.map(({ name, segments }) => [
        name,
        segments.map(({ cidr, pool }) => `${formatPrefix(cidr)}${pool === undefined ? '' : ` of ${pool}`}`),
      ]),
    );
  const [then, now] = [blocks(before), blocks(after)];
  return [...new Set([...then.keys(), ...now.keys()])].sort().flatMap((node) => {
    const [had, has] = [then.get(node) ?? [], now.get(node) ?? []];
    const gains = has.filter((block) => !had.includes(block));
    const loses = had.filter((block) => !has.includes(block));
    return gains.length + loses.length > 0 ? [{ node, gains, loses }] : [];
  });
}
