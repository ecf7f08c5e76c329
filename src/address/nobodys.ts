import type { IP } from './ip.ts';
import { contains, overlaps, type Prefix, parsePrefix } from './prefix.ts';

/** What an address stands for instead of one host among others. */
export type Special = 'unspecified' | 'loopback' | 'link-local' | 'multicast' | 'broadcast' | 'IPv4 in IPv6';

/** The narrower before what it lies in (RFC 6890, RFC 4291). */
const SPECIAL: readonly (readonly [Prefix, Special])[] = (
  [
    ['0.0.0.0/8', 'unspecified'],
    ['127.0.0.0/8', 'loopback'],
    ['169.254.0.0/16', 'link-local'],
    ['224.0.0.0/4', 'multicast'],
    ['255.255.255.255/32', 'broadcast'],
    ['::1/128', 'loopback'],
    ['::/128', 'unspecified'],
    ['::/96', 'IPv4 in IPv6'],
    ['::ffff:0:0/96', 'IPv4 in IPv6'],
    ['fe80::/10', 'link-local'],
    ['ff00::/8', 'multicast'],
  ] as const
).map(([text, special]) => [parsePrefix(text), special]);

/** Some networks use it all the same, and Linux routes it; others drop it. */
const RESERVED = parsePrefix('240.0.0.0/4');

/** The range that no pod can have which a prefix overlaps, if there is one. */
export function nobodysIn(prefix: Prefix): Prefix | undefined {
  return [...SPECIAL.map(([range]) => range), RESERVED].find((range) => overlaps(range, prefix));
}

/** `undefined` for what may be the address of one host, whoever asks. */
export function specialOf(address: IP): Special | undefined {
  return SPECIAL.find(([range]) => contains(range, address))?.[1];
}
