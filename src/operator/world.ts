import type { Prefix } from '../address/prefix.ts';
import type { Labels } from '../selector/selector.ts';
import type { Pool } from './pool.ts';

/**
 * A segment's way: `active` → `releasing` (the operator asks for it back) → drained (the agent says it is empty and no
 * longer announced) → `cooling` → gone. Every change of state raises the generation, so an answer about an earlier state
 * is recognised and ignored.
 */
export type SegmentState = 'active' | 'releasing' | 'cooling';

/** What the operator has assigned: `NodeNetwork.spec.segments[]`. */
export interface Segment {
  readonly cidr: Prefix;
  /** Absent where somebody wrote the segment by hand: such a segment is the node's for good. */
  readonly pool?: string;
  readonly state: SegmentState;
  readonly generation: number;
  /** When a cooling segment is free again, in milliseconds of wall time. */
  readonly until?: number;
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

/** Everything the planner looks at, read whole before the first allocation. */
export interface World {
  readonly pools: readonly Pool[];
  readonly nodes: readonly NodeView[];
  /** Ranges that may or may not have been assigned: writes whose answer got lost count as taken until read again. */
  readonly uncertain: readonly Prefix[];
  /** Calico's `maxBlocksPerHost`; 0 means no limit. */
  readonly maxBlocksPerNode: number;
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

/** Since when a segment has been seen to be superfluous, by `node cidr generation`. */
export type Idle = ReadonlyMap<string, number>;
