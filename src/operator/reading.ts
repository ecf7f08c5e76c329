import { formatPrefix, overlaps, parsePrefix } from '../address/prefix.ts';
import { messageOf } from '../errors.ts';
import { parseSelector } from '../selector/selector.ts';
import type { IPAMConfiguration } from '../store/kinds/ipamConfiguration.ts';
import { blockSizeOf, type IPPool } from '../store/kinds/ipPool.ts';
import type { Node } from '../store/kinds/node.ts';
import type { NodeNetwork } from '../store/kinds/nodeNetwork.ts';
import type { Pool } from './pool.ts';
import type { NodeView, Segment, SegmentReport, World } from './world.ts';

/** Calico's default for `maxBlocksPerHost`. */
const MAX_BLOCKS_PER_NODE = 20;
const COOLDOWN_SECONDS = 60;
/** Where a pool names no watermarks: room for a burst of pods before a new block arrives. */
const LOW = 8;

/** What the store holds, as it was listed. */
export interface Listed {
  readonly pools: readonly IPPool[];
  readonly configurations: readonly IPAMConfiguration[];
  readonly nodes: readonly Node[];
  readonly networks: readonly NodeNetwork[];
}

export interface Refusal {
  readonly pool: string;
  readonly reason: string;
}

/** What the planner looks at, and the pools that are left out of it with the reason. */
export function readWorld(
  listed: Listed,
  now: number,
): { world: Omit<World, 'uncertain'>; refusals: Refusal[] } {
  const { pools, refusals } = readPools(listed.pools);
  const configuration = listed.configurations.find(({ metadata }) => metadata.name === 'default');
  const networks = new Map(listed.networks.map((network) => [network.metadata.name, network]));
  const nodes = new Map(listed.nodes.map((node) => [node.metadata.name, node]));
  const names = [...new Set([...nodes.keys(), ...networks.keys()])].sort();
  const world = {
    pools,
    nodes: names.map((name) => viewOf(name, nodes.get(name), networks.get(name))),
    maxBlocksPerNode: configuration?.spec.maxBlocksPerHost ?? MAX_BLOCKS_PER_NODE,
    now,
  };
  return { world, refusals };
}

/** Of two pools that overlap the older one counts: what was there first may be in use. */
function readPools(objects: readonly IPPool[]): { pools: Pool[]; refusals: Refusal[] } {
  const pools: Pool[] = [];
  const refusals: Refusal[] = [];
  const age = ({ metadata }: IPPool) => `${metadata.creationTimestamp ?? ''} ${metadata.name}`;
  for (const object of [...objects].sort((a, b) => (age(a) < age(b) ? -1 : 1))) {
    try {
      const pool = readPool(object);
      const other = pools.find(({ cidr }) => overlaps(cidr, pool.cidr));
      if (other === undefined) pools.push(pool);
      else {
        const reason = `${formatPrefix(pool.cidr)} overlaps ${formatPrefix(other.cidr)} of pool ${other.name}`;
        refusals.push({ pool: pool.name, reason });
      }
    } catch (error) {
      refusals.push({ pool: object.metadata.name, reason: messageOf(error) });
    }
  }
  return { pools, refusals };
}

/** @throws {SyntaxError} If a selector is none. */
export function readPool({ metadata, spec }: IPPool): Pool {
  const cidr = parsePrefix(spec.cidr);
  const blockSize = blockSizeOf(spec);
  const size = 2 ** Math.min((typeof cidr.address === 'number' ? 32 : 128) - blockSize, 32);
  const uses = spec.allowedUses ?? ['Workload'];
  const {
    low = Math.min(LOW, size),
    high = low + size,
    min = 0,
    max = Number.POSITIVE_INFINITY,
    step = 1,
  } = spec.expansion ?? {};
  if (spec.namespaceSelector !== undefined) parseSelector(spec.namespaceSelector);
  return {
    name: metadata.name,
    cidr,
    blockSize,
    nodeSelector: parseSelector(spec.nodeSelector ?? 'all()'),
    open:
      spec.namespaceSelector === undefined && spec.assignmentMode !== 'Manual' && uses.includes('Workload'),
    disabled: spec.disabled ?? false,
    reserved: (spec.reserved ?? []).map(parsePrefix),
    cooldownSeconds: spec.cooldownSeconds ?? COOLDOWN_SECONDS,
    expansion: { low, high: Math.max(high, low), min, max, step },
  };
}

function viewOf(name: string, node: Node | undefined, network: NodeNetwork | undefined): NodeView {
  return {
    name,
    labels: node?.metadata.labels ?? {},
    present: node !== undefined && node.metadata.deletionTimestamp === undefined,
    segments: (network?.spec.segments ?? []).map(readSegment),
    reports: (network?.status?.segments ?? []).map(readReport),
    requests: (network?.status?.requests ?? []).flatMap(({ family, addresses, pool }) =>
      family === 4 || family === 6 ? [{ family, addresses, ...(pool !== undefined && { pool }) }] : [],
    ),
  };
}

type StoredSegment = NonNullable<NodeNetwork['spec']['segments']>[number];
type StoredReport = NonNullable<NonNullable<NodeNetwork['status']>['segments']>[number];

export function readSegment({ cidr, pool, state, generation, until }: StoredSegment): Segment {
  return {
    cidr: parsePrefix(cidr),
    ...(pool !== undefined && { pool }),
    state: state ?? 'active',
    generation: generation ?? 1,
    ...(until !== undefined && { until: Date.parse(until) || 0 }),
  };
}

function readReport({ cidr, generation, drained, used, pinned }: StoredReport): SegmentReport {
  return {
    cidr: parsePrefix(cidr),
    generation,
    drained: drained ?? false,
    used: used ?? 0,
    pinned: pinned ?? false,
  };
}

/** A segment as it is stored; fields that the operator knows nothing about stay what they were. */
export function writeSegment(segment: Segment, before: StoredSegment | undefined): StoredSegment {
  const { until: _, ...kept } = before ?? { cidr: formatPrefix(segment.cidr) };
  return {
    ...kept,
    ...(segment.pool !== undefined && { pool: segment.pool }),
    state: segment.state,
    generation: segment.generation,
    ...(segment.until !== undefined && { until: new Date(segment.until).toISOString() }),
  };
}
