import { formatPrefix, type Prefix } from '../address/prefix.ts';
import type { Labels } from '../selector/selector.ts';
import type { Pool } from './pool.ts';

/**
 * A segment's way: `claimed` → `active` → `releasing` (the operator asks for it back) → drained (the agent says it is
 * empty and no longer announced) → `cooling` → gone. Every change of state raises the generation, so an answer about an
 * earlier state is recognised and ignored.
 *
 * A claim becomes active once a list that was begun after it had been written shows nobody else on the same range. Of two
 * writers who claim one range, on whatever nodes, the later one lists after both claims: at most one of them can find
 * itself alone. That holds without a leader; electing one only spares the quarrel.
 */
export type SegmentState = 'claimed' | 'active' | 'releasing' | 'cooling';

/** What the operator has assigned: `NodeNetwork.spec.segments[]`. */
export interface Segment {
  readonly cidr: Prefix;
  /** Absent where somebody wrote the segment by hand: such a segment is the node's for good. */
  readonly pool?: string;
  readonly state: SegmentState;
  readonly generation: number;
  /** When a cooling segment is free again, in milliseconds of wall time. */
  readonly until?: number;
  /** Parts of it that its pool reserves. */
  readonly reserved?: readonly Prefix[];
}

/** What the agent says of a segment: `NodeNetwork.status.segments[]`. */
export interface SegmentReport {
  readonly cidr: Prefix;
  readonly generation: number;
  readonly drained: boolean;
  /** Addresses that are in use or resting. */
  readonly used: number;
  /** The node's own address lies in it: it is never asked back. */
  readonly pinned: boolean;
}

/** Addresses an agent could not give out: from this pool, or from any open one of the family. */
export interface Request {
  readonly pool?: string;
  readonly family: 4 | 6;
  readonly addresses: number;
}

export interface NodeView {
  readonly name: string;
  readonly labels: Labels;
  /** Whether the cluster still has the node. Segments of one that is gone are collected. */
  readonly present: boolean;
  readonly segments: readonly Segment[];
  readonly reports: readonly SegmentReport[];
  readonly requests: readonly Request[];
}

/** Everything the planner looks at, from lists begun after the last write was answered; never from a cache. */
export interface World {
  readonly pools: readonly Pool[];
  readonly nodes: readonly NodeView[];
  /** Ranges that may or may not have been assigned: writes whose answer got lost count as taken until read again. */
  readonly uncertain: readonly Prefix[];
  /** Objects of nodes that cannot be read: nobody knows which blocks they hold, so none is given to anybody. */
  readonly unreadable: readonly string[];
  /** Calico's `maxBlocksPerHost`; 0 means no limit. */
  readonly maxBlocksPerNode: number;
  /** A block must be superfluous at two observations this far apart, in milliseconds, before it is asked back. */
  readonly shrinkAfter: number;
  /** Wall time in milliseconds. */
  readonly now: number;
}

/** What a node's segments should be. */
export interface Assignment {
  readonly node: string;
  readonly segments: readonly Segment[];
  /** What changed, a sentence each, for the log and the Event. */
  readonly reasons: readonly string[];
}

export interface Shortage {
  readonly node: string;
  readonly pool: string | undefined;
  readonly reason: string;
}

export interface Plan {
  readonly assignments: readonly Assignment[];
  readonly shortages: readonly Shortage[];
  /** Ranges held twice, found and left alone: only a person can say who is right. */
  readonly conflicts: readonly string[];
  /** Handed in again at the next call. */
  readonly idle: Idle;
}

/** Since when a segment has been seen to be superfluous, or to cool on a node that is gone, by {@link keyOf}. */
export type Idle = ReadonlyMap<string, number>;

export function keyOf(node: string, { cidr, generation }: Pick<Segment, 'cidr' | 'generation'>): string {
  return `${node} ${formatPrefix(cidr)} ${generation}`;
}
