import { formatPrefix, parsePrefix } from '../address/prefix.ts';
import { messageOf } from '../errors.ts';
import { parseSelector } from '../selector/selector.ts';
import type { BGPConfiguration } from '../store/kinds/bgpConfiguration.ts';
import type { IPAMConfiguration } from '../store/kinds/ipamConfiguration.ts';
import type { IPClaim } from '../store/kinds/ipClaim.ts';
import { blockSizeOf, type IPPool, type PoolShape, shapeOf } from '../store/kinds/ipPool.ts';
import type { Node } from '../store/kinds/node.ts';
import type { NodeNetwork } from '../store/kinds/nodeNetwork.ts';
import type { Pool } from './pool.ts';
import { refusePool } from './poolChange.ts';
import type { NodeView, Segment, SegmentReport, World } from './world.ts';

/** Calico's default for `maxBlocksPerHost`. */
const MAX_BLOCKS_PER_NODE = 20;
const COOLDOWN_SECONDS = 60;
const SHRINK_AFTER = 60_000;
/** Where a pool names no watermarks: room for a burst of pods before a new block arrives. */
const LOW = 8;

/** What the store holds, as it was listed. */
export interface Listed {
  readonly pools: readonly IPPool[];
  readonly configurations: readonly IPAMConfiguration[];
  readonly nodes: readonly Node[];
  readonly networks: readonly NodeNetwork[];
  readonly claims: readonly IPClaim[];
  readonly bgpConfigurations: readonly BGPConfiguration[];
  /** What was there and could not be read. */
  readonly unreadable: {
    readonly nodes: readonly string[];
    readonly networks: readonly string[];
    readonly pools: readonly string[];
  };
}

export interface Refusal {
  readonly pool: string;
  readonly reason: string;
  /** What would be taken instead. */
  readonly advice?: string;
}

/** The shapes that have been taken, by pool: what a refused change leaves in force. */
export type Shapes = ReadonlyMap<string, PoolShape>;

/** What the planner looks at, and the pools that are left out of it with the reason. */
export function readWorld(
  listed: Listed,
  now: number,
  known: Shapes = new Map(),
): { world: Omit<World, 'uncertain'>; refusals: Refusal[]; shapes: Shapes } {
  const { pools, refusals, shapes } = readPools(listed, known);
  const configuration = listed.configurations.find(({ metadata }) => metadata.name === 'default');
  const networks = new Map(listed.networks.map((network) => [network.metadata.name, network]));
  const nodes = new Map(listed.nodes.map((node) => [node.metadata.name, node]));
  const names = [...new Set([...nodes.keys(), ...networks.keys()])].sort();
  const world = {
    pools,
    nodes: names.map((name) => viewOf(name, nodes.get(name), networks.get(name), listed.unreadable.nodes)),
    unreadable: listed.unreadable.networks,
    shrinkAfter: SHRINK_AFTER,
    maxBlocksPerNode: configuration?.spec.maxBlocksPerHost ?? MAX_BLOCKS_PER_NODE,
    now,
  };
  return { world, refusals, shapes };
}

/**
 * Of two pools that overlap the older one counts: what was there first may be in use. A pool that is changed under its
 * addresses keeps the shape it had, and one that is gone under them gives out nothing more.
 */
function readPools(listed: Listed, known: Shapes): { pools: Pool[]; refusals: Refusal[]; shapes: Shapes } {
  const pools: Pool[] = [];
  const refusals: Refusal[] = [];
  const shapes = new Map<string, PoolShape>();
  const age = ({ metadata }: IPPool) => `${metadata.creationTimestamp ?? ''} ${metadata.name}`;
  const accepted: IPPool[] = [];
  for (const object of [...listed.pools].sort((a, b) => (age(a) < age(b) ? -1 : 1))) {
    const { name } = object.metadata;
    const before = known.get(name) ?? object.status?.inForce ?? shapeInUse(name, object, listed);
    const facts = { ...listed, pools: accepted, configurations: listed.bgpConfigurations };
    const refusal = refusePool(name, before, object, facts);
    if (refusal) refusals.push({ pool: name, ...refusal });
    if (refusal && before === undefined) continue;
    const shape = refusal && before ? before : shapeOf(object.spec);
    const taken = { ...object, spec: { ...object.spec, ...shape } };
    try {
      pools.push(readPool(taken));
      accepted.push(taken);
      shapes.set(name, shape);
    } catch (error) {
      refusals.push({ pool: name, reason: messageOf(error) });
    }
  }
  const orphans = orphanedPools(listed);
  for (const { name } of orphans) {
    const facts = { ...listed, configurations: listed.bgpConfigurations };
    const refusal = refusePool(name, undefined, undefined, facts);
    const reason = `it was deleted, and ${refusal?.reason}`;
    const advice = 'put it back to go on with it; otherwise its blocks go back one by one as they empty';
    refusals.push({ pool: name, reason, advice });
  }
  return { pools: [...pools, ...orphans], refusals, shapes };
}

