import type { Clock } from '../rib/rib.ts';

/** One timer for whatever comes first, moved only to an earlier time: a hold timer that every message puts off costs nothing. */
export class Alarm {
  readonly #clock: Clock;
  readonly #ring: () => void;
  #timer: { readonly at: number; readonly cancel: () => void } | undefined;

  /** @param ring Called at the time that was set, or at an earlier one that was set before; sockets have been served then. */
  constructor(clock: Clock, ring: () => void) {
    this.#clock = clock;
    this.#ring = ring;
  }

  /** @param at In the clock's time; undefined: there is nothing to wait for. */
  set(at: number | undefined): void {
    if (at !== undefined && this.#timer && this.#timer.at <= at) return;
    this.#timer?.cancel();
    this.#timer = undefined;
    if (at === undefined) return;
    const clock = this.#clock;
    const cancel = clock.after(Math.max(0, at - clock.now()), () => clock.soon(() => this.#expire()));
    this.#timer = { at, cancel };
  }

  #expire(): void {
    this.#timer = undefined;
    this.#ring();
  }
}
