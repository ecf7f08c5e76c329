/** The wait after a first error, in ms. */
const LEAST_DELAY = 5_000;
/** The wait never grows beyond this, in ms. */
const MOST_DELAY = 60_000;
/** Errors further apart than this have nothing to do with each other, in ms. */
const AMNESIA = 300_000;

/** The memory of a neighbour's protocol errors. */
export interface Backoff {
  /** The wait the last error brought, in ms; 0 before the first. */
  readonly delay: number;
  readonly lastErrorAt: number;
}

export const noBackoff: Backoff = { delay: 0, lastErrorAt: Number.NEGATIVE_INFINITY };

/**
 * One more error: the wait doubles, unless the last one is long forgotten (BIRD's error amnesia). Without
 * it, two speakers that dislike each other's OPEN exchange it as fast as the network allows.
 */
export function afterError(backoff: Backoff, now: number): Backoff {
  const forgotten = now - backoff.lastErrorAt > AMNESIA + backoff.delay;
  const delay = forgotten ? LEAST_DELAY : Math.min(2 * backoff.delay, MOST_DELAY);
  return { delay, lastErrorAt: now };
}
