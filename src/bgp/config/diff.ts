import { isDeepStrictEqual } from 'node:util';
import type { NeighbourConfig, SessionConfig } from './router.ts';

/**
 * What a change of a neighbour's configuration costs its session, from the least to the most.
 * `policy`: both directions are evaluated again, the session stays. `rekey`: sockets get the new key.
 */
export type Change = 'nothing' | 'policy' | 'rekey' | 'reset';

/**
 * What each field costs. A field that is not here does not exist: the type makes sure of that, so that a new one
 * cannot be forgotten and silently ignored on a running session.
 */
const COST: { readonly [K in keyof Required<NeighbourConfig>]: Change } = {
  name: 'reset',
  description: 'nothing',
  kind: 'nothing',
  address: 'reset',
  port: 'reset',
  interface: 'reset',
  sourceAddress: 'reset',
  passive: 'nothing',
  shutdown: 'reset',
  remoteAs: 'reset',
  localAs: 'reset',
  families: 'reset',
  holdTime: 'reset',
  keepaliveTime: 'nothing',
  connectRetryTime: 'nothing',
  delayOpenTime: 'nothing',
  sendHoldTime: 'nothing',
  gracefulRestart: 'reset',
  password: 'rekey',
  ttlSecurity: 'reset',
  multihop: 'reset',
  reflectorClient: 'policy',
  policy: 'policy',
  prefixLimitAction: 'nothing',
};

const ORDER: readonly Change[] = ['nothing', 'policy', 'rekey', 'reset'];

/** Everything that follows from going from one configuration to another, dearest last; empty for the same. */
export function changesBetween(before: NeighbourConfig, after: NeighbourConfig): Change[] {
  const costs = changedFields(before, after).map((field) => COST[field]);
  return ORDER.filter((change) => change !== 'nothing' && costs.includes(change));
}

/** The fields that differ, for the log and for the peer's operator. */
export function changedFields(before: NeighbourConfig, after: NeighbourConfig): (keyof NeighbourConfig)[] {
  const fields = Object.keys(COST) as (keyof NeighbourConfig)[];
  return fields.filter((field) => !isDeepStrictEqual(before[field], after[field]));
}

/** A range's sessions have nothing of their own: any change but one of policy or key ends them. */
export function sameSession(before: SessionConfig, after: SessionConfig): boolean {
  return isDeepStrictEqual(before, after);
}
