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
  const [stored, pools, networks, claims, nodes, configurations] = await Promise.all([
    existing(store, name),
    store.list('IPPool'),
    store.list('NodeNetwork'),
    store.list('IPClaim'),
    store.list('Node'),
    store.list('BGPConfiguration'),
  ]);
  const before = stored && (stored.status?.inForce ?? shapeOf(stored.spec));
  const refusal = refusePool(name, before, after, {
    pools: pools.items,
    networks: networks.items,
    claims: claims.items,
    nodes: nodes.items,
    configurations: configurations.items,
  });
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
