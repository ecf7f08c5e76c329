import { formatIP, parseIP } from '../address/ip.ts';
import { formatPrefix, parsePrefix } from '../address/prefix.ts';
import type { Allocation, Allocator, Entry, Owner, PodReference } from './allocator.ts';
import { type Segment, SegmentState } from './segment.ts';

/** Entries and state as the journal keeps them: addresses as text, for `jq` and for people. */
export type EntryRecord =
  | { op: 'segments'; segments: SegmentRecord[] }
  | ({ op: 'allocate' } & AllocationRecord)
  | { op: 'release'; owner: Owner; at: number };

export interface SegmentRecord {
  cidr: string;
  gateway?: string;
  state: Segment['state'];
  generation: number;
  pool?: string;
}

export interface AllocationRecord {
  owner: Owner;
  pod?: PodReference;
  addresses: string[];
  at: number;
  boot: string;
}

export interface StateRecord {
  segments: (SegmentRecord & { released: [string, number][] })[];
  allocations: AllocationRecord[];
}

export function entryToRecord(entry: Entry): EntryRecord {
  if (entry.op === 'segments') return { op: 'segments', segments: entry.segments.map(segmentToRecord) };
  return entry.op === 'allocate' ? { op: 'allocate', ...allocationToRecord(entry.allocation) } : entry;
}

export function entryFromRecord(record: EntryRecord): Entry {
  if (record.op === 'segments') return { op: 'segments', segments: record.segments.map(segmentFromRecord) };
  return record.op === 'allocate' ? { op: 'allocate', allocation: allocationFromRecord(record) } : record;
}

export function stateToRecord(allocator: Allocator): StateRecord {
  return {
    segments: allocator.segments.map(({ segment, released }) => ({
      ...segmentToRecord(segment),
      released: [...released].map(([address, at]) => [formatIP(address), at]),
    })),
    allocations: [...allocator.allocations()].map(allocationToRecord),
  };
}

export function restoreState(allocator: Allocator, { segments, allocations }: StateRecord): void {
  for (const { released, ...segment } of segments) {
    const rested = released.map(([address, at]) => [parseIP(address), at] as const);
    allocator.restore(new SegmentState(segmentFromRecord(segment), rested));
  }
  for (const allocation of allocations) {
    allocator.apply({ op: 'allocate', allocation: allocationFromRecord(allocation) });
  }
}

export function segmentToRecord({ prefix, gateway, state, generation, pool }: Segment): SegmentRecord {
  return {
    cidr: formatPrefix(prefix),
    ...(gateway !== undefined && { gateway: formatIP(gateway) }),
    state,
    generation,
    ...(pool !== undefined && { pool }),
  };
}

export function segmentFromRecord({ cidr, gateway, ...rest }: SegmentRecord): Segment {
  return {
    prefix: parsePrefix(cidr),
    ...(gateway !== undefined && { gateway: parseIP(gateway) }),
    ...rest,
  };
}

export function allocationToRecord({ owner, pod, addresses, at, boot }: Allocation): AllocationRecord {
  return { owner, ...(pod && { pod }), addresses: addresses.map(formatIP), at, boot };
}

function allocationFromRecord({ owner, pod, addresses, at, boot }: AllocationRecord): Allocation {
  return { owner, ...(pod && { pod }), addresses: addresses.map(parseIP), at, boot };
}
