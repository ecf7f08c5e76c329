/** Seconds a freed number rests, so that no packet under way meets its next owner. */
const REST_SECONDS = 60;

/** Gives out numbers from 1 up. A number given back is given out again after a minute at the earliest. */
export class NumberPool {
  readonly #limit: number;
  readonly #now: () => number;
  #next = 1;
  /** In the order they were freed. */
  #resting: { readonly number: number; readonly since: number }[] = [];
  #head = 0;

  /**
   * @param limit The first number that does not exist.
   * @param now Seconds on any clock that does not go back.
   */
  constructor(limit: number, now: () => number) {
    this.#limit = limit;
    this.#now = now;
  }

  /** `undefined` if every number is in use, or rests. */
  take(): number | undefined {
    const rested = this.#resting[this.#head];
    if (rested !== undefined && this.#now() - rested.since >= REST_SECONDS) {
      this.#head++;
      if (this.#head > 1024 && this.#head * 2 > this.#resting.length) this.#compact();
      return rested.number;
    }
    return this.#next < this.#limit ? this.#next++ : undefined;
  }

  give(number: number): void {
    this.#resting.push({ number, since: this.#now() });
  }

  /** Starts over with these numbers in use; of those up to `highest`, the others rest from now on. */
  adopt(inUse: (number: number) => boolean, highest: number): void {
    this.#next = highest + 1;
    this.#resting = [];
    this.#head = 0;
    for (let number = 1; number <= highest; number++) if (!inUse(number)) this.give(number);
  }

  #compact(): void {
    this.#resting = this.#resting.slice(this.#head);
    this.#head = 0;
  }
}
