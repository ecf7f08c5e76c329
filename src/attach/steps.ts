import { messageOf } from '../errors.ts';

/** Called before each step with what it does; what it throws fails the step. */
export type StepObserver = (what: string) => void;

/** Steps that are undone in reverse order when a later one fails. */
export class Steps {
  readonly #undo: { readonly what: string; readonly undo: () => void }[] = [];
  readonly #observer: StepObserver;

  constructor(observer: StepObserver = () => {}) {
    this.#observer = observer;
  }

  /** @throws {Error} Naming the step. */
  take<T>(what: string, act: () => T, undo?: (result: T) => void): T {
    let result: T;
    try {
      this.#observer(what);
      result = act();
    } catch (error) {
      throw new Error(`${what}: ${messageOf(error)}`, { cause: error });
    }
    if (undo) this.#undo.push({ what, undo: () => undo(result) });
    return result;
  }

  /** For what can fail half-way: undone also if the very step it belongs to does not succeed. */
  onFailure(what: string, undo: () => void): void {
    this.#undo.push({ what, undo });
  }

  /** Undoes everything; what could not be undone. */
  unwind(): string[] {
    const stuck: string[] = [];
    for (const { what, undo } of this.#undo.splice(0).reverse()) {
      try {
        undo();
      } catch (error) {
        stuck.push(`could not undo "${what}": ${messageOf(error)}`);
      }
    }
    return stuck;
  }
}
