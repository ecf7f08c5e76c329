import { libc } from './libc.ts';

const LOCK_EX = 2;
const LOCK_NB = 4;

let flock: ((fd: number, operation: number) => number) | undefined;

/**
 * Takes the exclusive lock of an open file, flock(2), unless somebody else has it. The lock goes when the
 * descriptor closes, also by the death of the process.
 *
 * @returns Whether it is now ours.
 */
export function tryLock(fd: number): boolean {
  flock ??= libc<(fd: number, operation: number) => number>('int flock(int, int)');
  return flock(fd, LOCK_EX | LOCK_NB) === 0;
}
