import { formatIP, type IP } from '../address/ip.ts';
import { contains, covers, formatPrefix, overlaps, type Prefix } from '../address/prefix.ts';
import { type Allocation, describeHolder, ownerKey } from './allocator.ts';
import type { Segment } from './segment.ts';

/** Everything that says who has which address, as read at one time. */
export interface Books {
  readonly segments: readonly Segment[];
  readonly allocations: readonly Allocation[];
  /** The interfaces whose addresses are the agent's to give. */
  readonly attachments: readonly Attachment[];
  readonly pools: readonly { readonly name: string; readonly cidr: Prefix }[];
  /** The segments of the other nodes. */
  readonly others: readonly { readonly node: string; readonly cidr: Prefix }[];
  /** Wall time in ms. */
  readonly now: number;
}

export interface Attachment {
  readonly containerID: string;
  readonly ifName: string;
  readonly addresses: readonly IP[];
}

/** Something that two books say differently. */
export interface Finding {
  readonly kind:
    | 'allocation without attachment'
    | 'attachment without allocation'
    | 'address outside segments'
    | 'segment held twice'
    | 'segment without pool'
    | 'segment outside pool';
  /** The address or the segment. */
  readonly object: string;
  readonly message: string;
}

/** An ADD writes its allocation first and its attachment last; what is younger may be on its way, in ms. */
const UNDER_WAY_MS = 60_000;

/** Compares the books; nothing found is what a sound node says. */
export function check(books: Books): Finding[] {
  return [
    ...books.allocations.flatMap((allocation) => checkAllocation(allocation, books)),
    ...books.attachments.flatMap((attachment) => checkAttachment(attachment, books)),
    ...books.segments.flatMap((segment) => checkSegment(segment, books)),
  ];
}

function checkAllocation(allocation: Allocation, { attachments, segments, now }: Books): Finding[] {
  const holder = describeHolder(allocation);
  const outside = allocation.addresses
    .filter((address) => !segments.some(({ prefix }) => contains(prefix, address)))
    .map((address) => ({
      kind: 'address outside segments' as const,
      object: formatIP(address),
      message: `${holder} holds it, and no segment of this node has it`,
    }));
  const key = ownerKey(allocation.owner);
  const attached = attachments.some((one) => ownerKey(one) === key);
  if (attached || now - allocation.at < UNDER_WAY_MS) return outside;
  const object = allocation.addresses.map(formatIP).join(', ');
  const message = `${holder} holds it, and has no interface here; the runtime's GC gives it back`;
  return [...outside, { kind: 'allocation without attachment', object, message }];
}

function checkAttachment(attachment: Attachment, { allocations }: Books): Finding[] {
  const key = ownerKey(attachment);
  const held = allocations.find(({ owner }) => ownerKey(owner) === key)?.addresses ?? [];
  return attachment.addresses
    .filter((address) => !held.includes(address))
    .map((address) => {
      const other = allocations.find(({ addresses }) => addresses.includes(address));
      const says = other ? `the journal has ${describeHolder(other)} hold it` : 'the journal has it free';
      return {
        kind: 'attachment without allocation',
        object: formatIP(address),
        message: `container ${attachment.containerID.slice(0, 12)} uses it on ${attachment.ifName}, and ${says}`,
      };
    });
}

function checkSegment({ prefix, pool: name }: Segment, { pools, others }: Books): Finding[] {
  const object = formatPrefix(prefix);
  const twice = others
    .filter(({ cidr }) => overlaps(cidr, prefix))
    .map(({ node, cidr }) => ({
      kind: 'segment held twice' as const,
      object,
      message: `node ${node} holds ${formatPrefix(cidr)}`,
    }));
  if (name === undefined) return twice;
  const pool = pools.find((one) => one.name === name);
  if (pool === undefined) {
    return [
      ...twice,
      { kind: 'segment without pool', object, message: `there is no pool ${name} that can be read` },
    ];
  }
  if (covers(pool.cidr, prefix)) return twice;
  const message = `pool ${name} is ${formatPrefix(pool.cidr)}`;
  return [...twice, { kind: 'segment outside pool', object, message }];
}
