import { parseIP } from '../../address/ip.ts';
import { nobodysIn } from '../../address/nobodys.ts';
import { contains, formatPrefix, overlaps, type Prefix, parsePrefix } from '../../address/prefix.ts';
import {
  boolean,
  integer,
  listOf,
  type Of,
  object,
  oneOf,
  openObject,
  type Problem,
  text,
} from '../schema.ts';
import {
  conditions,
  defineKind,
  ip,
  prefix,
  type StoredObject,
  TOMBOLO_V1ALPHA1,
  timestamp,
} from './kind.ts';

const segment = object(
  { cidr: prefix },
  {
    pool: text(),
    /** The router on an L2 segment; routed segments have none. */
    gateway: ip,
    /** `active` where absent, as in what people write; addresses are given out in no other state. */
    state: oneOf('claimed', 'active', 'releasing', 'cooling'),
    /** Raised with every change of state: a late answer about an earlier one is recognised. */
    generation: integer(1, Number.MAX_SAFE_INTEGER),
    /** When a cooling segment is free again, RFC 3339. */
    until: timestamp,
    /** Parts of it that the pool reserves. */
    reserved: listOf(prefix),
  },
);

const segmentReport = openObject(
  { cidr: prefix, generation: integer(1, Number.MAX_SAFE_INTEGER) },
  {
    /** No address is in use or resting, and the segment is no longer announced. */
    drained: boolean(),
    /** Addresses that are in use or resting. */
    used: integer(0, Number.MAX_SAFE_INTEGER),
    /** The node's own address lies in it: it is never asked back. */
    pinned: boolean(),
    /** Addresses that nobody is given. */
    reserved: integer(0, Number.MAX_SAFE_INTEGER),
    /** The router on an L2 segment. */
    gateway: ip,
  },
);

/** Addresses that could not be given out: from this pool, or from any open one of the family. */
const request = openObject({ family: oneOf(4, 6), addresses: integer(0, 65536) }, { pool: text() });

const body = object(
  { spec: object({}, { segments: listOf(segment) }) },
  {
    status: openObject(
      {},
      {
        nodeIPs: listOf(ip),
        /** Whether the network carries packets of its pods as they are; it does where absent. */
        routing: oneOf('underlay', 'overlay'),
        /** Addresses of its pods that lie in other nodes' segments. */
        borrowed: listOf(ip),
        segments: listOf(segmentReport),
        requests: listOf(request),
        /** What the operator cannot give it, and why: of this pool, or of any open one. */
        shortages: listOf(openObject({ reason: text() }, { pool: text() })),
        conditions,
        ready: boolean(),
      },
    ),
  },
);

/** One per node, named like it: `spec` is what the operator assigns, `status` what the agent has made of it. */
export const nodeNetwork = defineKind({
  kind: 'NodeNetwork',
  apiVersion: TOMBOLO_V1ALPHA1,
  description:
    'What a node has of the network: the segments that the operator assigns to it, and what its agent made of them.',
  plural: 'nodenetworks',
  shortNames: ['nodenet'],
  namespaced: false,
  body,
  rules: ({ spec }) => segmentProblems(spec.segments ?? []),
  columns: [
    ['SEGMENTS', ({ spec }) => (spec.segments ?? []).map(({ cidr }) => cidr).join(',')],
    ['ADDRESSES', ({ status }) => status?.nodeIPs?.join(','), '.status.nodeIPs'],
    ['ROUTING', ({ status }) => status?.routing ?? 'underlay', '.status.routing'],
    ['USED', ({ status }) => status?.segments?.reduce((sum, { used = 0 }) => sum + used, 0)],
    [
      'SHORT',
      ({ status }) => status?.conditions?.find(({ type }) => type === SHORTAGE)?.status,
      '.status.conditions[?(@.type=="SegmentShortage")].status',
    ],
  ],
});

/** The condition by which the operator says that a node needs a segment and cannot have one, and why. */
export const SHORTAGE = 'SegmentShortage';

/** While a node has segments, the object that says so is not deleted: with it they would be anybody's. */
export const SEGMENT_PROTECTION = 'network.tombolo.dev/segment-protection';

export type NodeNetwork = StoredObject & Of<typeof body>;
export type NodeSegment = Of<typeof segment>;

function segmentProblems(segments: readonly NodeSegment[]): Problem[] {
  const problems: Problem[] = [];
  const before: Prefix[] = [];
  for (const [index, { cidr, gateway }] of segments.entries()) {
    const range = parsePrefix(cidr);
    const clash = before.find((other) => overlaps(other, range));
    if (clash) {
      problems.push({
        path: `spec.segments[${index}].cidr`,
        reason: `overlaps ${formatPrefix(clash)}`,
        value: cidr,
      });
    }
    before.push(range);
    const nobodys = nobodysIn(range);
    if (nobodys) {
      const reason = `overlaps ${formatPrefix(nobodys)}, which no pod can have`;
      problems.push({ path: `spec.segments[${index}].cidr`, reason, value: cidr });
    }
    if (gateway !== undefined && !contains(range, parseIP(gateway))) {
      problems.push({
        path: `spec.segments[${index}].gateway`,
        reason: `lies outside ${cidr}`,
        value: gateway,
      });
    }
  }
  return problems;
}
