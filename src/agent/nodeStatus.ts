import { isDeepStrictEqual } from 'node:util';
import { formatIP, type IP } from '../address/ip.ts';
import { contains, formatPrefix, type Prefix } from '../address/prefix.ts';
import type { Routing } from '../datapath/tunnelPlan.ts';
import type { SegmentUsage } from '../ipam/ipam.ts';
import { ifThere } from '../store/ifThere.ts';
import { type NodeNetwork, nodeNetwork } from '../store/kinds/nodeNetwork.ts';
import type { Store } from '../store/store.ts';
import type { NodeFacts } from './detect.ts';
import { persevering } from './persevering.ts';
import type { SegmentRequest } from './shortage.ts';

/**
 * What the agent says of its segments, and what it asks for. A segment that nobody uses is drained only when no router
 * sends packets for it here any more.
 */
export function networkStatus(
  { ips, routing }: Pick<NodeFacts, 'ips'> & { readonly routing: Routing },
  { usage, borrowed }: { readonly usage: readonly SegmentUsage[]; readonly borrowed: readonly IP[] },
  requests: readonly SegmentRequest[],
  isWithdrawn: (segment: Prefix) => boolean,
): NonNullable<NodeNetwork['status']> {
  return {
    nodeIPs: ips.map(formatIP),
    routing,
    borrowed: borrowed.map(formatIP),
    ready: usage.some(({ segment }) => segment.state === 'active'),
    segments: usage.map(({ segment, used, resting, reserved }) => ({
      cidr: formatPrefix(segment.prefix),
      generation: segment.generation,
      used: used + resting,
      drained: segment.state === 'releasing' && used + resting === 0 && isWithdrawn(segment.prefix),
      pinned: ips.some((ip) => contains(segment.prefix, ip)),
      ...(reserved > 0n && { reserved: Number(reserved) }),
      ...(segment.gateway !== undefined && { gateway: formatIP(segment.gateway) }),
    })),
    requests,
  };
}

/**
 * Writes the status of the node's `NodeNetwork`, which is made if there is none; nothing, if it says so already.
 *
 * @param statusNow Asked again after a conflict: what was true before it may not be any more.
 */
export async function publishStatus(
  store: Store,
  name: string,
  statusNow: () => NonNullable<NodeNetwork['status']>,
): Promise<void> {
  await persevering(async () => {
    const key = { name };
    const { apiVersion } = nodeNetwork;
    const object =
      (await ifThere(store.get('NodeNetwork', key))) ??
      (await store.create<NodeNetwork>({ apiVersion, kind: 'NodeNetwork', metadata: key, spec: {} }));
    // Conditions are others' to write.
    const next = { ...object.status, ...statusNow() };
    if (!isDeepStrictEqual(next, object.status)) await store.updateStatus({ ...object, status: next });
  });
}
