import type { Filter } from '../policy/filter.ts';
import type { NextHopMode } from '../policy/policy.ts';
import { clusterIdOf } from './clusterNode.ts';
import { DEFAULTS, type GracefulRestartConfig, type NeighbourConfig } from './router.ts';
import type { Standpoint } from './standpoint.ts';

/**
 * A node that dies is silent, an agent that dies breaks its connection: only for the latter anybody waits. With RFC 8538 a leaf would
 * go on giving the dead node its share of the flows for service addresses; that takes both sides, so a leaf may offer it.
 */
const RESTART = { longLivedStaleTime: 0, notification: false } as const;

/** Calico lets its external peers be anywhere. */
export const ANYWHERE = 255;

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

/** What holds for every neighbour of this node unless it is said otherwise. */
export function neighbourDefaults(
  standpoint: Standpoint,
): Omit<NeighbourConfig, 'name' | 'kind' | 'address' | 'port' | 'remoteAs'> {
  return {
    localAs: standpoint.asn,
    families: DEFAULTS.families,
    holdTime: DEFAULTS.holdTime,
    connectRetryTime: DEFAULTS.connectRetryTime,
    delayOpenTime: 0,
    gracefulRestart: gracefulRestart(),
    multihop: ANYWHERE,
    reflectorClient: false,
    policy: { ...DEFAULTS.policy, filters: transitFilters(standpoint, DEFAULTS.policy.nextHop) },
    prefixLimitAction: 'restart',
    passive: false,
  };
}

/** @param restartTime Seconds. */
export function gracefulRestart(restartTime: number = DEFAULTS.restartTime): GracefulRestartConfig {
  return { restartTime, ...RESTART };
}

/** What a neighbour is not told, whatever its own filters let through. */
export function transitFilters({ self }: Standpoint, nextHop: NextHopMode): Filter[] {
  if (self === undefined || clusterIdOf(self) === undefined) return [NO_TRANSIT];
  return nextHop === 'keep' ? [] : [NO_TRANSIT_OUTSIDE];
}
