import { type IP, type IPv4, isIPv4, parseIP } from '../address/ip.ts';
import { formatPrefix, hostPrefix, type Prefix, parsePrefix } from '../address/prefix.ts';
import { type IPPool, ipPool } from '../store/kinds/ipPool.ts';
import { unheededIn } from '../store/kinds/kind.ts';
import type { NodeNetwork } from '../store/kinds/nodeNetwork.ts';

/** How the pods of a node are reached: by the physical network itself, or through tunnels over it. */
export type Routing = 'underlay' | 'overlay';

/** Where a part of the cluster is. */
export interface ClusterPrefix {
  readonly prefix: Prefix;
  /** The node to tunnel to; absent: the network knows the way. */
  readonly endpoint: IPv4 | undefined;
  /** The node that takes packets of clients outside over for what is there; of pods with devices of their own, none. */
  readonly holder: IPv4 | undefined;
  /** The node's own address, one that its pods have, or what nodes announce for services. */
  readonly of: 'node' | 'pods' | 'services';
  /** The node; of a whole pool or of services none. */
  readonly node: string | undefined;
}

export interface TunnelPlan {
  /** Each prefix once. */
  readonly prefixes: readonly ClusterPrefix[];
  /** Whether any way leads through a tunnel. */
  readonly overlay: boolean;
  /** Whether nodes hand packets of clients outside over to each other, through tunnels whatever the ways are. */
  readonly handover: boolean;
  readonly problems: readonly string[];
}

export interface TunnelInputs {
  readonly name: string;
  readonly routing: Routing;
  /** This end of the tunnels. */
  readonly address: IPv4 | undefined;
  readonly networks: readonly NodeNetwork[];
  readonly pools: readonly IPPool[];
  /** What nodes announce for services, by ranges. */
  readonly services?: readonly Prefix[];
  /** Where pods go by their own addresses although it is outside the cluster. */
  readonly exceptions?: readonly Prefix[];
  /** Whether there is a service whose packets are handed over. */
  readonly handedOver?: boolean;
}

/**
 * The way to every other node and its pods. One that is not in the underlay at either end is a tunnel, so that answers take
 * the way that questions took: what the network does not know as a destination it may not let pass as a source.
 */
export function planTunnels(inputs: TunnelInputs): TunnelPlan {
  const {
    name,
    routing,
    address,
    networks,
    pools,
    services = [],
    exceptions = [],
    handedOver = false,
  } = inputs;
  const problems = pools.flatMap((pool) => unheededIn(ipPool, pool));
  const peers = networks
    .filter(({ metadata }) => metadata.name !== name)
    .flatMap((network) => {
      const through = routing === 'overlay' || network.status?.routing === 'overlay';
      const endpoint = endpointOf(network);
      if (through && endpoint === undefined && podPrefixes(network).length > 0) {
        problems.push(
          `node ${network.metadata.name} cannot be reached through the overlay: it has no IPv4 address`,
        );
        return [];
      }
      return prefixesOf(network, through ? endpoint : undefined);
    });
  const overlay = peers.some(({ endpoint }) => endpoint !== undefined);
  if (overlay && address === undefined) problems.push('the overlay needs an IPv4 address of this node');
  const prefixes = [
    ...exceptions.map((prefix) => wholeRange(prefix, 'pods')),
    ...services.map((prefix) => wholeRange(prefix, 'services')),
    ...poolRanges(pools),
    ...peers,
  ];
  return {
    prefixes: [...new Map(prefixes.map((entry) => [formatPrefix(entry.prefix), entry])).values()],
    overlay: (routing === 'overlay' || overlay) && address !== undefined,
    handover: handedOver && address !== undefined && peers.some(({ holder }) => holder !== undefined),
    problems,
  };
}

function prefixesOf(network: NodeNetwork, endpoint: IPv4 | undefined): ClusterPrefix[] {
  const node = network.metadata.name;
  const holder = endpointOf(network);
  return [
    ...nodeIPs(network).map((ip) => ({
      prefix: hostPrefix(ip),
      endpoint,
      holder,
      of: 'node' as const,
      node,
    })),
    ...podPrefixes(network).map(({ prefix, onLink }) => ({
      prefix,
      // On an L2 segment pods have devices of their own, and their packets never come by the node.
      endpoint: onLink ? undefined : endpoint,
      holder: onLink ? undefined : holder,
      of: 'pods' as const,
      node,
    })),
  ];
}

/** Inside the cluster, and no node's. */
function wholeRange(prefix: Prefix, of: ClusterPrefix['of']): ClusterPrefix {
  return { prefix, endpoint: undefined, holder: undefined, of, node: undefined };
}

/** What lies in a pool and on no node is inside the cluster all the same. */
function poolRanges(pools: readonly IPPool[]): ClusterPrefix[] {
  return pools
    .filter(({ spec }) => (spec.allowedUses ?? ['Workload']).includes('Workload'))
    .map(({ spec }) => wholeRange(parsePrefix(spec.cidr), 'pods'));
}

/** The segments that hold pods or may at any moment, and addresses of other segments that pods have taken along. */
function podPrefixes({ spec, status }: NodeNetwork): { prefix: Prefix; onLink: boolean }[] {
  const assigned = (spec.segments ?? []).filter(
    ({ state = 'active' }) => state === 'active' || state === 'releasing',
  );
  // Where no operator assigns any, the node says which segments it has of its own.
  const segments = assigned.length > 0 ? assigned : (status?.segments ?? []);
  return [
    ...segments.map(({ cidr, gateway }) => ({ prefix: parsePrefix(cidr), onLink: gateway !== undefined })),
    ...(status?.borrowed ?? []).map((ip) => ({ prefix: hostPrefix(parseIP(ip)), onLink: false })),
  ];
}

function endpointOf(network: NodeNetwork): IPv4 | undefined {
  return nodeIPs(network).find(isIPv4);
}

function nodeIPs({ status }: NodeNetwork): IP[] {
  return (status?.nodeIPs ?? []).map(parseIP);
}
