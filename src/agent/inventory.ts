import { isDeepStrictEqual } from 'node:util';
import type { Change } from '../store/follow.ts';
import type { StoredObject } from '../store/kinds/kind.ts';
import { keyOf, keyText } from '../store/store.ts';

/** The objects of one kind, as the store had them last. */
export class Inventory<T extends StoredObject> {
  readonly #matter: (object: T) => unknown;
  readonly #objects = new Map<string, T>();
  #listed = false;

  /** @param matter What of an object anybody here asks for: the heartbeats of a thousand nodes are no news. */
  constructor(matter: (object: T) => unknown = (object) => object) {
    this.#matter = matter;
  }

  /** Whether all of them have been seen once: before that, one that is missing may only be late. */
  get listed(): boolean {
    return this.#listed;
  }

  get(name: string): T | undefined {
    return this.#objects.get(name);
  }

  /** In the order of their names. */
  all(): T[] {
    return [...this.#objects].sort(([a], [b]) => (a < b ? -1 : 1)).map(([, object]) => object);
  }

  /** @returns Whether anything that matters is different now. */
  take(change: Change<T>): boolean {
    if (change.type === 'interrupted') return false;
    if (change.type === 'replaced') {
      this.#listed = true;
      this.#objects.clear();
      for (const object of change.objects) this.#objects.set(keyText(keyOf(object)), object);
      return true;
    }
    const key = keyText(keyOf(change.object));
    if (change.type === 'deleted') return this.#objects.delete(key);
    const before = this.#objects.get(key);
    this.#objects.set(key, change.object);
    return before === undefined || !isDeepStrictEqual(this.#matter(before), this.#matter(change.object));
  }
}
