import type { Kind, ObjectOf } from '../store/kinds/registry.ts';
import { Inventory } from './inventory.ts';
import { PeerNodes, peersWithNodes } from './peerNodes.ts';
import type { StoreState } from './storeState.ts';

/** Everything in the store that routes and sessions depend on. */
export interface BgpObjects {
  readonly nodes: Pick<PeerNodes, 'listed' | 'get' | 'all'>;
  readonly configurations: Inventory<ObjectOf<'BGPConfiguration'>>;
  readonly peers: Inventory<ObjectOf<'BGPPeer'>>;
  readonly filters: Inventory<ObjectOf<'BGPFilter'>>;
  readonly pools: Inventory<ObjectOf<'IPPool'>>;
  readonly networks: Inventory<ObjectOf<'NodeNetwork'>>;
}

/** Follows them all, and calls `changed` for each that changes in what routes and sessions depend on. */
export function followBgpObjects(store: StoreState, self: string, changed: () => void): BgpObjects {
  const inventory = <K extends Kind>(kind: K, matter: (object: ObjectOf<K>) => unknown, tell = changed) => {
    const objects = new Inventory<ObjectOf<K>>(matter);
    store.follow(kind, (change) => {
      if (objects.take(change)) tell();
    });
    return objects;
  };
  const nodes = new PeerNodes(store, self, changed);
  const peeringChanged = () => {
    if (configurations.listed && peers.listed) {
      nodes.want(peersWithNodes(self, configurations.all(), peers.all()));
    }
    changed();
  };
  const configurations = inventory('BGPConfiguration', ({ spec }) => spec, peeringChanged);
  const peers = inventory('BGPPeer', ({ spec }) => spec, peeringChanged);
  return {
    nodes,
    configurations,
    peers,
    filters: inventory('BGPFilter', ({ spec }) => spec),
    pools: inventory('IPPool', ({ spec }) => spec),
    networks: inventory('NodeNetwork', ({ spec, status }) =>
      [...(spec.segments ?? []), ...(status?.segments ?? [])].map(({ cidr }) => cidr),
    ),
  };
}

/** Half of a configuration would end sessions that the other half wants, and a restart must not lose a route. */
export function isComplete(objects: BgpObjects): boolean {
  return Object.values(objects).every(({ listed }) => listed);
}
