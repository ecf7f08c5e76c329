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
  readonly #handlers = new Map<Kind, ((change: Change<never>) => void)[]>();

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

  /**
   * Whoever asks for the same kind before it was listed shares one watch. What `handle` throws is logged: one
   * object must not end the following of the others.
   */
  follow<K extends Kind>(kind: K, handle: (change: Change<ObjectOf<K>>) => void): void {
    const attentive = (change: Change<ObjectOf<K>>) => {
      try {
        handle(change);
      } catch (error) {
        this.#log.error('a change cannot be handled', { kind, error });
      }
    };
    const others = this.#handlers.get(kind);
    if (others && this.#awaited.has(kind)) {
      others.push(attentive);
      return;
    }
    const handlers = [attentive];
    this.#handlers.set(kind, handlers);
    this.#awaited.add(kind);
    const everybody = (change: Change<ObjectOf<K>>) => {
      this.#notice(kind, change);
      for (const one of handlers) one(change);
    };
    this.#followers.push(follow(this.store, kind, everybody, this.#stop.signal));
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
