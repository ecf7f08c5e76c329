import { parseIP } from '../../address/ip.ts';
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
import { conditions, defineKind, ip, prefix, type StoredObject, TOMBOLO_V1ALPHA1 } from './kind.ts';

const segment = object(
  { cidr: prefix },
  {
    pool: text(),
    /** The router on an L2 segment; routed segments have none. */
    gateway: ip,
    /** `active` where absent; from `releasing` on no address is given out. */
    state: oneOf('active', 'releasing'),
    /** Raised each time the segment is assigned anew: a late answer about an earlier time is recognised. */
    generation: integer(1, Number.MAX_SAFE_INTEGER),
  },
);

const body = object(
  { spec: object({}, { segments: listOf(segment) }) },
  {
    status: openObject(
      {},
      {
        nodeIPs: listOf(ip),
        segments: listOf(
          openObject(
            { cidr: prefix, state: oneOf('inUse', 'active', 'drained') },
            { generation: integer(1, Number.MAX_SAFE_INTEGER), used: integer(0, Number.MAX_SAFE_INTEGER) },
          ),
        ),
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
  plural: 'nodenetworks',
  namespaced: false,
  body,
  rules: ({ spec }) => segmentProblems(spec.segments ?? []),
  columns: [
    ['SEGMENTS', ({ spec }) => (spec.segments ?? []).map(({ cidr }) => cidr).join(',')],
    ['USED', ({ status }) => status?.segments?.reduce((sum, { used = 0 }) => sum + used, 0)],
  ],
});

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
