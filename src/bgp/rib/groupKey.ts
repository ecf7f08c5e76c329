import { formatIP } from '../../address/ip.ts';
import type { PeerFamily, RibPeer } from './peer.ts';
import type { RouteTargets } from './routeTargets.ts';

/** What two peers must have in common to be told the same in the same bytes. */
export function groupKey(peer: RibPeer, family: PeerFamily, interest: RouteTargets | undefined): string {
  const { policy } = peer;
  const local = [peer.localAddress, peer.localAddress4, peer.localAddress6].map((ip) =>
    ip === undefined ? '' : formatIP(ip),
  );
  return JSON.stringify(
    [
      peer.type,
      peer.localAs,
      peer.reflectorClient,
      peer.fourOctetAs,
      peer.maxMessageSize,
      peer.longLivedGracefulRestart,
      ...local,
      family.addPathSend,
      family.extendedNextHop,
      policy.nextHop,
      policy.addPathSend,
      policy.stripCommunities,
      policy.addCommunities,
      interest?.key,
      policy.filters.map(({ exportV4, exportV6 }) => [exportV4, exportV6]),
    ],
    (_key, value) => (typeof value === 'bigint' ? `${value}n` : value),
  );
}
