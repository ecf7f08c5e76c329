import type { Prefix } from '../address/prefix.ts';
import type { BGPConfiguration } from '../store/kinds/bgpConfiguration.ts';
import type { IPPool } from '../store/kinds/ipPool.ts';
import type { NodeNetwork } from '../store/kinds/nodeNetwork.ts';
import { AnnouncedClusterIPs } from './announcedClusterIPs.ts';
import { serviceRangesOn } from './bgpServices.ts';
import { HandedOverServices } from './handedOverServices.ts';
import { Inventory } from './inventory.ts';
import type { StoreState } from './storeState.ts';

/** What of the store the ways to other nodes follow from. */
export interface OverlayInputs {
  readonly networks: Pick<Inventory<NodeNetwork>, 'listed' | 'all'>;
  readonly pools: Pick<Inventory<IPPool>, 'all'>;
  /** Ranges of addresses of services that this node announces. */
  serviceRanges(): readonly Prefix[];
  /** Whether there are services whose packets nodes hand over to each other. */
  handsOver(): boolean;
  /** Whether everything has been seen once: until then the ways of an earlier run serve on. */
  isComplete(): boolean;
}

/** Follows all of it, and calls `changed` when something has changed that matters. */
export function followOverlayInputs(store: StoreState, node: string, changed: () => void): OverlayInputs {
  const networks = new Inventory<NodeNetwork>(waysTo);
  const pools = new Inventory<IPPool>(({ spec }) => spec);
  const configurations = new Inventory<BGPConfiguration>();
  const announced = new AnnouncedClusterIPs();
  const services = new HandedOverServices(announced);
  store.follow('NodeNetwork', (change) => {
    if (networks.take(change)) changed();
  });
  store.follow('IPPool', (change) => {
    if (pools.take(change)) changed();
  });
  store.follow('BGPConfiguration', (change) => {
    announced.take(change);
    if (configurations.take(change)) changed();
  });
  store.follow('Service', (change) => {
    if (services.take(change)) changed();
  });
  return {
    networks,
    pools,
    serviceRanges() {
      const { clusterIPs, externalIPs, loadBalancerIPs } = serviceRangesOn(node, configurations.all());
      return [...clusterIPs, ...externalIPs, ...loadBalancerIPs];
    },
    handsOver: () => services.any,
    isComplete: () => [networks, pools, configurations, services].every(({ listed }) => listed),
  };
}

/** Of all that nodes say of themselves, what decides on the ways to them: not how many addresses are in use. */
function waysTo({ spec, status }: NodeNetwork): unknown {
  const reported = status?.segments?.map(({ cidr, gateway }) => [cidr, gateway]);
  return [spec.segments, status?.nodeIPs, status?.routing, status?.borrowed, reported];
}
