import { constants, openSync, readFileSync, statfsSync } from 'node:fs';
import { because } from '../errors.ts';

/** Where this mount namespace has cgroup v2: `/sys/fs/cgroup`, or below it on a hybrid machine. */
export function cgroupRoot(mounts = readFileSync('/proc/self/mounts', 'utf8')): string | undefined {
  const line = mounts.split('\n').find((line) => line.split(' ')[2] === 'cgroup2');
  return line?.split(' ')[1];
}

/** `CGROUP2_SUPER_MAGIC` in linux/magic.h. */
const CGROUP2 = 0x63677270;

/**
 * A descriptor of a cgroup, to attach programs to. The caller closes it.
 *
 * @throws {Error} If there is no such directory, or it is not one of a cgroup v2 hierarchy.
 */
export function openCgroup(path: string): number {
  try {
    if (statfsSync(path).type !== CGROUP2) throw new Error('it is not in a cgroup v2 hierarchy');
    return openSync(path, constants.O_RDONLY | constants.O_DIRECTORY);
  } catch (error) {
    throw because(`use cgroup ${path}`, error);
  }
}
