import { isStoreError, type Store } from '../store/store.ts';

/**
 * Keeps the object that says which segments a node has from being deleted under it. It would stay until they are free, which
 * is not what was meant.
 *
 * @throws {Error} With the reason and what to do instead.
 */
export async function guardNetwork(store: Store, name: string): Promise<void> {
  const [node, network] = await Promise.all([
    found(store.get('Node', { name })),
    found(store.get('NodeNetwork', { name })),
  ]);
  const segments = (network?.spec.segments ?? []).map(({ cidr }) => cidr);
  if (node === undefined || segments.length === 0) return;
  throw new Error(
    `Cannot delete NodeNetwork ${name}: node ${name} is there, and its segments are its own while its pods run (value ${segments.join(', ')}). Instead: delete the Node once the machine is off, and the segments become free when they have cooled`,
  );
}

/** What cannot be read is no reason to keep it. */
async function found<T>(got: Promise<T>): Promise<T | undefined> {
  try {
    return await got;
  } catch (error) {
    if (isStoreError(error, 'NotFound', 'Invalid')) return undefined;
    throw error;
  }
}
