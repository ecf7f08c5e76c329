import { formatPrefix, samePrefix } from '../address/prefix.ts';
import { type Idle, keyOf, type NodeView, type Segment, type SegmentReport, type World } from './world.ts';

/** How long a freed segment rests where its pool says nothing, or is gone. */
const DEFAULT_COOLDOWN_SECONDS = 60;
/** So long the agent of a node that is gone has at least to say that its pods are not. */
const OBJECTION_SECONDS = 60;

/** What the agent says of this very state of the segment, or undefined where it has not answered it yet. */
export function reportOf(node: NodeView, segment: Segment): SegmentReport | undefined {
  return node.reports.find(
    (report) => report.generation === segment.generation && samePrefix(report.cidr, segment.cidr),
  );
}

/**
 * Moves a node's segments along their way as far as the agent's answers and the clock allow.
 *
 * @param clashing Segments that share an address with another one: a claim among them is given up.
 * @param seen Remembers since when segments of nodes that are gone have been seen to cool.
 */
export function advance(
  node: NodeView,
  world: World,
  clashing: ReadonlySet<Segment>,
  seen: Seen,
): { segments: Segment[]; reasons: string[] } {
  const reasons: string[] = [];
  const segments = node.segments.flatMap((segment): Segment[] => {
    const step =
      segment.state === 'claimed' ? settle(segment, node, clashing) : stepOf(node, segment, world, seen);
    if (step.reason !== undefined) reasons.push(step.reason);
    return step.segment ? [step.segment] : [];
  });
  return { segments, reasons };
}

/** What earlier plans have noted, and what this one notes. */
export interface Seen {
  readonly before: Idle;
  readonly now: Map<string, number>;
}

/** Notes that something is so, and says since when. A clock that was set back begins anew. */
export function since(key: string, now: number, seen: Seen): number {
  const first = Math.min(seen.before.get(key) ?? now, now);
  seen.now.set(key, first);
  return first;
}

interface Step {
  readonly segment?: Segment;
  readonly reason?: string;
}

/** Nobody uses a claimed segment yet, so giving up a claim costs nothing; whoever else claimed gives up too. */
function settle(segment: Segment, node: NodeView, clashing: ReadonlySet<Segment>): Step {
  const range = formatPrefix(segment.cidr);
  if (!node.present) return { reason: `the claim on ${range} is given up: node ${node.name} is gone` };
  if (clashing.has(segment)) return { reason: `the claim on ${range} is given up: somebody else is there` };
  return {
    segment: { ...segment, state: 'active', generation: segment.generation + 1 },
    reason: `${range} is the node's`,
  };
}

function stepOf(node: NodeView, segment: Segment, world: World, seen: Seen): Step {
  if (segment.state === 'cooling') return rest(segment, node, world, seen);
  if (!node.present) return collect(node, segment, world);
  if (segment.state !== 'releasing') return { segment };
  const report = reportOf(node, segment);
  if (report?.drained) {
    return {
      segment: cooled(segment, node, world),
      reason: `${formatPrefix(segment.cidr)} is drained and cools down`,
    };
  }
  if (report !== undefined && report.used > 0) {
    return resume(segment, `${report.used} of its addresses came into use meanwhile`);
  }
  return { segment };
}

/**
 * `until` may be an hour off, by a clock that was set since; then it counts since when this operator has seen the segment
 * cool. Of a node that is gone only that counts: the write that began it may have been long on its way.
 */
function rested(segment: Segment, node: NodeView, world: World, seen: Seen): boolean {
  const first = since(keyOf(node.name, segment), world.now, seen);
  if (world.now - first >= restMs(segment, node, world)) return true;
  return node.present && (segment.until ?? 0) <= world.now;
}

function resume({ until: _, ...segment }: Segment, why: string): Step {
  return {
    segment: { ...segment, state: 'active', generation: segment.generation + 1 },
    reason: `${formatPrefix(segment.cidr)} stays: ${why}`,
  };
}

/** The node is gone for good, and with it its pods: nobody is left to drain the segment, so it only cools down. */
function collect(node: NodeView, segment: Segment, world: World): Step {
  return {
    segment: cooled(segment, node, world),
    reason: `${formatPrefix(segment.cidr)} cools down: node ${node.name} is gone`,
  };
}

/**
 * Time alone frees the segments of a node that is gone; those of one that is there need its agent's answer as well, for its
 * object may have been deleted and made anew while its pods ran on. An agent that still has pods where no node is left is
 * asked anew each time: the dead do not answer a new generation.
 */
function rest(segment: Segment, node: NodeView, world: World, seen: Seen): Step {
  const report = reportOf(node, segment);
  const inUse = `${report?.used} of its addresses are in use, and node ${node.name} was not gone for good`;
  if (node.present && report === undefined) return { segment };
  if (node.present && report && report.used > 0) return resume(segment, inUse);
  if (!rested(segment, node, world, seen)) return { segment };
  const range = formatPrefix(segment.cidr);
  if (!report || report.used === 0) return { reason: `${range} is free again` };
  return { segment: cooled(segment, node, world), reason: `${range} cools down once more: ${inUse}` };
}

/** Given back, at rest for as long as its pool says, and for the agent of a node that is gone to object. */
export function cooled(segment: Segment, node: NodeView, world: World): Segment {
  return {
    ...segment,
    state: 'cooling',
    generation: segment.generation + 1,
    until: world.now + restMs(segment, node, world),
  };
}

function restMs({ pool }: Segment, { present }: NodeView, { pools }: World): number {
  const seconds = pools.find(({ name }) => name === pool)?.cooldownSeconds ?? DEFAULT_COOLDOWN_SECONDS;
  return 1000 * (present ? seconds : Math.max(seconds, OBJECTION_SECONDS));
}
