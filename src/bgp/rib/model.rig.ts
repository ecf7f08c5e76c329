import { type IPv4, parseIPv4 } from '../../address/ip.ts';
import type { RibPeer } from './peer.ts';
import { attributesOf, type Simple, summaryOf } from './rib.rig.ts';

export const ROUTER = parseIPv4('10.0.0.254');
const NO_EXPORT = 0xffffff01;
const NO_ADVERTISE = 0xffffff02;

export interface ModelRoute {
  readonly peer: RibPeer;
  readonly prefix: string;
  readonly pathId: number;
  readonly route: Simple;
}

/**
 * The RIB by the book and without any cleverness: lists of objects, decided anew each time. What the real one
 * must agree with.
 */
export function bestRoutes(routes: readonly ModelRoute[]): {
  best: ModelRoute | undefined;
  equal: ModelRoute[];
} {
  let left = routes.filter(({ peer, route }) => isEligible(peer, route));
  const keep = (measure: (one: ModelRoute) => number) => {
    const least = Math.min(...left.map(measure));
    left = left.filter((one) => measure(one) === least);
  };
  keep(({ route }) => -localPreference(route));
  keep(({ route }) => (route.path ?? []).length);
  keep(({ route }) => ['IGP', 'EGP', 'INCOMPLETE'].indexOf(route.origin ?? 'IGP'));
  const sameAs = (a: ModelRoute, b: ModelRoute) => (a.route.path?.[0] ?? 0) === (b.route.path?.[0] ?? 0);
  left = left.filter(
    (one) => !left.some((two) => sameAs(one, two) && (two.route.med ?? 0) < (one.route.med ?? 0)),
  );
  keep(({ peer }) => (peer.type === 'ebgp' ? 0 : 1));
  const equal = left;
  keep(({ peer, route }) => route.originator ?? peer.identifier);
  keep(({ route }) => route.clusters?.length ?? 0);
  keep(({ peer }) => peer.address as number);
  keep(({ pathId }) => pathId);
  return { best: left[0], equal };
}

function localPreference(route: Simple): number {
  return route.localPreference ?? 100;
}

function isEligible(peer: RibPeer, route: Simple): boolean {
  if (route.path?.includes(64512)) return false;
  return peer.type === 'ebgp' || (route.originator !== ROUTER && !route.clusters?.includes(ROUTER));
}

/** The attributes a peer is told for a route, as {@link summaryOf} writes them; undefined for none. */
export function exported(to: RibPeer, { peer: from, route }: ModelRoute): string | undefined {
  if (from.name === to.name) return undefined;
  const has = (community: number) => route.communities?.includes(community);
  if (has(NO_ADVERTISE) || (has(NO_EXPORT) && to.type === 'ebgp')) return undefined;
  const { med: _med, localPreference: _localPreference, originator, clusters = [], ...rest } = route;
  if (to.type === 'ebgp') {
    return summary({ ...rest, path: [64512, ...(route.path ?? [])], nextHop: '10.0.0.254' });
  }
  const inside = { ...route, localPreference: localPreference(route) };
  if (from.type === 'ebgp') return summary(inside);
  if (!from.reflectorClient && !to.reflectorClient) return undefined;
  const cluster: IPv4[] = [ROUTER, ...clusters];
  return summary({ ...inside, originator: originator ?? from.identifier, clusters: cluster });
}

/** What a peer must have been told in the end: per prefix, in ascending order. */
export function expected(to: RibPeer, routes: readonly ModelRoute[]): string[] {
  const addPath = to.families[0]?.addPathSend ?? false;
  const prefixes = [...new Set(routes.map(({ prefix }) => prefix))];
  return prefixes
    .flatMap((prefix) => {
      const { best, equal } = bestRoutes(routes.filter((one) => one.prefix === prefix));
      const wanted = addPath ? equal : best ? [best] : [];
      return wanted.flatMap((one) => {
        const attributes = exported(to, one);
        return attributes === undefined ? [] : [`${prefix} ${attributes}`];
      });
    })
    .sort();
}

function summary(simple: Simple): string {
  return summaryOf(attributesOf(simple));
}
