import { messageOf } from '../errors.ts';
import type { Log } from '../log.ts';
import { type Change, follow } from '../store/follow.ts';
import type { Kind, ObjectOf } from '../store/kinds/registry.ts';
import type { Store } from '../store/store.ts';

/** Follows several kinds of one store, and knows how that goes. */
export class StoreState {
  readonly store: Store;
  readonly #log: Log;
  readonly #stop = new AbortController();
  readonly #awaited = new Set<Kind>();
  readonly #interrupted = new Map<Kind, string>();
  readonly #followers: Promise<void>[] = [];

  constructor(store: Store, log: Log) {
    this.store = store;
    this.#log = log;
  }

  /** Whether every kind has been listed once. */
  get synced(): boolean {
    return this.#awaited.size === 0;
  }

  /** Why the store cannot be reached, while that lasts. */
  get interrupted(): string | undefined {
    return [...this.#interrupted.values()][0];
  }

  /** What `handle` throws is logged: one object must not end the following of the others. */
  follow<K extends Kind>(kind: K, handle: (change: Change<ObjectOf<K>>) => void): void {
    this.#awaited.add(kind);
    const attentive = (change: Change<ObjectOf<K>>) => {
      this.#notice(kind, change);
      try {
        handle(change);
      } catch (error) {
        this.#log.error('a change cannot be handled', { kind, error });
      }
    };
    this.#followers.push(follow(this.store, kind, attentive, this.#stop.signal));
  }

  async stop(): Promise<void> {
    this.#stop.abort();
    await Promise.all(this.#followers);
    await this.store.close();
  }

  #notice(kind: Kind, change: Change<unknown>): void {
    if (change.type === 'interrupted') {
      const reason = messageOf(change.error);
      if (this.#interrupted.get(kind) !== reason) {
        this.#log.error('store out of reach', { kind, error: change.error });
      }
      this.#interrupted.set(kind, reason);
    } else if (change.type === 'replaced') {
      this.#awaited.delete(kind);
      if (this.#interrupted.delete(kind)) this.#log.info('store within reach again', { kind });
    }
  }
}
