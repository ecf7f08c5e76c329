/**
 * A step of a state machine happens at a moment: what the clock says and one random number. Both are handed
 * in, so that the machines stay pure.
 */
export interface Moment {
  /** Milliseconds on a clock that never goes back. */
  readonly now: number;
  /** In [0, 1). */
  readonly random: number;
}

/** How long a connection waits for the peer's OPEN (RFC 4271 §8.2.2 suggests four minutes), in ms. */
export const LARGE_HOLD_TIME = 240_000;

/** KEEPALIVEs are never sent more often than this (RFC 4271 §4.4), in ms. */
const LEAST_KEEPALIVE_TIME = 1000;

/** What the operator sets, per neighbour. All times in milliseconds. */
export interface TimerOptions {
  /** Between two attempts to connect; jittered. */
  readonly connectRetryTime: number;
  /** Never dial; wait for the peer to come. */
  readonly passive: boolean;
  /** How long to wait for the peer's OPEN before sending ours (RFC 4271 §8.1.1 DelayOpen); 0 sends it at once. */
  readonly delayOpenTime: number;
  /** Between two KEEPALIVEs; a third of the negotiated hold time where absent or longer than that. */
  readonly keepaliveTime?: number;
  /** How long the peer may refuse to take our bytes (RFC 9687); twice the hold time where absent. */
  readonly sendHoldTime?: number;
}

/** Spreads a time over 75 % to 100 % of its value (RFC 4271 §10), so that speakers do not march in step. */
export function jittered(time: number, { random }: Moment): number {
  return time * (0.75 + random / 4);
}

/** When the next KEEPALIVE is due; never, where the negotiated hold time is zero. */
export function nextKeepalive(holdTime: number, options: TimerOptions, at: Moment): number | undefined {
  if (holdTime === 0) return undefined;
  const time = Math.min(options.keepaliveTime ?? Number.POSITIVE_INFINITY, holdTime / 3);
  return at.now + Math.max(LEAST_KEEPALIVE_TIME, jittered(time, at));
}

/** When silence of the peer ends the session; never, where the negotiated hold time is zero. */
export function holdDeadline(holdTime: number, { now }: Moment): number | undefined {
  return holdTime === 0 ? undefined : now + holdTime;
}

/** When a peer that takes none of our bytes loses the session (RFC 9687). */
export function sendHoldDeadline(holdTime: number, options: TimerOptions, at: Moment): number | undefined {
  return holdTime === 0 ? undefined : at.now + (options.sendHoldTime ?? 2 * holdTime);
}

export function isDue(deadline: number | undefined, { now }: Moment): boolean {
  return deadline !== undefined && now >= deadline;
}

/** The earliest of some deadlines, absent ones left out. */
export function earliest(...deadlines: (number | undefined)[]): number | undefined {
  const present = deadlines.filter((deadline) => deadline !== undefined);
  return present.length === 0 ? undefined : Math.min(...present);
}
