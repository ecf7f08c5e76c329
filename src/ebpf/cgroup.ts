import { constants, openSync, readFileSync } from 'node:fs';

/** Where this mount namespace has cgroup v2: `/sys/fs/cgroup`, or below it on a hybrid machine. */
export function cgroupRoot(mounts = readFileSync('/proc/self/mounts', 'utf8')): string | undefined {
  const line = mounts.split('\n').find((line) => line.split(' ')[2] === 'cgroup2');
  return line?.split(' ')[1];
}

/** A descriptor of a cgroup, to attach programs to. The caller closes it. */
export function openCgroup(path: string): number {
  return openSync(path, constants.O_RDONLY | constants.O_DIRECTORY);
}