/** What an operator that has just started finds: blocks bear witness to the mask they were cut with. */
function shapeInUse(name: string, { spec }: IPPool, { networks }: Listed): PoolShape | undefined {
  const blocks = networks
    .flatMap((network) => network.spec.segments ?? [])
    .filter(({ pool }) => pool === name);
  const lengths = new Set(blocks.map(({ cidr }) => parsePrefix(cidr).length));
  const [blockSize] = lengths;
  return blockSize === undefined || lengths.size > 1 ? undefined : { cidr: spec.cidr, blockSize };
}

/** Pools that are no more, of which nodes hold blocks still: disabled, so that the blocks go back. */
function orphanedPools({ pools, networks, unreadable }: Listed): Pool[] {
  // One that cannot be read is not gone.
  if (unreadable.pools.length > 0) return [];
  const names = new Set(pools.map(({ metadata }) => metadata.name));
  const orphans = new Map<string, Pool>();
  const segments = networks.flatMap(({ spec }) => spec.segments ?? []);
  for (const { cidr, pool: name } of segments) {
    if (name === undefined || names.has(name) || orphans.has(name)) continue;
    const reserved = segments.flatMap((segment) => (segment.pool === name ? (segment.reserved ?? []) : []));
    const spec = { cidr, blockSize: parsePrefix(cidr).length, disabled: true, reserved };
    const object = { apiVersion: '', kind: 'IPPool', metadata: { name }, spec };
    orphans.set(name, readPool(object));
  }
  return [...orphans.values()];
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

function viewOf(
  name: string,
  node: Node | undefined,
  network: NodeNetwork | undefined,
  unreadable: readonly string[],
): NodeView {
  // One that is missing may be the one that cannot be read.
  const missing = node === undefined && unreadable.length === 0;
  return {
    name,
    labels: node?.metadata.labels ?? {},
    present: !missing && node?.metadata.deletionTimestamp === undefined,
    segments: (network?.spec.segments ?? []).map(readSegment),
    reports: (network?.status?.segments ?? []).map(readReport),
    requests: (network?.status?.requests ?? []).flatMap(({ family, addresses, pool }) =>
      family === 4 || family === 6 ? [{ family, addresses, ...(pool !== undefined && { pool }) }] : [],
    ),
  };
}

type StoredSegment = NonNullable<NodeNetwork['spec']['segments']>[number];
type StoredReport = NonNullable<NonNullable<NodeNetwork['status']>['segments']>[number];

function readSegment({ cidr, pool, state, generation, until, reserved }: StoredSegment): Segment {
  return {
    cidr: parsePrefix(cidr),
    ...(pool !== undefined && { pool }),
    state: state ?? 'active',
    generation: generation ?? 1,
    ...(until !== undefined && { until: Date.parse(until) || 0 }),
    ...(reserved !== undefined && { reserved: reserved.map(parsePrefix) }),
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
  const { until: _, reserved: __, ...kept } = before ?? { cidr: formatPrefix(segment.cidr) };
  return {
    ...kept,
    ...(segment.pool !== undefined && { pool: segment.pool }),
    state: segment.state,
    generation: segment.generation,
    ...(segment.until !== undefined && { until: new Date(segment.until).toISOString() }),
    ...(segment.reserved && { reserved: segment.reserved.map(formatPrefix) }),
  };
}
