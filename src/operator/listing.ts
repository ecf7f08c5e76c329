import type { Store } from '../store/store.ts';
import type { Listed } from './reading.ts';

/** Everything that the operator's decisions rest on, listed now. */
export async function listAll(store: Store): Promise<Listed> {
  const [claims, bgpConfigurations, pools, configurations, nodes, networks] = await Promise.all([
    store.list('IPClaim'),
    store.list('BGPConfiguration'),
    store.list('IPPool'),
    store.list('IPAMConfiguration'),
    store.list('Node'),
    store.list('NodeNetwork'),
  ]);
  return {
    claims: claims.items,
    bgpConfigurations: bgpConfigurations.items,
    pools: pools.items,
    configurations: configurations.items,
    nodes: nodes.items,
    networks: networks.items,
    unreadable: {
      nodes: store.problems('Node'),
      networks: store.problems('NodeNetwork'),
      pools: store.problems('IPPool'),
    },
  };
}
