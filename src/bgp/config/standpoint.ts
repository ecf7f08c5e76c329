import { type IP, isIPv4 } from '../../address/ip.ts';
import type { BGPConfiguration } from '../../store/kinds/bgpConfiguration.ts';
import type { BGPPeer } from '../../store/kinds/bgpPeer.ts';
import type { Node } from '../../store/kinds/node.ts';
import { addressesOf, annotatedAsn } from './clusterNode.ts';
import type { ClusterView, NodeView } from './clusterView.ts';
import { DEFAULTS } from './router.ts';

/** The cluster as one of its nodes sees it: what its settings are, and how it and the others are addressed. */
export class Standpoint {
  readonly cluster: ClusterView;
  readonly here: NodeView;
  /** Undefined where the store does not know this node. */
  readonly self: Node | undefined;
  readonly asn: number;
  /** What could not be done so far. */
  readonly problems: string[] = [];
  /** What counts here: the node's own settings before those of the cluster. */
  readonly configurations: readonly BGPConfiguration[];

  constructor(cluster: ClusterView, here: NodeView) {
    this.cluster = cluster;
    this.here = here;
    this.self = cluster.nodes.find(({ metadata }) => metadata.name === cluster.nodeName);
    this.configurations = [`node.${cluster.nodeName}`, 'default'].flatMap((name) => this.#named(name) ?? []);
    this.asn = this.self ? this.asnOf(this.self) : (this.setting('asNumber') ?? DEFAULTS.asn);
  }

  setting<K extends keyof BGPConfiguration['spec']>(key: K): BGPConfiguration['spec'][K] | undefined {
    return this.configurations.find(({ spec }) => spec[key] !== undefined)?.spec[key];
  }

  asnOf(node: Node): number {
    const own = this.#named(`node.${node.metadata.name}`);
    return annotatedAsn(node) ?? own?.spec.asNumber ?? this.#named('default')?.spec.asNumber ?? DEFAULTS.asn;
  }

  /** Our own address of the same family. */
  addressFor(peer: IP): IP | undefined {
    return this.#addresses().find((one) => isIPv4(one) === isIPv4(peer));
  }

  /** The other node's address: IPv4 if both have it, for one session carries both families. */
  addressOf(node: Node): IP | undefined {
    const families = new Set(this.#addresses().map(isIPv4));
    const common = addressesOf(node).filter((one) => families.has(isIPv4(one)));
    return common.find(isIPv4) ?? common[0];
  }

  /** @throws {Error} If the Secret has no such key: without it the session would be open to everybody, so better none. */
  password(reference: BGPPeer['spec']['password']): string | undefined {
    const { name, key } = reference?.secretKeyRef ?? {};
    if (name === undefined || key === undefined) return undefined;
    const value = this.cluster.secret(name, key);
    if (value === undefined) throw new Error(`there is no key ${key} in Secret ${name}`);
    return value;
  }

  #addresses(): IP[] {
    return this.self ? addressesOf(this.self) : [];
  }

  #named(name: string): BGPConfiguration | undefined {
    return this.cluster.configurations.find(({ metadata }) => metadata.name === name);
  }
}
