/**
 * Loaded before a speaker that is measured (`node --import`): writes the longest delay of its event loop so far, in
 * milliseconds, to the file that `EVENT_LOOP_DELAY` names. The start does not count.
 */
import { writeFileSync } from 'node:fs';
import { monitorEventLoopDelay } from 'node:perf_hooks';

const file = process.env.EVENT_LOOP_DELAY;
const RESOLUTION = 1;

if (file !== undefined) {
  setTimeout(() => {
    const delay = monitorEventLoopDelay({ resolution: RESOLUTION });
    delay.enable();
    setInterval(() => writeFileSync(file, String(delay.max / 1e6 - RESOLUTION)), 500).unref();
  }, 800).unref();
}
