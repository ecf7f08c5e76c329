/** Time, for what would otherwise ask the machine for it: tests hand in one that they turn themselves. */
export interface Clock {
  /** Wall time in milliseconds since 1970; it may jump. */
  wall(): number;
  /** Milliseconds that never jump, from some moment on. */
  monotonic(): number;
  /** Waits; ends early when the signal aborts. */
  pause(ms: number, signal: AbortSignal): Promise<void>;
}

export const systemClock: Clock = {
  wall: Date.now,
  monotonic: () => performance.now(),
  pause(ms, signal) {
    return new Promise((resolve) => {
      if (signal.aborted) return resolve();
      const done = () => {
        clearTimeout(timer);
        signal.removeEventListener('abort', done);
        resolve();
      };
      const timer = setTimeout(done, ms);
      signal.addEventListener('abort', done);
    });
  },
};
