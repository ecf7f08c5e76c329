import { isDeepStrictEqual } from 'node:util';
import { ACCEPTED, type IPPool, type PoolShape } from '../store/kinds/ipPool.ts';
import type { Refusal } from './reading.ts';

/**
 * The pool with its status as it should be: the shape it is taken in, and whether that is what its spec says.
 *
 * @param now RFC 3339.
 * @returns Undefined if it says so already.
 */
export function withAcceptance(
  pool: IPPool,
  shape: PoolShape | undefined,
  refusal: Refusal | undefined,
  now: string,
): IPPool | undefined {
  const { inForce: _, ...rest } = pool.status ?? {};
  const conditions = pool.status?.conditions ?? [];
  const before = conditions.find(({ type }) => type === ACCEPTED);
  const status = refusal ? 'False' : 'True';
  const said = {
    type: ACCEPTED,
    status,
    reason: refusal ? 'ChangeRefused' : 'Accepted',
    message: refusal ? refusalText(refusal) : '',
    // Of the spec that this is said about: a message of an earlier one is recognised.
    observedGeneration: pool.metadata.generation ?? 0,
    lastTransitionTime: before?.status === status ? (before.lastTransitionTime ?? now) : now,
  };
  const others = conditions.filter(({ type }) => type !== ACCEPTED);
  const next = { ...rest, ...(shape && { inForce: shape }), conditions: [...others, said] };
  return isDeepStrictEqual(next, pool.status) ? undefined : { ...pool, status: next };
}

export function refusalText({ reason, advice }: Pick<Refusal, 'reason' | 'advice'>): string {
  return advice === undefined ? reason : `${reason}. Instead: ${advice}`;
}
