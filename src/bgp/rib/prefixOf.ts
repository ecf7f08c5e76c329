import type { IPv4, IPv6 } from '../../address/ip.ts';
import type { Prefix } from '../../address/prefix.ts';
import { IPv4Keys, IPv6Keys } from './nlriKeys.ts';
import type { RouteTable } from './routeTable.ts';

/** The prefix of a destination, where its family has prefixes. */
export function prefixOf({ keys }: RouteTable, row: number): Prefix | undefined {
  if (keys instanceof IPv4Keys) {
    return { address: keys.address[row] as IPv4, length: keys.length[row] as number };
  }
  if (!(keys instanceof IPv6Keys)) return undefined;
  const address = keys.words.reduce((sum, word) => (sum << 32n) | BigInt(word[row] as number), 0n);
  return { address: address as IPv6, length: keys.length[row] as number };
}
