import { isDeepStrictEqual } from 'node:util';
import { formatIP, type IP } from '../address/ip.ts';
import { contains, formatPrefix, type Prefix } from '../address/prefix.ts';
import type { Routing } from '../datapath/tunnelPlan.ts';
import type { SegmentUsage } from '../ipam/ipam.ts';
import type { Log } from '../log.ts';
import { ifThere } from '../store/ifThere.ts';
import { internalIPs } from '../store/kinds/node.ts';
import { type NodeNetwork, nodeNetwork } from '../store/kinds/nodeNetwork.ts';
import type { ObjectOf } from '../store/kinds/registry.ts';
import { isStoreError, type Store } from '../store/store.ts';
import type { NodeFacts } from './detect.ts';
import type { SegmentRequest } from './shortage.ts';

const ATTEMPTS = 5;

/**
 * Makes the node known where nobody else does: in a directory there is no kubelet to write the `Node`. One that
 * exists is left alone, but for addresses that it lacks, or that were the node's until now.
 *
 * @param former The node's addresses before they changed.
 */
export async function registerNode(
  store: Store,
  { name, ips }: Pick<NodeFacts, 'name' | 'ips'>,
  log: Log,
  former: readonly IP[] = [],
): Promise<void> {
  if (!store.location.startsWith('directory:')) return;
  const addresses = [
    ...ips.map((ip) => ({ type: 'InternalIP', address: formatIP(ip) })),
    { type: 'Hostname', address: name },
  ];
  await persevering(async () => {
    const node = await ifThere(store.get('Node', { name }));
    if (!node) {
      const fresh: ObjectOf<'Node'> = {
        apiVersion: 'v1',
        kind: 'Node',
        metadata: { name },
        status: { addresses },
      };
      await store.create(fresh);
      log.info('node registered', { name, addresses: ips.map(formatIP) });
    } else if (isOurs(internalIPs(node), former) && ips.length > 0) {
      await store.updateStatus({ ...node, status: { ...node.status, addresses } });
    } else if (ips[0] !== undefined && !internalIPs(node).includes(formatIP(ips[0]))) {
      const said = internalIPs(node);
      log.warning('the node object names other addresses', { name, said, ours: formatIP(ips[0]) });
    }
  });
}

/** Whether this is what the agent has said itself, or nobody has said anything. */
function isOurs(said: readonly string[], former: readonly IP[]): boolean {
  return said.length === 0 || (former.length > 0 && isDeepStrictEqual(said, former.map(formatIP)));
}

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

/** Reads and writes again when somebody else has written in between. */
async function persevering(attempt: () => Promise<void>): Promise<void> {
  for (let left = ATTEMPTS; ; left--) {
    try {
      await attempt();
      return;
    } catch (error) {
      if (left === 0 || !isStoreError(error, 'Conflict', 'AlreadyExists', 'NotFound')) throw error;
    }
  }
}
