import { formatIP, type IP } from '../address/ip.ts';
import {
  contains,
  covers,
  formatPrefix,
  overlaps,
  type Prefix,
  prefixSize,
  samePrefix,
} from '../address/prefix.ts';
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
  readonly node: string;
  readonly claims: readonly ClaimBook[];
  /** Addresses set aside for claims, as the journal has it. */
  readonly kept: ReadonlyMap<IP, string>;
  /** Whether the main routing table drops what is sent to a block and nobody has. */
  readonly blackholes: readonly Prefix[];
  /** Addresses of this node's segments that its black holes let through to other nodes. */
  readonly passages: readonly IP[];
  /** Networks on the node's own links, of others' making: `docker0` and its like. */
  readonly links: readonly { readonly name: string; readonly network: Prefix }[];
  /** Wall time in ms. */
  readonly now: number;
}

export interface Attachment {
  readonly containerID: string;
  readonly ifName: string;
  readonly addresses: readonly IP[];
}

/** What a claim says of itself. */
export interface ClaimBook {
  readonly key: string;
  readonly addresses: readonly IP[];
  readonly holder: { readonly node: string; readonly container: string } | undefined;
  /** Whether the node of its block has said that packets get through to this holder. */
  readonly passed: boolean;
}

/** Something that two books say differently. */
export interface Finding {
  readonly kind:
    | 'claim held by no container'
    | 'claimed address not kept'
    | 'address kept for no claim'
    | 'address of a claim held without it'
    | 'borrowed address without a way'
    | 'segment without black hole'
    | 'black hole without segment'
    | 'pool on a link'
    | 'allocation without attachment'
    | 'attachment without allocation'
    | 'address outside segments'
    | 'reserved address in use'
    | 'segment held twice'
    | 'segment without pool'
    | 'segment outside pool';
  /** The address or the segment. */
  readonly object: string;
  readonly message: string;
  /** The attachment it is about, where it is about one. */
  readonly containerID?: string;
  readonly ifName?: string;
}

/** An ADD writes its allocation first and its attachment last; what is younger may be on its way, in ms. */
const UNDER_WAY_MS = 60_000;

/** Compares the books; nothing found is what a sound node says. */
export function check(books: Books): Finding[] {
  return [
    ...books.allocations.flatMap((allocation) => checkAllocation(allocation, books)),
    ...books.attachments.flatMap((attachment) => checkAttachment(attachment, books)),
    ...books.segments.flatMap((segment) => checkSegment(segment, books)),
    ...checkClaims(books),
    ...checkBlackholes(books),
    ...checkPassages(books),
    ...checkLinks(books),
  ];
}

function checkClaims({ claims, kept, node, allocations, segments }: Books): Finding[] {
  const own = (address: IP) => segments.some(({ prefix }) => contains(prefix, address));
  const holds = (container: string) => allocations.some(({ owner }) => owner.containerID === container);
  const unheld = claims.flatMap(({ key, holder }): Finding[] =>
    holder?.node === node && !holds(holder.container)
      ? [
          {
            kind: 'claim held by no container',
            object: key,
            message: `it says that container ${holder.container.slice(0, 12)} of this node holds it, and the journal does not`,
          },
        ]
      : [],
  );
  const unkept = claims.flatMap(({ key, addresses }) =>
    addresses
      .filter((address) => own(address) && kept.get(address) !== key)
      .map(
        (address): Finding => ({
          kind: 'claimed address not kept',
          object: formatIP(address),
          message: `claim ${key} has it, and this node has not set it aside`,
        }),
      ),
  );
  const unclaimed = [...kept].flatMap(([address, key]): Finding[] => {
    const claim = claims.find((one) => one.key === key);
    if (claim?.addresses.includes(address)) return [];
    return [
      {
        kind: 'address kept for no claim',
        object: formatIP(address),
        message: `it is set aside for claim ${key}, which ${claim ? 'has it no more' : 'is gone'}`,
      },
    ];
  });
  const usurped = allocations.flatMap((allocation): Finding[] => {
    const { claim: key, owner, addresses } = allocation;
    const claim = claims.find((one) => one.key === key);
    const mine = claim?.holder?.node === node && claim.holder.container === owner.containerID;
    if (key === undefined || mine) return [];
    const says =
      claim === undefined
        ? 'is gone'
        : `says that ${claim.holder ? `node ${claim.holder.node}` : 'nobody'} holds it`;
    const object = addresses.map(formatIP).join(', ');
    const message = `${describeHolder(allocation)} holds it by claim ${key}, which ${says}`;
    return [{ kind: 'address of a claim held without it', object, message, ...nameOf(owner) }];
  });
  return [...unheld, ...unkept, ...unclaimed, ...usurped];
}

