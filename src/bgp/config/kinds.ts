import { formatIP, type IP, isIPv4, parseIP } from '../../address/ip.ts';
import { covers, type Prefix, parsePrefix } from '../../address/prefix.ts';
import { messageOf } from '../../errors.ts';
import { parseSelector, selects } from '../../selector/selector.ts';
import type { BGPConfiguration } from '../../store/kinds/bgpConfiguration.ts';
import type { BGPFilter } from '../../store/kinds/bgpFilter.ts';
import type { BGPPeer } from '../../store/kinds/bgpPeer.ts';
import { parseAddressAndPort } from '../../store/kinds/bgpValues.ts';
import type { Node } from '../../store/kinds/node.ts';
import { parseCommunity } from '../policy/community.ts';
import type { Filter } from '../policy/filter.ts';
import type { NextHopMode } from '../policy/policy.ts';
import type { LocalRoute } from '../rib/localRoute.ts';
import { addressesOf, annotatedAsn, clusterIdOf, isReflector, leafOf, routerIdOf } from './clusterNode.ts';
import { parseDuration } from './duration.ts';
import { filterFrom } from './filter.ts';
import {
  BGP_PORT,
  DEFAULTS,
  type Endpoint,
  type KernelConfig,
  type NeighbourConfig,
  type RouterConfig,
} from './router.ts';
import { stationsFrom } from './station.ts';

/** What the store says that concerns BGP. */
export interface ClusterView {
  readonly nodeName: string;
  readonly nodes: readonly Node[];
  readonly configurations: readonly BGPConfiguration[];
  readonly peers: readonly BGPPeer[];
  readonly filters: readonly BGPFilter[];
  /** A value of a Secret, if it is there. */
  secret(name: string, key: string): string | undefined;
}

/** What this node itself adds. */
export interface NodeView {
  /** Where the agent was told to listen; `undefined` where BGP is to dial only. */
  readonly listen: { readonly address: IP; readonly port: number | undefined } | undefined;
  /** The default gateways, one of each family at most: the leaf of a node that names none. */
  readonly gateways: readonly IP[];
  /** Segments, and service addresses with an endpoint here. */
  readonly originate: readonly LocalRoute[];
  /** Pools: nothing else leaves, apart from the service ranges that the BGPConfiguration names. */
  readonly exportRanges: readonly Prefix[];
  readonly kernel: KernelConfig | undefined;
  readonly draining: boolean;
}

export interface Translation {
  readonly config: RouterConfig;
  /** What could not be done, one sentence each, for the log and for conditions. */
  readonly problems: readonly string[];
}

/** What `tombolo status` calls peers that are so because all nodes are. */
export const MESH = 'node-to-node mesh';

/**
 * A node that dies is silent, an agent that dies breaks its connection: only for the latter anybody waits. With RFC 8538 a leaf would
 * go on giving the dead node its share of the flows for service addresses; that takes both sides, so a leaf may offer it.
 */
const RESTART = { longLivedStaleTime: 0, notification: false } as const;

/** Calico lets its external peers be anywhere. */
const ANYWHERE = 255;

/**
 * The last word on a node that is no reflector: what it has from one peer it tells no other, or a leaf would send it
 * the traffic of nodes it has a session with. A filter that accepts comes first.
 */
const NO_TRANSIT: Filter = {
  name: 'no-transit',
  exportV4: [{ action: 'Reject', source: 'RemotePeers' }],
  exportV6: [{ action: 'Reject', source: 'RemotePeers' }],
};

/** A reflector does so within its AS; to others it passes on what leads past it, with the next hop kept. */
const NO_TRANSIT_OUTSIDE: Filter = {
  name: 'no-transit',
  exportV4: [{ action: 'Reject', source: 'RemotePeers', peerType: 'eBGP' }],
  exportV6: [{ action: 'Reject', source: 'RemotePeers', peerType: 'eBGP' }],
};

/** Our kinds, which are Calico's, as this node's speaker takes them. */
export function routerConfigFrom(cluster: ClusterView, here: NodeView): Translation {
  return new Translator(cluster, here).translate();
}

/** What Calico acts upon and we do not: said, so that nobody relies on it. */
const WITHOUT_EFFECT = {
  peer: ['reachableBy', 'localWorkloadSelector', 'bfdProfile'],
  configuration: [
    'ignoredInterfaces',
    'localWorkloadPeeringIPV4',
    'localWorkloadPeeringIPV6',
    'programClusterRoutes',
    'ipv4NormalRoutePriority',
    'ipv6NormalRoutePriority',
  ],
} as const;

class Translator {
  readonly #cluster: ClusterView;
  readonly #here: NodeView;
  readonly #problems: string[] = [];
  readonly #self: Node | undefined;
  /** The node's own settings before those of the cluster. */
  readonly #specs: readonly BGPConfiguration['spec'][];
  readonly #asn: number;

