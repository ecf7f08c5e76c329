import { closeSync, mkdirSync, openSync } from 'node:fs';
import { join } from 'node:path';
import { tryLock } from '../../ffi/flock.ts';
import { StoreError } from '../store.ts';

/** Longer than any write takes; a holder that is stopped, not dead, is not waited for any longer. */
const PATIENCE_MS = 5_000;

/**
 * Runs `work` while no other process, and nobody else in this one, writes to the directory. The lock is
 * flock(2), so it goes with its holder: a crash leaves none behind.
 *
 * @throws {StoreError} `Unavailable` if the lock is not free in time.
 */
export async function withLock<T>(directory: string, work: () => T | Promise<T>): Promise<T> {
  mkdirSync(directory, { recursive: true });
  const path = join(directory, '.lock');
  const fd = openSync(path, 'a', 0o600);
  try {
    await acquire(fd, path);
    return await work();
  } finally {
    closeSync(fd);
  }
}

async function acquire(fd: number, path: string): Promise<void> {
  const deadline = performance.now() + PATIENCE_MS;
  for (let wait = 1; !tryLock(fd); wait = Math.min(wait * 2, 20)) {
    if (performance.now() > deadline) {
      throw new StoreError('Unavailable', `Cannot lock ${path}: another process has held it for 5 s`);
    }
    await new Promise((resolve) => setTimeout(resolve, wait));
  }
}
