/** How long one turn of the event loop may be spent on messages, in ms. */
const BUDGET = 3;

export interface TurnClock {
  now(): number;
  /** Calls `task` in a later turn of the event loop, after sockets have been served. */
  soon(task: () => void): void;
}

/**
 * Shares the event loop between sessions: together they work a few milliseconds at a time, and whoever has more
 * waits for the next turn. A KEEPALIVE of one peer never waits for a full table of another.
 */
export class Turns {
  readonly #clock: TurnClock;
  #endsAt = 0;
  #waiting: (() => void)[] = [];
  #scheduled = false;

  constructor(clock: TurnClock) {
    this.#clock = clock;
  }

  /** Whether this turn has no time left. */
  get over(): boolean {
    const now = this.#clock.now();
    if (!this.#scheduled) this.#begin(now);
    return now >= this.#endsAt;
  }

  /** Calls `task` in one of the next turns, in the order of asking. */
  later(task: () => void): void {
    this.#waiting.push(task);
    if (!this.#scheduled) this.#begin(this.#clock.now());
  }

  #begin(now: number): void {
    this.#endsAt = now + BUDGET;
    this.#scheduled = true;
    this.#clock.soon(() => this.#next());
  }

  #next(): void {
    const waiting = this.#waiting;
    this.#waiting = [];
    this.#scheduled = false;
    if (waiting.length === 0) return;
    this.#begin(this.#clock.now());
    for (let index = 0; index < waiting.length; index++) {
      if (this.over) {
        this.#waiting = [...waiting.slice(index), ...this.#waiting];
        return;
      }
      waiting[index]?.();
    }
  }
}
