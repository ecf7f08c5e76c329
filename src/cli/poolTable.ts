import type { PoolUse } from '../operator/poolUse.ts';
import { table } from './print.ts';

/** Pools and how they are used; blocks, then addresses. */
export function poolTable(pools: readonly PoolUse[]): string {
  return table(
    [
      'POOL',
      'CIDR',
      'BLOCK',
      'HELD',
      'COOLING',
      'FREE',
      'TOTAL',
      'NODES',
      'USED',
      'RESERVED',
      'CAPACITY',
      'CLAIMS',
    ],
    pools.map((one) => [
      one.disabled ? `${one.pool} (disabled)` : one.pool,
      one.cidr,
      `/${one.blockSize}`,
      one.held,
      one.cooling,
      one.free,
      one.total,
      one.nodes,
      one.used,
      one.reserved,
      one.capacity,
      one.claims,
    ]),
  );
}
