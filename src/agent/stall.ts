import { monitorEventLoopDelay } from 'node:perf_hooks';
import type { Log } from '../log.ts';

/** A finer one would wake an idle node a hundred times a second. */
const RESOLUTION_MS = 100;

/** Longer than this, and the BGP sessions and CNI calls of a node notice. */
const WORTH_SAYING_SECONDS = 0.25;

const EVERY_MS = 10_000;

/** Watches how long the event loop has been held up by one piece of work. */
export function watchStalls(log: Log) {
  const histogram = monitorEventLoopDelay({ resolution: RESOLUTION_MS });
  histogram.enable();
  let longest = 0;
  const latest = () => Math.max(0, histogram.max / 1e9 - RESOLUTION_MS / 1e3);
  const timer = setInterval(() => {
    if (latest() > WORTH_SAYING_SECONDS) log.warning('event loop was held up', { seconds: latest() });
    longest = Math.max(longest, latest());
    histogram.reset();
  }, EVERY_MS);
  timer.unref();
  return {
    /** Seconds: within the last ten seconds, and since the start. */
    measured: () => ({ latest: latest(), longest: Math.max(longest, latest()) }),
    stop() {
      clearInterval(timer);
      histogram.disable();
    },
  };
}
