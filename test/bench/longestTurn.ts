/**
 * Loaded before a speaker that is measured (`node --require`): writes how long its event loop was busy at most between two
 * of its own timers, in milliseconds of the thread's processor time, to the file that `LONGEST_TURN` names. Time
 * that the machine gave to others does not count, nor does the start.
 */
import { writeFileSync } from 'node:fs';
import { libc } from '../../src/ffi/libc.ts';

const file = process.env.LONGEST_TURN;
/** CLOCK_THREAD_CPUTIME_ID of time.h. */
const THREAD_TIME = 3;
const START_MS = 1000;

const now = Buffer.alloc(16);
const clock = libc<(clock: number, time: Buffer) => number>('int clock_gettime(int, void *)');

function threadTime(): number {
  clock(THREAD_TIME, now);
  return Number(now.readBigInt64LE(0)) * 1e3 + Number(now.readBigInt64LE(8)) / 1e6;
}

if (file !== undefined) {
  setTimeout(() => {
    let last = threadTime();
    let longest = 0;
    setInterval(() => {
      const time = threadTime();
      longest = Math.max(longest, time - last);
      last = time;
    }, 1).unref();
    setInterval(() => writeFileSync(file, longest.toFixed(1)), 500).unref();
  }, START_MS).unref();
}
