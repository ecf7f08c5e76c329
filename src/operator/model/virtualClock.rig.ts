import type { Clock } from '../../clock.ts';

interface Timer {
  readonly at: number;
  readonly fire: () => void;
}

/** Lets everything happen that needs no time: in a model there is nothing but promises to wait for. */
export function drain(): Promise<void> {
  return new Promise((resolve) => setImmediate(resolve));
}

/** A clock that stands still until it is turned. */
export class VirtualClock implements Clock {
  #now = 0;
  #skew = 1_700_000_000_000;
  #timers: Timer[] = [];

  readonly wall = () => this.#skew + this.#now;
  readonly monotonic = () => this.#now;

  readonly pause = (ms: number, signal: AbortSignal): Promise<void> =>
    new Promise((resolve) => {
      if (signal.aborted) return resolve();
      const done = () => {
        signal.removeEventListener('abort', done);
        this.#timers = this.#timers.filter((each) => each !== timer);
        resolve();
      };
      const timer = { at: this.#now + ms, fire: done };
      this.#timers.push(timer);
      signal.addEventListener('abort', done);
    });

  async advance(ms: number): Promise<void> {
    const end = this.#now + ms;
    for (;;) {
      const next = this.#timers.reduce<Timer | undefined>(
        (first, timer) => (timer.at <= end && (!first || timer.at < first.at) ? timer : first),
        undefined,
      );
      if (!next) break;
      this.#now = Math.max(this.#now, next.at);
      next.fire();
      await drain();
    }
    this.#now = end;
  }

  /** Somebody sets the wall clock. */
  jump(ms: number): void {
    this.#skew += ms;
  }
}
