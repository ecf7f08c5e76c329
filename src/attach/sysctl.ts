import { closeSync, openSync, readdirSync, readFileSync, readSync, writeSync } from 'node:fs';
import { join } from 'node:path';
import { because } from '../errors.ts';
import { hasCode } from '../ffi/systemError.ts';

/** Those of the namespace this thread is in; so only synchronous calls (see `withNamespace`). */
const ROOT = '/proc/sys/net';

/** Bytes. Those of links are numbers. */
const VALUE_MAX = 64;

/** `undefined` where this kernel has no such setting, as without IPv6. */
export function readSysctl(name: string): string | undefined {
  try {
    return readFileSync(join(ROOT, name), 'utf8').trim();
  } catch (error) {
    if (hasCode(error, 'ENOENT')) return undefined;
    throw because(`read sysctl net/${name}`, error);
  }
}

/**
 * Writes a setting unless it has that value: some have effects when written.
 *
 * @param name Below `net`, with slashes, since names of links may hold dots: `ipv4/conf/eth0/rp_filter`.
 * @returns The former value; `undefined` if nothing was changed.
 */
export function setSysctl(name: string, value: string): string | undefined {
  try {
    const fd = openSync(join(ROOT, name), 'r+');
    try {
      const text = Buffer.alloc(VALUE_MAX);
      const former = text.toString('utf8', 0, readSync(fd, text, 0, VALUE_MAX, 0)).trim();
      if (former === value) return undefined;
      writeSync(fd, value, 0);
      return former;
    } finally {
      closeSync(fd);
    }
  } catch (error) {
    if (hasCode(error, 'ENOENT')) return undefined;
    throw because(`set sysctl net/${name} to ${value}`, error);
  }
}

/** Names of the links that have settings of their own. */
export function linksWithSysctls(family: 'ipv4' | 'ipv6'): string[] {
  return readdirSync(join(ROOT, family, 'conf')).filter((name) => name !== 'all' && name !== 'default');
}
