import type { Change } from '../store/follow.ts';
import type { StoredObject } from '../store/kinds/kind.ts';
import { keyOf, keyText } from '../store/store.ts';

/** The objects of one kind, as the store had them last. */
export class Inventory<T extends StoredObject> {
  readonly #objects = new Map<string, T>();
  #listed = false;

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

  take(change: Change<T>): void {
    if (change.type === 'interrupted') return;
    if (change.type === 'replaced') {
      this.#listed = true;
      this.#objects.clear();
      for (const object of change.objects) this.#objects.set(keyText(keyOf(object)), object);
    } else if (change.type === 'applied') {
      this.#objects.set(keyText(keyOf(change.object)), change.object);
    } else this.#objects.delete(keyText(keyOf(change.object)));
  }
}
