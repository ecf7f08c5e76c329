import type { Kind, ObjectOf } from '../store/kinds/registry.ts';
import { Inventory } from './inventory.ts';
import type { StoreState } from './storeState.ts';

/** Everything in the store that routes and sessions depend on. */
export interface BgpObjects {
  readonly nodes: Inventory<ObjectOf<'Node'>>;
  readonly configurations: Inventory<ObjectOf<'BGPConfiguration'>>;
  readonly peers: Inventory<ObjectOf<'BGPPeer'>>;
  readonly filters: Inventory<ObjectOf<'BGPFilter'>>;
  readonly pools: Inventory<ObjectOf<'IPPool'>>;
  readonly networks: Inventory<ObjectOf<'NodeNetwork'>>;
}

/** Follows them all, and calls `changed` for each that changes. */
export function followBgpObjects(store: StoreState, changed: () => void): BgpObjects {
  const inventory = <K extends Kind>(kind: K) => {
    const objects = new Inventory<ObjectOf<K>>();
    store.follow(kind, (change) => {
      objects.take(change);
      changed();
    });
    return objects;
  };
  return {
    nodes: inventory('Node'),
    configurations: inventory('BGPConfiguration'),
    peers: inventory('BGPPeer'),
    filters: inventory('BGPFilter'),
    pools: inventory('IPPool'),
    networks: inventory('NodeNetwork'),
  };
}

/** Half of a configuration would end sessions that the other half wants, and a restart must not lose a route. */
export function isComplete(objects: BgpObjects): boolean {
  return Object.values(objects).every(({ listed }) => listed);
}
