import type { Log } from '../src/log.ts';

/** The way back from a work of several steps, last one first. */
export class Undo {
  readonly #log: Log;
  readonly #steps: { readonly what: string; readonly undo: () => Promise<void> }[] = [];

  constructor(log: Log) {
    this.#log = log;
  }

  push(what: string, undo: () => Promise<void>): void {
    this.#steps.push({ what, undo });
  }

  /**
   * Ends at the first step that cannot be undone, for what lies before is still in use: an address must not be
   * given to the next pod while an interface has it. The DEL that follows a failed ADD tries again.
   */
  async all(): Promise<void> {
    for (const { what, undo } of this.#steps.splice(0).reverse()) {
      try {
        await undo();
      } catch (error) {
        this.#log.error(`A failed ADD cannot ${what}`, { error });
        return;
      }
    }
  }
}
