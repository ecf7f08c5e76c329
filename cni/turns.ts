/**
 * Runs what concerns one attachment one after the other, and different attachments side by side. Runtimes keep
 * this order themselves until they lose patience: then the DEL of a slow ADD arrives while the ADD still runs.
 */
export class Turns {
  readonly #last = new Map<string, Promise<unknown>>();
  readonly #watches = new Set<Set<string>>();

  /** The keys whose turn it is now, or will have been until `body` is done. */
  async watching<T>(body: (busy: ReadonlySet<string>) => Promise<T>): Promise<T> {
    const busy = new Set(this.#last.keys());
    this.#watches.add(busy);
    try {
      return await body(busy);
    } finally {
      this.#watches.delete(busy);
    }
  }

  async take<T>(key: string, work: () => Promise<T>): Promise<T> {
    const turn = (this.#last.get(key) ?? Promise.resolve()).then(work, work);
    this.#last.set(key, turn);
    for (const busy of this.#watches) busy.add(key);
    try {
      return await turn;
    } finally {
      if (this.#last.get(key) === turn) this.#last.delete(key);
    }
  }
}
