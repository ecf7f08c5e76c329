import { formatIP, parseIP } from '../address/ip.ts';
import { formatPrefix, parsePrefix } from '../address/prefix.ts';
import type { Allocation, Allocator, Entry, Owner, PodReference } from './allocator.ts';
import { type Segment, SegmentState } from './segment.ts';

/** Entries and state as the journal keeps them: addresses as text, for `jq` and for people. */
export type EntryRecord =
  | { op: 'segments'; segments: SegmentRecord[] }
  | ({ op: 'allocate' } & AllocationRecord)
  | { op: 'release'; owner: Owner; at: number }
  | { op: 'keep'; claim: string; addresses: string[] }
  | { op: 'forget'; claim: string; addresses: string[]; at: number };

export interface SegmentRecord {
  cidr: string;
  gateway?: string;
  state: Segment['state'];
  generation: number;
  pool?: string;
  reserved?: string[];
}

export interface AllocationRecord {
  owner: Owner;
  pod?: PodReference;
  addresses: string[];
  claim?: string;
  at: number;
  boot: string;
}

export interface StateRecord {
  segments: (SegmentRecord & { released: [string, number][] })[];
  allocations: AllocationRecord[];
  /** Addresses and the claims they are kept for; absent in what was written before there were any. */
  kept?: [string, string][];
}

export function entryToRecord(entry: Entry): EntryRecord {
  switch (entry.op) {
    case 'segments':
      return { op: 'segments', segments: entry.segments.map(segmentToRecord) };
    case 'allocate':
      return { op: 'allocate', ...allocationToRecord(entry.allocation) };
    case 'release':
      return entry;
    default:
      return { ...entry, addresses: entry.addresses.map(formatIP) };
  }
}

export function entryFromRecord(record: EntryRecord): Entry {
  switch (record.op) {
    case 'segments':
      return { op: 'segments', segments: record.segments.map(segmentFromRecord) };
    case 'allocate':
      return { op: 'allocate', allocation: allocationFromRecord(record) };
    case 'release':
      return record;
    default:
      return { ...record, addresses: record.addresses.map(parseIP) };
  }
}

export function stateToRecord(allocator: Allocator): StateRecord {
  return {
    segments: allocator.segments.map(({ segment, released }) => ({
      ...segmentToRecord(segment),
      released: [...released].map(([address, at]) => [formatIP(address), at]),
    })),
    allocations: [...allocator.allocations()].map(allocationToRecord),
    kept: [...allocator.kept].map(([address, claim]) => [formatIP(address), claim]),
  };
}

export function restoreState(allocator: Allocator, { segments, allocations, kept = [] }: StateRecord): void {
  for (const { released, ...segment } of segments) {
    const rested = released.map(([address, at]) => [parseIP(address), at] as const);
    allocator.restore(new SegmentState(segmentFromRecord(segment), rested));
  }
  for (const allocation of allocations) {
    allocator.apply({ op: 'allocate', allocation: allocationFromRecord(allocation) });
  }
  for (const [address, claim] of kept) {
    allocator.apply({ op: 'keep', claim, addresses: [parseIP(address)] });
  }
}

function segmentToRecord(segment: Segment): SegmentRecord {
  const { prefix, gateway, state, generation, pool, reserved } = segment;
  return {
    cidr: formatPrefix(prefix),
    ...(gateway !== undefined && { gateway: formatIP(gateway) }),
    state,
    generation,
    ...(pool !== undefined && { pool }),
    ...(reserved !== undefined && { reserved: reserved.map(formatPrefix) }),
  };
}

function segmentFromRecord({ cidr, gateway, reserved, ...rest }: SegmentRecord): Segment {
  return {
    prefix: parsePrefix(cidr),
    ...(gateway !== undefined && { gateway: parseIP(gateway) }),
    ...(reserved !== undefined && { reserved: reserved.map(parsePrefix) }),
    ...rest,
  };
}

function allocationToRecord(allocation: Allocation): AllocationRecord {
  const { owner, pod, addresses, claim, at, boot } = allocation;
  return {
    owner,
    ...(pod && { pod }),
    addresses: addresses.map(formatIP),
    ...(claim !== undefined && { claim }),
    at,
    boot,
  };
}

function allocationFromRecord({ addresses, ...rest }: AllocationRecord): Allocation {
  return { ...rest, addresses: addresses.map(parseIP) };
}
