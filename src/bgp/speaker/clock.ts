import { performance } from 'node:perf_hooks';
import type { Clock } from '../rib/rib.ts';

/** setTimeout(3) of Node goes off at once beyond this; a timer of a BGP session never needs to. */
const LONGEST_TIMER = 2 ** 31 - 1;

/** The clock of this process: never goes back, and starts near 0 with it. */
export const processClock: Clock = {
  now: () => performance.now(),
  after(milliseconds, task) {
    const timer = setTimeout(task, Math.min(milliseconds, LONGEST_TIMER));
    return () => clearTimeout(timer);
  },
  soon(task) {
    setImmediate(task);
  },
};

/** What the wall clock said, or will say, at a moment of {@link processClock}. */
export function wallTime(moment: number): Date {
  return new Date(performance.timeOrigin + moment);
}
