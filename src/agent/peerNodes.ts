import type { BGPConfiguration } from '../store/kinds/bgpConfiguration.ts';
import type { BGPPeer } from '../store/kinds/bgpPeer.ts';
import type { Node } from '../store/kinds/node.ts';
import { Inventory } from './inventory.ts';
import type { StoreState } from './storeState.ts';

/**
 * The nodes that sessions depend on: this one alone, or all of them where others may be its peers. Nodes have heartbeats,
 * and those of thousands are a burden for whoever listens and, times as many listeners, for the API server.
 */
export class PeerNodes {
  readonly #store: StoreState;
  readonly #changed: () => void;
  readonly #own = new Inventory<Node>(matterOf);
  readonly #all = new Inventory<Node>(matterOf);
  #wanted: 'unknown' | 'own' | 'all' = 'unknown';

  constructor(store: StoreState, self: string, changed: () => void) {
    this.#store = store;
    this.#changed = changed;
    this.#follow(this.#own, { fields: { 'metadata.name': self } });
  }

  /** Whether everybody who matters has been seen once. */
  get listed(): boolean {
    if (this.#wanted === 'unknown') return false;
    return (this.#wanted === 'all' ? this.#all : this.#own).listed;
  }

  get(name: string): Node | undefined {
    return this.#known.get(name);
  }

  all(): Node[] {
    return this.#known.all();
  }

  /** Who has once followed all goes on: nodes that are peers no longer are let go of by what is known of them. */
  want(others: boolean): void {
    if (others && this.#wanted !== 'all') this.#follow(this.#all);
    if (others || this.#wanted === 'unknown') this.#wanted = others ? 'all' : 'own';
  }

  get #known(): Inventory<Node> {
    return this.#all.listed ? this.#all : this.#own;
  }

  #follow(inventory: Inventory<Node>, selection = {}): void {
    this.#store.follow(
      'Node',
      (change) => {
        if (inventory.take(change)) this.#changed();
      },
      selection,
    );
  }
}

/** Whether other nodes may be this one's peers: in a mesh, by reflectors, or chosen by their labels. */
export function peersWithNodes(
  self: string,
  configurations: readonly BGPConfiguration[],
  peers: readonly BGPPeer[],
): boolean {
  const named = (name: string) => configurations.find(({ metadata }) => metadata.name === name)?.spec;
  const mesh = named(`node.${self}`)?.nodeToNodeMeshEnabled ?? named('default')?.nodeToNodeMeshEnabled;
  return mesh !== false || peers.some(({ spec }) => spec.peerSelector !== undefined);
}

function matterOf({ metadata, spec, status }: Node): unknown {
  return [metadata.labels, metadata.annotations, spec?.taints, status?.addresses];
}
