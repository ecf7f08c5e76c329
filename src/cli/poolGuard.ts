import { listAll } from '../operator/listing.ts';
import { refusePool } from '../operator/poolChange.ts';
import { refusalText } from '../operator/poolStatus.ts';
import { type IPPool, shapeOf } from '../store/kinds/ipPool.ts';
import { isStoreError, type Store } from '../store/store.ts';

/**
 * Keeps a pool from being changed or deleted under its addresses, before anything is written.
 *
 * @param after Undefined where it is to be deleted.
 * @throws {Error} With the reason and what to do instead.
 */
export async function guardPool(store: Store, name: string, after: IPPool | undefined): Promise<void> {
  const [stored, listed] = await Promise.all([existing(store, name), listAll(store)]);
  const before = stored && (stored.status?.inForce ?? shapeOf(stored.spec));
  const facts = { ...listed, configurations: listed.bgpConfigurations };
  const refusal = refusePool(name, before, after, facts);
  if (refusal === undefined) return;
  const verb = after === undefined ? 'delete' : before === undefined ? 'create' : 'change';
  throw new Error(`Cannot ${verb} pool ${name}: ${refusalText(refusal)}`);
}

async function existing(store: Store, name: string): Promise<IPPool | undefined> {
  try {
    return await store.get('IPPool', { name });
  } catch (error) {
    if (isStoreError(error, 'NotFound', 'Invalid')) return undefined;
    throw error;
  }
}
