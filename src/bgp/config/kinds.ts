import { formatIP, parseIP } from '../../address/ip.ts';
import { covers, type Prefix, parsePrefix } from '../../address/prefix.ts';
import { bgpConfiguration } from '../../store/kinds/bgpConfiguration.ts';
import { unheededIn } from '../../store/kinds/kind.ts';
import { parseCommunity } from '../policy/community.ts';
import type { LocalRoute } from '../rib/localRoute.ts';
import { addressesOf, clusterIdOf, routerIdOf } from './clusterNode.ts';
import type { ClusterView, NodeView, Translation } from './clusterView.ts';
import { leafNeighbour } from './leafNeighbour.ts';
import { meshNeighbours } from './meshNeighbours.ts';
import { peerNeighbours } from './peerNeighbours.ts';
import { BGP_PORT, DEFAULTS, type Endpoint, type NeighbourConfig, type RouterConfig } from './router.ts';
import { Standpoint } from './standpoint.ts';
import { stationsFrom } from './station.ts';

/** Our kinds, which are Calico's, as this node's speaker takes them. */
export function routerConfigFrom(cluster: ClusterView, here: NodeView): Translation {
  const standpoint = new Standpoint(cluster, here);
  const { self, problems } = standpoint;
  const { originate, exportRanges, kernel, draining } = here;
  const clusterId = self && clusterIdOf(self);
  problems.push(...standpoint.configurations.flatMap((one) => unheededIn(bgpConfiguration, one)));
  const config: RouterConfig = {
    asn: standpoint.asn,
    routerId: routerIdOf(self),
    ...(clusterId !== undefined && { clusterId }),
    listen: endpoints(standpoint),
    neighbours: neighbours(standpoint),
    ranges: [],
    originate: originate.map((route) => withCommunities(route, standpoint)),
    exportRanges: [...exportRanges, ...serviceRanges(standpoint)],
    ...(kernel && { kernel }),
    stations: stationsFrom(standpoint.setting('bmpServers')),
    name: cluster.nodeName,
    draining,
    deferralTime: DEFAULTS.deferralTime,
  };
  return { config, problems };
}

function endpoints(standpoint: Standpoint): Endpoint[] {
  const { self, here } = standpoint;
  const { listen } = here;
  if (listen === undefined) return [];
  const port = standpoint.setting('listenPort') ?? listen.port ?? BGP_PORT;
  const own = self ? addressesOf(self) : [];
  if (standpoint.setting('bindMode') === 'NodeIP' && own.length > 0) {
    return own.map((address) => ({ address, port }));
  }
  const both = listen.address === 0 ? [parseIP('0.0.0.0'), parseIP('::')] : [listen.address];
  return both.map((address) => ({ address, port }));
}

/** Of several by one address the first: they would take turns in throwing each other out. */
function neighbours(standpoint: Standpoint): NeighbourConfig[] {
  const all = [...peerNeighbours(standpoint), ...meshNeighbours(standpoint), ...leafNeighbour(standpoint)];
  const seen = new Map<string, string>();
  return all.filter(({ name, address, interface: device = '' }) => {
    const key = `${formatIP(address)}%${device}`;
    const first = seen.get(key);
    seen.set(key, first ?? name);
    if (first !== undefined && name.startsWith('BGPPeer ')) {
      standpoint.problems.push(`${name} is ignored: ${formatIP(address)} is a neighbour by ${first} already`);
    }
    return first === undefined;
  });
}

function withCommunities(route: LocalRoute, standpoint: Standpoint): LocalRoute {
  const names = new Map((standpoint.setting('communities') ?? []).map(({ name, value }) => [name, value]));
  const added = (standpoint.setting('prefixAdvertisements') ?? [])
    .filter(({ cidr }) => covers(parsePrefix(cidr), route.prefix))
    .flatMap(({ communities = [] }) => communities.map((one) => parseCommunity(names.get(one) ?? one)));
  return added.length === 0 ? route : { ...route, communities: [...(route.communities ?? []), ...added] };
}

function serviceRanges(standpoint: Standpoint): Prefix[] {
  const keys = ['serviceClusterIPs', 'serviceExternalIPs', 'serviceLoadBalancerIPs'] as const;
  return keys.flatMap((key) => standpoint.setting(key) ?? []).map(({ cidr }) => parsePrefix(cidr));
}