function checkBlackholes({ segments, blackholes }: Books): Finding[] {
  const blocks = segments.filter(({ prefix, gateway }) => gateway === undefined && prefixSize(prefix) > 1n);
  const missing = blocks
    .filter(({ prefix }) => !blackholes.some((one) => samePrefix(one, prefix)))
    .map(
      ({ prefix }): Finding => ({
        kind: 'segment without black hole',
        object: formatPrefix(prefix),
        message: 'packets to addresses that no pod has go back to the leaf, and come again',
      }),
    );
  const dangling = blackholes
    .filter((one) => !segments.some(({ prefix }) => samePrefix(one, prefix)))
    .map(
      (one): Finding => ({
        kind: 'black hole without segment',
        object: formatPrefix(one),
        message: 'this node drops what is sent there, and it is no segment of its own',
      }),
    );
  return [...missing, ...dangling];
}

/** A node that has lent an address drops the packets for it, unless it has a route past its own black hole. */
function checkPassages({ claims, segments, passages, node }: Books): Finding[] {
  const routed = segments.filter(({ gateway }) => gateway === undefined).map(({ prefix }) => prefix);
  return claims.flatMap(({ key, addresses, holder, passed }) =>
    holder === undefined || holder.node === node || !passed
      ? []
      : addresses
          .filter((address) => routed.some((prefix) => contains(prefix, address)))
          .filter((address) => !passages.includes(address))
          .map(
            (address): Finding => ({
              kind: 'borrowed address without a way',
              object: formatIP(address),
              message: `node ${holder.node} holds it by claim ${key}, and this node drops what is sent there`,
            }),
          ),
  );
}

function checkLinks({ pools, links }: Books): Finding[] {
  return pools.flatMap(({ name, cidr }) =>
    links
      .filter(({ network }) => overlaps(network, cidr))
      .map(
        (link): Finding => ({
          kind: 'pool on a link',
          object: formatPrefix(cidr),
          message: `pool ${name} overlaps ${formatPrefix(link.network)} on ${link.name}`,
        }),
      ),
  );
}

function nameOf({ containerID, ifName }: { containerID: string; ifName: string }) {
  return { containerID, ifName };
}

function checkAllocation(allocation: Allocation, { attachments, segments, now }: Books): Finding[] {
  const holder = describeHolder(allocation);
  // What a claim has brought here is another node's by right.
  const strays = allocation.claim === undefined ? allocation.addresses : [];
  const outside = strays
    .filter((address) => !segments.some(({ prefix }) => contains(prefix, address)))
    .map((address) => ({
      kind: 'address outside segments' as const,
      object: formatIP(address),
      message: `${holder} holds it, and no segment of this node has it`,
    }));
  const reserved = allocation.addresses
    .filter((address) => segments.some((segment) => reserves(segment, address)))
    .map((address) => ({
      kind: 'reserved address in use' as const,
      object: formatIP(address),
      message: `${holder} has held it since before its pool reserved it`,
    }));
  const misplaced = [...outside, ...reserved];
  const key = ownerKey(allocation.owner);
  const attached = attachments.some((one) => ownerKey(one) === key);
  if (attached || now - allocation.at < UNDER_WAY_MS) return misplaced;
  const object = allocation.addresses.map(formatIP).join(', ');
  const message = `${holder} holds it, and has no interface here; the runtime's GC gives it back`;
  return [
    ...misplaced,
    { kind: 'allocation without attachment', object, message, ...nameOf(allocation.owner) },
  ];
}

function reserves({ reserved = [] }: Segment, address: IP): boolean {
  return reserved.some((range) => contains(range, address));
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
        ...nameOf(attachment),
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
