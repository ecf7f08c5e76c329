import type { Translation } from '../bgp/config/clusterView.ts';
import { routerConfigFrom } from '../bgp/config/kinds.ts';
import type { Ipam } from '../ipam/ipam.ts';
import { inForce } from '../store/kinds/ipPool.ts';
import type { Node } from '../store/kinds/node.ts';
import type { BgpInputs } from './bgpInputs.ts';
import { nodeViewOf, servesOutside } from './bgpNode.ts';
import { serviceRangesOn } from './bgpServices.ts';
import type { AgentConfig } from './config.ts';
import type { NodeFacts } from './detect.ts';

export interface TranslationParts {
  readonly config: AgentConfig;
  readonly node: NodeFacts;
  readonly ipam: Pick<Ipam, 'usage' | 'allocations'>;
}

/** All that the agent knows, as its speaker takes it. */
export function translate(
  { config, node, ipam }: TranslationParts,
  inputs: BgpInputs,
  self: Node,
): Translation {
  const { objects, secrets } = inputs;
  const { view, problems } = nodeViewOf({
    config,
    gateways: inputs.gateways(),
    self,
    addresses: node.ips,
    usage: ipam.usage(),
    held: ipam.allocations().flatMap(({ addresses }) => addresses),
    pools: objects.pools.all().map(inForce),
    networks: objects.networks.all(),
    services: servesOutside(self) ? serviceRoutes(node.name, inputs) : [],
  });
  const cluster = {
    nodeName: node.name,
    nodes: objects.nodes.all(),
    configurations: objects.configurations.all(),
    peers: objects.peers.all(),
    filters: objects.filters.all(),
    secret: (name: string, key: string) => secrets.value(name, key),
  };
  const translation = routerConfigFrom(cluster, view);
  return { ...translation, problems: [...problems, ...translation.problems] };
}

function serviceRoutes(nodeName: string, { objects, announcements }: BgpInputs) {
  const ranges = serviceRangesOn(nodeName, objects.configurations.all());
  return announcements.prefixes(ranges).map((prefix) => ({ prefix }));
}
