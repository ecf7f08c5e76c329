import { checked, libc } from './libc.ts';

const AT_FDCWD = -100;
const RENAME_EXCHANGE = 2;

type Renameat2 = (fromDir: number, from: string, toDir: number, to: string, flags: number) => number;
let renameat2: Renameat2 | undefined;

/**
 * Two files of one directory get each other's names, both at the same instant (man 2 rename).
 *
 * @throws {SystemError} `ENOENT` if one is missing; `EINVAL` or `ENOSYS` where the file system cannot.
 */
export function exchangeFiles(one: string, other: string): void {
  renameat2 ??= libc<Renameat2>('int renameat2(int, const char *, int, const char *, unsigned int)');
  checked(renameat2(AT_FDCWD, one, AT_FDCWD, other, RENAME_EXCHANGE), `exchange ${one} and ${other}`);
}
