import type { DirectoryOptions } from './directory/directory.ts';
import { type Store, StoreError } from './store.ts';

/**
 * Opens the store that a configuration names: `directory:PATH`, or `kubernetes[:KUBECONFIG]`.
 *
 * @throws {StoreError} If there is none at that place.
 */
export async function openStore(location: string, options: DirectoryOptions = {}): Promise<Store> {
  const [, kind, place = ''] = /^([a-z]+)(?::(.*))?$/.exec(location) ?? [];
  if (kind === 'directory' && place !== '') {
    const { openDirectoryStore } = await import('./directory/directory.ts');
    return openDirectoryStore(place, options);
  }
  if (kind === 'kubernetes') {
    const { findConnection } = await import('./kubernetes/kubeconfig.ts');
    const { openKubernetesStore } = await import('./kubernetes/kubernetes.ts');
    return openKubernetesStore(findConnection(place || undefined), options.report);
  }
  throw new StoreError(
    'Invalid',
    `Cannot open store: expected directory:PATH or kubernetes[:KUBECONFIG] (value ${JSON.stringify(location)})`,
  );
}
