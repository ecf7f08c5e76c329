import { messageOf } from '../errors.ts';
import type { Log } from '../log.ts';
import { type Change, follow } from '../store/follow.ts';
import type { Kind, ObjectOf } from '../store/kinds/registry.ts';
import { formatFields, narrowed } from '../store/selection.ts';
import type { Selection, Store } from '../store/store.ts';

/** Follows several kinds of one store, and knows how that goes. */
export class StoreState {
  readonly store: Store;
  readonly #log: Log;
  readonly #stop = new AbortController();
  readonly #awaited = new Set<string>();
  readonly #interrupted = new Map<string, string>();
  readonly #followers: Promise<void>[] = [];
  readonly #handlers = new Map<string, ((change: Change<never>) => void)[]>();

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
   * Whoever asks for the same before it was listed shares one watch. What `handle` throws is logged: one
   * object must not end the following of the others.
   */
  follow<K extends Kind>(
    kind: K,
    handle: (change: Change<ObjectOf<K>>) => void,
    selection: Selection = {},
  ): void {
    const { namespace = '', fields = {} } = selection;
    const what = `${kind} ${namespace} ${formatFields(fields)}`.trim();
    const attentive = (change: Change<ObjectOf<K>>) => {
      try {
        handle(change);
      } catch (error) {
        this.#log.error('a change cannot be handled', { kind, error });
      }
    };
    const others = this.#handlers.get(what);
    if (others && this.#awaited.has(what)) {
      others.push(attentive);
      return;
    }
    const handlers = [attentive];
    this.#handlers.set(what, handlers);
    this.#awaited.add(what);
    const everybody = (change: Change<ObjectOf<K>>) => {
      this.#notice(what, change);
      for (const one of handlers) one(change);
    };
    this.#followers.push(follow(narrowed(this.store, selection), kind, everybody, this.#stop.signal));
  }

  async stop(): Promise<void> {
    this.#stop.abort();
    await Promise.all(this.#followers);
    await this.store.close();
  }

  #notice(kind: string, change: Change<unknown>): void {
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
