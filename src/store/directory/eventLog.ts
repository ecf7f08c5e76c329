import { randomUUID } from 'node:crypto';
import type { WatchEvent } from '../store.ts';

/** As many changes as a watcher may be behind before it must list again. */
const LENGTH = 8192;

type Happened<T> =
  | { readonly type: 'added' | 'deleted'; readonly object: T }
  | { readonly type: 'modified'; readonly before: T; readonly object: T };

/**
 * The latest changes to the objects of a kind, in order. A version is `<log>.<number>`: it means nothing in
 * another process, where the same changes may have been seen in other steps.
 */
export class EventLog<T> {
  readonly #id = randomUUID().slice(0, 8);
  #first = 1;
  #events: Happened<T>[] = [];
  #waiting = new Set<() => void>();

  get version(): string {
    return `${this.#id}.${this.#first + this.#events.length - 1}`;
  }

  append(event: Happened<T>): void {
    this.#events.push(event);
    if (this.#events.length > LENGTH) {
      const surplus = this.#events.length >> 1;
      this.#events = this.#events.slice(surplus);
      this.#first += surplus;
    }
    this.#wake();
  }

  async *after(
    version: string,
    signal: AbortSignal,
    selected: (object: T) => boolean = () => true,
  ): AsyncGenerator<WatchEvent<T>> {
    const [id, number] = version.split('.');
    if (id !== this.#id) {
      yield { type: 'expired', reason: `version ${version} is of another process` };
      return;
    }
    const wake = () => this.#wake();
    signal.addEventListener('abort', wake);
    try {
      for (let next = Number(number) + 1; !signal.aborted; ) {
        if (next < this.#first) {
          yield { type: 'expired', reason: `only changes from ${this.#id}.${this.#first} on are known` };
          return;
        }
        const happened = this.#events[next - this.#first];
        if (!happened) {
          await new Promise<void>((resolve) => this.#waiting.add(resolve));
          continue;
        }
        const event = seenThrough(selected, happened);
        if (event) yield { ...event, resourceVersion: `${this.#id}.${next}` };
        next++;
      }
    } finally {
      signal.removeEventListener('abort', wake);
    }
  }

  #wake(): void {
    const waiting = [...this.#waiting];
    this.#waiting.clear();
    for (const resolve of waiting) resolve();
  }
}

/** What has happened to somebody who sees the selected objects alone; nothing, if it was to none of them. */
function seenThrough<T>(
  selected: (object: T) => boolean,
  happened: Happened<T>,
): { type: 'added' | 'modified' | 'deleted'; object: T } | undefined {
  const { type, object } = happened;
  if (type !== 'modified') return selected(object) ? { type, object } : undefined;
  const [before, now] = [selected(happened.before), selected(object)];
  if (now) return { type: before ? 'modified' : 'added', object };
  return before ? { type: 'deleted', object: happened.before } : undefined;
}
