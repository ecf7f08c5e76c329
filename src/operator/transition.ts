import { formatPrefix, samePrefix } from '../address/prefix.ts';
import type { NodeView, Segment, SegmentReport, World } from './world.ts';

/** How long a freed segment rests where its pool says nothing, or is gone. */
const DEFAULT_COOLDOWN_SECONDS = 60;

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
 */
export function advance(
  node: NodeView,
  world: World,
  clashing: ReadonlySet<Segment>,
): { segments: Segment[]; reasons: string[] } {
  const reasons: string[] = [];
  const segments = node.segments.flatMap((segment): Segment[] => {
    const step = segment.state === 'claimed' ? settle(segment, node, clashing) : stepOf(node, segment, world);
    if (step.reason !== undefined) reasons.push(step.reason);
    return step.segment ? [step.segment] : [];
  });
  return { segments, reasons };
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

function stepOf(node: NodeView, segment: Segment, world: World): Step {
  if (segment.state === 'cooling') return rest(segment, world);
  if (!node.present) return collect(node, segment, world);
  if (segment.state !== 'releasing') return { segment };
  const report = reportOf(node, segment);
  if (report?.drained) {
    return {
      segment: cooled(segment, world),
      reason: `${formatPrefix(segment.cidr)} is drained and cools down`,
    };
  }
  if (report !== undefined && report.used > 0) {
    const { until: _, ...kept } = segment;
    return {
      segment: { ...kept, state: 'active', generation: segment.generation + 1 },
      reason: `${formatPrefix(segment.cidr)} stays: ${report.used} of its addresses came into use meanwhile`,
    };
  }
  return { segment };
}

/** The node is gone for good, and with it its pods: nobody is left to drain the segment, so it only cools down. */
function collect(node: NodeView, segment: Segment, world: World): Step {
  return {
    segment: cooled(segment, world),
    reason: `${formatPrefix(segment.cidr)} cools down: node ${node.name} is gone`,
  };
}

function rest(segment: Segment, world: World): Step {
  // A wall clock that jumped back must not keep a segment for ever: nobody waits longer than the cool-down.
  const latest = world.now + cooldownMs(segment, world);
  const until = Math.min(segment.until ?? 0, latest);
  return until <= world.now ? { reason: `${formatPrefix(segment.cidr)} is free again` } : { segment };
}

function cooled(segment: Segment, world: World): Segment {
  return {
    ...segment,
    state: 'cooling',
    generation: segment.generation + 1,
    until: world.now + cooldownMs(segment, world),
  };
}

function cooldownMs(segment: Segment, world: World): number {
  const pool = world.pools.find(({ name }) => name === segment.pool);
  return (pool?.cooldownSeconds ?? DEFAULT_COOLDOWN_SECONDS) * 1000;
}