  constructor(cluster: ClusterView, here: NodeView) {
    this.#cluster = cluster;
    this.#here = here;
    this.#self = cluster.nodes.find(({ metadata }) => metadata.name === cluster.nodeName);
    const named = (name: string) => cluster.configurations.find(({ metadata }) => metadata.name === name);
    this.#specs = [named(`node.${cluster.nodeName}`), named('default')].flatMap((one) => one?.spec ?? []);
    this.#asn = this.#self ? this.#asnOf(this.#self) : this.#defaultAsn();
  }

  translate(): Translation {
    const { originate, exportRanges, kernel, draining } = this.#here;
    const clusterId = this.#self && clusterIdOf(this.#self);
    for (const key of WITHOUT_EFFECT.configuration) {
      if (this.#setting(key) !== undefined) this.#problems.push(`BGPConfiguration: ${key} has no effect`);
    }
    const config: RouterConfig = {
      asn: this.#asn,
      routerId: routerIdOf(this.#self),
      ...(clusterId !== undefined && { clusterId }),
      listen: this.#listen(),
      neighbours: this.#neighbours(),
      ranges: [],
      originate: originate.map((route) => this.#withCommunities(route)),
      exportRanges: [...exportRanges, ...this.#serviceRanges()],
      ...(kernel && { kernel }),
      stations: stationsFrom(this.#setting('bmpServers')),
      name: this.#cluster.nodeName,
      draining,
      deferralTime: DEFAULTS.deferralTime,
    };
    return { config, problems: this.#problems };
  }

  #setting<K extends keyof BGPConfiguration['spec']>(key: K): BGPConfiguration['spec'][K] | undefined {
    return this.#specs.find((spec) => spec[key] !== undefined)?.[key];
  }

  #defaultAsn(): number {
    return this.#setting('asNumber') ?? DEFAULTS.asn;
  }

  #asnOf(node: Node): number {
    const annotated = annotatedAsn(node);
    if (annotated !== undefined) return annotated;
    const own = this.#cluster.configurations.find(
      ({ metadata }) => metadata.name === `node.${node.metadata.name}`,
    );
    const shared = this.#cluster.configurations.find(({ metadata }) => metadata.name === 'default');
    return own?.spec.asNumber ?? shared?.spec.asNumber ?? DEFAULTS.asn;
  }

  #listen(): Endpoint[] {
    const { listen } = this.#here;
    if (listen === undefined) return [];
    const port = this.#setting('listenPort') ?? listen.port ?? BGP_PORT;
    const own = this.#self ? addressesOf(this.#self) : [];
    if (this.#setting('bindMode') === 'NodeIP' && own.length > 0)
      return own.map((address) => ({ address, port }));
    const both = listen.address === 0 ? [parseIP('0.0.0.0'), parseIP('::')] : [listen.address];
    return both.map((address) => ({ address, port }));
  }

  #serviceRanges(): Prefix[] {
    const keys = ['serviceClusterIPs', 'serviceExternalIPs', 'serviceLoadBalancerIPs'] as const;
    return keys.flatMap((key) => this.#setting(key) ?? []).map(({ cidr }) => parsePrefix(cidr));
  }

  #withCommunities(route: LocalRoute): LocalRoute {
    const names = new Map((this.#setting('communities') ?? []).map(({ name, value }) => [name, value]));
    const added = (this.#setting('prefixAdvertisements') ?? [])
      .filter(({ cidr }) => covers(parsePrefix(cidr), route.prefix))
      .flatMap(({ communities = [] }) => communities.map((one) => parseCommunity(names.get(one) ?? one)));
    return added.length === 0 ? route : { ...route, communities: [...(route.communities ?? []), ...added] };
  }

  #neighbours(): NeighbourConfig[] {
    const all = [...this.#configured(), ...this.#mesh(), ...this.#leaves()];
    const seen = new Map<string, string>();
    return all.filter(({ name, address, interface: device = '' }) => {
      const key = `${formatIP(address)}%${device}`;
      const first = seen.get(key);
      seen.set(key, first ?? name);
      // Two neighbours of one address would take turns in throwing each other out.
      if (first !== undefined && name.startsWith('BGPPeer ')) {
        this.#problems.push(`${name} is ignored: ${formatIP(address)} is a neighbour by ${first} already`);
      }
      return first === undefined;
    });
  }

  #configured(): NeighbourConfig[] {
    return this.#cluster.peers.flatMap((peer) => {
      try {
        return this.#fromPeer(peer);
      } catch (error) {
        this.#problems.push(`BGPPeer ${peer.metadata.name} is ignored: ${messageOf(error)}`);
        return [];
      }
    });
  }

  #fromPeer(peer: BGPPeer): NeighbourConfig[] {
    const { spec } = peer;
    const mine = this.#self !== undefined && this.#isLocal(spec, this.#self);
    if (spec.peerIP !== undefined) {
      if (!mine) return [];
      const { address, port } = parseAddressAndPort(spec.peerIP);
      const base = { address, port: port ?? BGP_PORT, remoteAs: spec.asNumber ?? ('external' as const) };
      return [this.#neighbour(peer, `BGPPeer ${peer.metadata.name}`, base)];
    }
    if (spec.peerSelector === undefined) throw new Error('it names neither peerIP nor peerSelector');
    const selector = parseSelector(spec.peerSelector);
    const chosen = (node: Node) => selects(selector, node.metadata.labels ?? {});
    // The other end of a peering by labels has to know of it, too (Calico's reversePeering).
    const theirs = this.#self !== undefined && chosen(this.#self) && spec.reversePeering !== 'Manual';
    return this.#cluster.nodes
      .filter((node) => node !== this.#self)
      .filter((node) => (mine && chosen(node)) || (theirs && this.#isLocal(spec, node)))
      .flatMap((node) => {
        const address = this.#addressTowards(node);
        const base = { address, port: BGP_PORT, remoteAs: this.#asnOf(node) };
        const name = `BGPPeer ${peer.metadata.name} ${node.metadata.name}`;
        return address === undefined ? [] : [this.#neighbour(peer, name, { ...base, address }, node)];
      });
  }

  #isLocal({ node, nodeSelector }: BGPPeer['spec'], of: Node): boolean {
    if (node !== undefined) return node === of.metadata.name;
    return nodeSelector === undefined || selects(parseSelector(nodeSelector), of.metadata.labels ?? {});
  }

  #neighbour(
    { metadata, spec }: BGPPeer,
    name: string,
    base: Pick<NeighbourConfig, 'address' | 'port' | 'remoteAs'>,
    node?: Node,
  ): NeighbourConfig {
    const seconds = (key: 'keepaliveTime' | 'holdTime' | 'connectTime' | 'maxRestartTime') => {
      const written = spec[key];
      return written === undefined ? undefined : Math.round(parseDuration(written));
    };
    const localAs = spec.localASNumber ?? this.#asn;
    const nextHop = nextHopMode(spec);
    for (const key of WITHOUT_EFFECT.peer) {
      const problem = `BGPPeer ${metadata.name}: ${key} has no effect`;
      if (spec[key] !== undefined && !this.#problems.includes(problem)) this.#problems.push(problem);
    }
    const keepaliveTime = seconds('keepaliveTime');
    const password = this.#password(spec.password);
    const source = spec.sourceAddress === 'None' ? undefined : this.#own(base.address);
    return {
      ...this.#defaults(),
      ...base,
      name,
      kind: spec.node === undefined && spec.nodeSelector === undefined ? 'global' : 'node specific',
      localAs,
      holdTime: seconds('holdTime') ?? DEFAULTS.holdTime,
      connectRetryTime: seconds('connectTime') ?? DEFAULTS.connectRetryTime,
      multihop: spec.ebgpMultiHop === false ? 1 : ANYWHERE,
      reflectorClient: this.#reflects(node),
      gracefulRestart: {
        restartTime: seconds('maxRestartTime') ?? DEFAULTS.restartTime,
        ...RESTART,
      },
      policy: {
        filters: [...this.#filters(metadata.name, spec.filters), ...this.#transit(nextHop)],
        nextHop,
        allowedOwnAs: spec.numAllowedLocalASNumbers ?? 0,
      },
      ...(keepaliveTime !== undefined && { keepaliveTime }),
      ...(password !== undefined && { password }),
      ...(source !== undefined && { sourceAddress: source }),
      ...(spec.interface !== undefined && { interface: spec.interface }),
      ...(spec.ttlSecurity !== undefined && { ttlSecurity: spec.ttlSecurity }),
    };
  }

  #mesh(): NeighbourConfig[] {
    if (this.#setting('nodeToNodeMeshEnabled') === false || this.#self === undefined) return [];
    const time = this.#setting('nodeMeshMaxRestartTime');
    let password: string | undefined;
    try {
      password = this.#password(this.#setting('nodeMeshPassword'));
    } catch (error) {
      this.#problems.push(`the mesh is down: ${messageOf(error)}`);
      return [];
    }
    const restartTime = time === undefined ? DEFAULTS.restartTime : Math.round(parseDuration(time));
    const centre = this.#cluster.nodes.some(isReflector);
    return this.#meshPeers(this.#self).flatMap((node) => {
      const address = this.#addressTowards(node);
      if (address === undefined) return [];
      const source = this.#own(address);
      return [
        {
          ...this.#defaults(),
          name: `node ${node.metadata.name}`,
          kind: centre ? 'route reflection' : MESH,
          reflectorClient: this.#self !== undefined && isReflector(this.#self) && !isReflector(node),
          address,
          port: BGP_PORT,
          remoteAs: this.#asnOf(node),
          gracefulRestart: { restartTime, ...RESTART },
          ...(source !== undefined && { sourceAddress: source }),
          ...(password !== undefined && { password }),
        },
      ];
    });
  }

  /** Everybody; or the reflectors, and for a reflector everybody again. Who is in a cluster by annotation peers by BGPPeers. */
  #meshPeers(self: Node): Node[] {
    const others = this.#cluster.nodes.filter((node) => node !== self);
    const taking = (node: Node) => isReflector(node) || clusterIdOf(node) === undefined;
    if (!taking(self)) return [];
    if (isReflector(self) || !others.some(isReflector)) return others.filter(taking);
    return others.filter(isReflector);
  }

  /** The leaf that the node's labels speak of. */
  #leaves(): NeighbourConfig[] {
    try {
      const named = this.#self && leafOf(this.#self);
      if (named === undefined) return [];
      const { remoteAs, address = this.#here.gateways[0] } = named;
      if (address === undefined) throw new Error('there is no default route to take for it');
      const source = this.#own(address);
      const leaf = { name: 'leaf', kind: 'leaf of the node', address, port: BGP_PORT, remoteAs };
      return [{ ...this.#defaults(), ...leaf, ...(source !== undefined && { sourceAddress: source }) }];
    } catch (error) {
      this.#problems.push(`the leaf of the node's labels is ignored: ${messageOf(error)}`);
      return [];
    }
  }

  #defaults(): Omit<NeighbourConfig, 'name' | 'kind' | 'address' | 'port' | 'remoteAs'> {
    return {
      localAs: this.#asn,
      families: DEFAULTS.families,
      holdTime: DEFAULTS.holdTime,
      connectRetryTime: DEFAULTS.connectRetryTime,
      delayOpenTime: 0,
      gracefulRestart: { restartTime: DEFAULTS.restartTime, ...RESTART },
      multihop: ANYWHERE,
      reflectorClient: false,
      policy: { ...DEFAULTS.policy, filters: this.#transit(DEFAULTS.policy.nextHop) },
      prefixLimitAction: 'restart',
      passive: false,
    };
  }

  /** A node with a cluster identifier reflects to whoever is not in the same cluster of reflectors. */
  #reflects(to: Node | undefined): boolean {
    const own = this.#self && clusterIdOf(this.#self);
    return own !== undefined && (to === undefined || clusterIdOf(to) !== own);
  }

  #transit(nextHop: NextHopMode): Filter[] {
    if (this.#self === undefined || clusterIdOf(this.#self) === undefined) return [NO_TRANSIT];
    return nextHop === 'keep' ? [] : [NO_TRANSIT_OUTSIDE];
  }

  #password(reference: BGPPeer['spec']['password']): string | undefined {
    const { name, key } = reference?.secretKeyRef ?? {};
    if (name === undefined || key === undefined) return undefined;
    const value = this.#cluster.secret(name, key);
    // Without the key the session would be open to everybody: better none.
    if (value === undefined) throw new Error(`there is no key ${key} in Secret ${name}`);
    return value;
  }

  #filters(peer: string, names: readonly string[] = []) {
    return names.flatMap((name) => {
      const found = this.#cluster.filters.find(({ metadata }) => metadata.name === name);
      if (found === undefined)
        this.#problems.push(`BGPPeer ${peer} names BGPFilter ${name}, which is not there`);
      return found === undefined ? [] : [filterFrom(name, found.spec)];
    });
  }

  /** Our own address of the same family. */
  #own(peer: IP): IP | undefined {
    return (this.#self ? addressesOf(this.#self) : []).find((one) => isIPv4(one) === isIPv4(peer));
  }

  /** The other node's address: IPv4 if both have it, for one session carries both families. */
  #addressTowards(node: Node): IP | undefined {
    const own = this.#self ? addressesOf(this.#self) : [];
    const families = new Set(own.map(isIPv4));
    const common = addressesOf(node).filter((one) => families.has(isIPv4(one)));
    return common.find(isIPv4) ?? common[0];
  }
}

function nextHopMode({ nextHopMode: mode, keepOriginalNextHop }: BGPPeer['spec']): NextHopMode {
  if (mode === 'Self') return 'self';
  return mode === 'Keep' || (mode === undefined && keepOriginalNextHop) ? 'keep' : 'auto';
}
