import { setImmediate } from 'node:timers/promises';

/** Work that can be laid aside after each of its portions, which take a millisecond or so. */
export type Portions<T> = Generator<void, T>;

/** Shows `see` every entry, a portion of `size` at a time. */
export function* each<T>(entries: Iterable<T>, size: number, see: (entry: T) => void): Portions<void> {
  let count = 0;
  for (const entry of entries) {
    see(entry);
    if (++count % size === 0) yield;
  }
}

/** Does the whole work in one turn of the event loop. */
export function atOnce<T>(work: Portions<T>): T {
  for (;;) {
    const { done, value } = work.next();
    if (done) return value;
  }
}

/** Does the work in turns of some `ms`, between which everybody else has one. */
export async function inTurns<T>(work: Portions<T>, ms: number): Promise<T> {
  for (let end = performance.now() + ms; ; ) {
    const { done, value } = work.next();
    if (done) return value;
    if (performance.now() < end) continue;
    await setImmediate();
    end = performance.now() + ms;
  }
}
