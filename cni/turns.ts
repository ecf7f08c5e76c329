/**
 * Runs what concerns one attachment one after the other, and different attachments side by side. Runtimes keep
 * this order themselves until they lose patience: then the DEL of a slow ADD arrives while the ADD still runs.
 */
export class Turns {
  readonly #last = new Map<string, Promise<unknown>>();

  async take<T>(key: string, work: () => Promise<T>): Promise<T> {
    const turn = (this.#last.get(key) ?? Promise.resolve()).then(work, work);
    this.#last.set(key, turn);
    try {
      return await turn;
    } finally {
      if (this.#last.get(key) === turn) this.#last.delete(key);
    }
  }
}
