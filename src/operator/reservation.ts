import { isDeepStrictEqual } from 'node:util';
import { formatPrefix } from '../address/prefix.ts';
import type { Draft } from './draft.ts';
import { reservedIn } from './pool.ts';
import type { World } from './world.ts';

/**
 * Has every segment say what its pool reserves of it. That changes no state, so the generation stays: whoever holds an
 * address that is reserved by now keeps it.
 */
export function reserve(draft: Draft, world: World): void {
  for (const segment of draft.segments) {
    const pool = world.pools.find(({ name }) => name === segment.pool);
    if (pool === undefined) continue;
    const { reserved: before = [], ...rest } = segment;
    const reserved = reservedIn(pool, segment.cidr);
    if (isDeepStrictEqual(reserved, before)) continue;
    const what = reserved.length === 0 ? 'nothing' : reserved.map(formatPrefix).join(', ');
    draft.change(
      segment,
      reserved.length === 0 ? rest : { ...rest, reserved },
      `of ${formatPrefix(segment.cidr)} ${what} is reserved`,
    );
  }
}
