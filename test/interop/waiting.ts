import { existsSync } from 'node:fs';
import { setTimeout as sleep } from 'node:timers/promises';

/**
 * Waits until `probe` answers with something true, and hands it on.
 *
 * @throws {Error} With the last answer, after `limit` ms.
 */
export async function eventually<T>(
  what: string,
  probe: () => T | undefined | false | Promise<T | undefined | false>,
  limit = 60_000,
): Promise<T> {
  const deadline = Date.now() + limit;
  let last: unknown;
  for (;;) {
    try {
      const answer = await probe();
      if (answer) return answer;
      last = answer;
    } catch (error) {
      last = error;
    }
    if (Date.now() > deadline) throw new Error(`not within ${limit} ms: ${what} (last: ${String(last)})`);
    await sleep(100);
  }
}

/** Waits `time` ms, looking all the while: `probe` must stay true. */
export async function throughout(what: string, time: number, probe: () => boolean): Promise<void> {
  const deadline = Date.now() + time;
  while (Date.now() < deadline) {
    if (!probe()) throw new Error(`did not last ${time} ms: ${what}`);
    await sleep(100);
  }
}

/** Holds everything up until a daemon has opened its socket, or a minute. */
export function awaitSocket(path: string): void {
  const pause = new Int32Array(new SharedArrayBuffer(4));
  for (let tries = 0; tries < 3000 && !existsSync(path); tries++) Atomics.wait(pause, 0, 0, 20);
}
