import { type Prefix, prefixFamily } from '../../address/prefix.ts';
import { rowOf } from '../rib/explain.ts';
import { LOCAL } from '../rib/peers.ts';
import type { Rib } from '../rib/rib.ts';
import type { Neighbour } from '../session/neighbour.ts';
import { type AfiSafi, IPV4_UNICAST, IPV6_UNICAST } from '../wire/family.ts';
import type { Speaker } from './speaker.ts';

/**
 * The neighbours that may still send packets here for a prefix of this node's own: they have been told of it and not yet
 * otherwise, or they are away and keep what they knew until the time for our return is over (RFC 4724, 9494).
 */
export function holdersOf(speaker: Speaker, rib: Rib, prefix: Prefix, now: number): string[] {
  const unsettled = speaker.deferring || !rib.isIdle;
  return speaker
    .neighbours()
    .map(({ neighbour }) => neighbour)
    .filter((neighbour) =>
      neighbour.session === undefined
        ? mayReturn(neighbour, now)
        : unsettled || knows(neighbour, rib, prefix),
    )
    .map(({ config }) => config.name);
}

function mayReturn({ config, since }: Neighbour, now: number): boolean {
  const { restartTime = 0, longLivedStaleTime = 0 } = config.gracefulRestart ?? {};
  return now - since < (restartTime + longLivedStaleTime) * 1000;
}

function knows(neighbour: Neighbour, rib: Rib, prefix: Prefix): boolean {
  const family: AfiSafi = prefixFamily(prefix) === 4 ? IPV4_UNICAST : IPV6_UNICAST;
  const peer = rib.peerRoutes(neighbour.config.name);
  const settings = peer?.families.get(family);
  if (peer === undefined || settings === undefined) return false;
  const table = rib.family(family);
  const group = table.groups.get(settings.groupKey);
  const waiting = neighbour.transports().some(({ backlog }) => backlog > 0);
  if (group === undefined || waiting || !group.hasTold(peer.number)) return true;
  const row = rowOf(table, prefix);
  const { sent } = group;
  for (let entry = row === 0 ? 0 : sent.firstOf(row); entry !== 0; entry = sent.next[entry] as number) {
    if (sent.from[entry] === LOCAL) return true;
  }
  return false;
}
