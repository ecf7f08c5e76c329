import { listAll } from '../operator/listing.ts';
import { type PoolUse, poolUses } from '../operator/poolUse.ts';
import { readWorld } from '../operator/reading.ts';
import type { Store } from '../store/store.ts';

/** How the cluster's pools are used, as the operator sees them. */
export async function poolReport(store: Store): Promise<PoolUse[]> {
  const listed = await listAll(store);
  const { world } = readWorld(listed, Date.now());
  return poolUses({ ...world, uncertain: [] }, listed.claims);
}
