import { parseIP } from '../address/ip.ts';
import { parsePrefix } from '../address/prefix.ts';
import type { Segment } from '../ipam/segment.ts';
import type { Change } from '../store/follow.ts';
import type { NodeNetwork } from '../store/kinds/nodeNetwork.ts';
import type { AgentConfig } from './config.ts';

/** The segments of the node: the operator's where it has assigned any, otherwise those of the configuration. */
export function segmentsOf(
  assigned: Pick<NodeNetwork, 'spec'> | undefined,
  configured: AgentConfig['segments'],
): Segment[] {
  const segments = assigned?.spec.segments ?? [];
  if (segments.length === 0) {
    return configured.map(({ prefix, gateway }) => ({ prefix, gateway, state: 'active', generation: 1 }));
  }
  return segments.map(({ cidr, gateway, state = 'active', generation = 1, pool, reserved }) => ({
    prefix: parsePrefix(cidr),
    gateway: gateway === undefined ? undefined : parseIP(gateway),
    // A claim may still turn out to be somebody else's, and a cooling segment is about to be.
    state: state === 'active' ? 'active' : 'releasing',
    generation,
    pool,
    ...(reserved !== undefined && { reserved: reserved.map(parsePrefix) }),
  }));
}

/** The node's own object after a change, given what it was before. */
export function ownNetwork(
  known: NodeNetwork | undefined,
  change: Exclude<Change<NodeNetwork>, { type: 'interrupted' }>,
  name: string,
): NodeNetwork | undefined {
  if (change.type === 'replaced') return change.objects.find(({ metadata }) => metadata.name === name);
  if (change.object.metadata.name !== name) return known;
  return change.type === 'applied' ? change.object : undefined;
}
