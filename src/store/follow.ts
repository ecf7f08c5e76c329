import { systemClock } from '../clock.ts';
import type { Kind, ObjectOf } from './kinds/registry.ts';
import type { Store } from './store.ts';

/** What a follower is told, in order. `replaced` comes first, and again after every gap. */
export type Change<T> =
  | { readonly type: 'replaced'; readonly objects: readonly T[] }
  | { readonly type: 'applied'; readonly object: T }
  | { readonly type: 'deleted'; readonly object: T }
  /** The store cannot be reached; what was known stays known until `replaced`. */
  | { readonly type: 'interrupted'; readonly error: unknown };

const FIRST_RETRY_MS = 100;
const LAST_RETRY_MS = 30_000;

/**
 * Keeps telling `handle` about all objects of a kind until `signal` aborts: list, watch, and over again
 * after a gap, with growing pauses while the store cannot be reached.
 *
 * @param pause Waits some milliseconds; ends early when the signal aborts.
 */
export async function follow<K extends Kind>(
  store: Pick<Store, 'list' | 'watch'>,
  kind: K,
  handle: (change: Change<ObjectOf<K>>) => void,
  signal: AbortSignal,
  pause: (ms: number, signal: AbortSignal) => Promise<void> = systemClock.pause,
): Promise<void> {
  let retry = FIRST_RETRY_MS;
  while (!signal.aborted) {
    try {
      const { items, resourceVersion } = await store.list(kind);
      if (signal.aborted) return;
      handle({ type: 'replaced', objects: items });
      retry = FIRST_RETRY_MS;
      await watchOn(store, kind, resourceVersion, handle, signal, pause);
    } catch (error) {
      if (signal.aborted) return;
      handle({ type: 'interrupted', error });
      // Between half and all of it, so that a thousand nodes do not come back in one instant.
      await pause(retry * (0.5 + Math.random() / 2), signal);
      retry = Math.min(retry * 2, LAST_RETRY_MS);
    }
  }
}

/** Returns when only a new list can help. */
async function watchOn<K extends Kind>(
  store: Pick<Store, 'list' | 'watch'>,
  kind: K,
  from: string,
  handle: (change: Change<ObjectOf<K>>) => void,
  signal: AbortSignal,
  pause: (ms: number, signal: AbortSignal) => Promise<void>,
): Promise<void> {
  let version = from;
  while (!signal.aborted) {
    for await (const event of store.watch(kind, version, signal)) {
      if (event.type === 'expired') return;
      version = event.resourceVersion;
      if (event.type === 'deleted') handle({ type: 'deleted', object: event.object });
      else if (event.type !== 'bookmark') handle({ type: 'applied', object: event.object });
    }
    await pause(FIRST_RETRY_MS, signal);
  }
}
