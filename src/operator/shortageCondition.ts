import { isDeepStrictEqual } from 'node:util';
import { type NodeNetwork, SHORTAGE } from '../store/kinds/nodeNetwork.ts';
import type { Shortage } from './world.ts';

/**
 * The node's object with what it is short of, by pool for its agent, and with its condition `SegmentShortage` as it should be: true with the reasons while the node needs a
 * segment and cannot have one, false once that is over, absent where it never was.
 *
 * @param now RFC 3339.
 * @returns Undefined if it says so already.
 */
export function withShortage(
  network: NodeNetwork,
  shortages: readonly Shortage[],
  now: string,
): NodeNetwork | undefined {
  const own = shortages
    .filter(({ node }) => node === network.metadata.name)
    .map(({ pool, reason }) => ({ ...(pool !== undefined && { pool }), reason }));
  const message = [...new Set(own.map(({ reason }) => reason))].join('; ');
  const status = message === '' ? 'False' : 'True';
  const conditions = network.status?.conditions ?? [];
  const before = conditions.find(({ type }) => type === SHORTAGE);
  const said = (before?.status ?? 'False') === status && (before?.message ?? '') === message;
  if (said && isDeepStrictEqual(network.status?.shortages ?? [], own)) return undefined;
  const condition = {
    type: SHORTAGE,
    status,
    reason: status === 'True' ? 'NoSegment' : 'Served',
    message,
    lastTransitionTime: before?.status === status ? (before.lastTransitionTime ?? now) : now,
  };
  const others = conditions.filter(({ type }) => type !== SHORTAGE);
  return { ...network, status: { ...network.status, shortages: own, conditions: [...others, condition] } };
}
