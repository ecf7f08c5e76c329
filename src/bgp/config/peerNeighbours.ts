import { messageOf } from '../../errors.ts';
import { parseSelector, selects } from '../../selector/selector.ts';
import { type BGPPeer, bgpPeer } from '../../store/kinds/bgpPeer.ts';
import { parsePeerAddress } from '../../store/kinds/bgpValues.ts';
import { parseDuration } from '../../store/kinds/duration.ts';
import { unheededIn } from '../../store/kinds/kind.ts';
import type { Node } from '../../store/kinds/node.ts';
import type { Filter } from '../policy/filter.ts';
import type { NextHopMode } from '../policy/policy.ts';
import { addressesOf, clusterIdOf } from './clusterNode.ts';
import { filterFrom } from './filter.ts';
import { ANYWHERE, gracefulRestart, neighbourDefaults, transitFilters } from './neighbourDefaults.ts';
import { BGP_PORT, DEFAULTS, type NeighbourConfig } from './router.ts';
import type { Standpoint } from './standpoint.ts';

/** The neighbours that this node has by BGPPeers. One that cannot be understood is left out, and said. */
export function peerNeighbours(standpoint: Standpoint): NeighbourConfig[] {
  return standpoint.cluster.peers.flatMap((peer) => {
    try {
      const neighbours = neighboursBy(peer, standpoint);
      if (neighbours.length > 0) standpoint.problems.push(...unheededIn(bgpPeer, peer));
      return neighbours;
    } catch (error) {
      standpoint.problems.push(`BGPPeer ${peer.metadata.name} is ignored: ${messageOf(error)}`);
      return [];
    }
  });
}

function neighboursBy(peer: BGPPeer, standpoint: Standpoint): NeighbourConfig[] {
  const { spec } = peer;
  const { self, cluster } = standpoint;
  const mine = self !== undefined && isLocal(spec, self);
  if (spec.peerIP !== undefined) {
    if (!mine) return [];
    const { address, port } = parsePeerAddress(spec.peerIP);
    if (self !== undefined && port === undefined && addressesOf(self).includes(address)) {
      // A list of reflectors is every node's, theirs too.
      if (spec.node === undefined) return [];
      throw new Error(`${spec.peerIP} is this node itself`);
    }
    const base = { address, port: port ?? BGP_PORT, remoteAs: spec.asNumber ?? ('external' as const) };
    return [neighbour(peer, `BGPPeer ${peer.metadata.name}`, base, standpoint)];
  }
  if (spec.peerSelector === undefined) throw new Error('it names neither peerIP nor peerSelector');
  const selector = parseSelector(spec.peerSelector);
  const chosen = (node: Node) => selects(selector, node.metadata.labels ?? {});
  // The other end of a peering by labels has to know of it, too (Calico's reversePeering).
  const theirs = self !== undefined && chosen(self) && spec.reversePeering !== 'Manual';
  return cluster.nodes
    .filter((node) => node !== self)
    .filter((node) => (mine && chosen(node)) || (theirs && isLocal(spec, node)))
    .flatMap((node) => {
      const address = standpoint.addressOf(node);
      const base = { address, port: BGP_PORT, remoteAs: standpoint.asnOf(node) };
      const name = `BGPPeer ${peer.metadata.name} ${node.metadata.name}`;
      return address === undefined ? [] : [neighbour(peer, name, { ...base, address }, standpoint, node)];
    });
}

/** Whether a BGPPeer is about this node's sessions. */
function isLocal({ node, nodeSelector }: BGPPeer['spec'], of: Node): boolean {
  if (node !== undefined) return node === of.metadata.name;
  return nodeSelector === undefined || selects(parseSelector(nodeSelector), of.metadata.labels ?? {});
}

/** @param node Where the peer is one of the cluster. */
function neighbour(
  { metadata, spec }: BGPPeer,
  name: string,
  base: Pick<NeighbourConfig, 'address' | 'port' | 'remoteAs'>,
  standpoint: Standpoint,
  node?: Node,
): NeighbourConfig {
  const seconds = (key: 'keepaliveTime' | 'holdTime' | 'connectTime' | 'maxRestartTime') => {
    const written = spec[key];
    return written === undefined ? undefined : Math.round(parseDuration(written));
  };
  const nextHop = nextHopMode(spec);
  const keepaliveTime = seconds('keepaliveTime');
  const password = standpoint.password(spec.password);
  const source = spec.sourceAddress === 'None' ? undefined : standpoint.addressFor(base.address);
  return {
    ...neighbourDefaults(standpoint),
    ...base,
    name,
    kind: spec.node === undefined && spec.nodeSelector === undefined ? 'global' : 'node specific',
    localAs: spec.localASNumber ?? standpoint.asn,
    holdTime: seconds('holdTime') ?? DEFAULTS.holdTime,
    connectRetryTime: seconds('connectTime') ?? DEFAULTS.connectRetryTime,
    multihop: spec.ebgpMultiHop === false ? 1 : ANYWHERE,
    reflectorClient: reflects(standpoint, node),
    gracefulRestart: gracefulRestart(seconds('maxRestartTime')),
    policy: {
      filters: [
        ...filtersOf(metadata.name, spec.filters, standpoint),
        ...transitFilters(standpoint, nextHop),
      ],
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

/** A node with a cluster identifier reflects to whoever is not in the same cluster of reflectors. */
function reflects({ self }: Standpoint, to: Node | undefined): boolean {
  const own = self && clusterIdOf(self);
  return own !== undefined && (to === undefined || clusterIdOf(to) !== own);
}

function filtersOf(peer: string, names: readonly string[] = [], { cluster, problems }: Standpoint): Filter[] {
  return names.flatMap((name) => {
    const found = cluster.filters.find(({ metadata }) => metadata.name === name);
    if (found === undefined) problems.push(`BGPPeer ${peer} names BGPFilter ${name}, which is not there`);
    return found === undefined ? [] : [filterFrom(name, found.spec)];
  });
}

function nextHopMode({ nextHopMode: mode, keepOriginalNextHop }: BGPPeer['spec']): NextHopMode {
  if (mode === 'Self') return 'self';
  return mode === 'Keep' || (mode === undefined && keepOriginalNextHop) ? 'keep' : 'auto';
}
