import { type AfiSafi, IPV4_VPN, IPV6_VPN, L2VPN_EVPN } from '../wire/family.ts';
import { EXTENDED_COMMUNITIES, eachAttribute } from './pathAttributes.ts';
import type { RouteTable } from './routeTable.ts';

/** Families whose routes go only to those who have asked for one of their route targets, where that was negotiated. */
export const CONSTRAINED: ReadonlySet<AfiSafi> = new Set([IPV4_VPN, IPV6_VPN, L2VPN_EVPN]);

/** An NLRI has a length, the AS of who asks, and up to eight bytes of the target (RFC 4684 §4). */
const TARGET_AT = 5;
const AS_BITS = 32;
const SIZE = 8;
/** Low-order type of an extended community that is a route target (RFC 4360 §4). */
const ROUTE_TARGET_SUBTYPE = 2;

/** The route targets that a peer wants routes of (RFC 4684): whole ones, prefixes of them, or all. */
export class RouteTargets {
  /** The same for those who want the same. */
  readonly key: string;
  readonly #members: readonly { readonly bits: number; readonly bytes: Uint8Array }[];

  /** @param nlri Each as it stands in a message. */
  constructor(nlri: readonly Uint8Array[]) {
    const members = nlri.map((bytes) => ({
      bits: Math.max(0, (bytes[0] as number) - AS_BITS),
      bytes: Uint8Array.from(bytes.subarray(TARGET_AT)),
    }));
    const byText = new Map(
      members.map((one) => [`${one.bits}:${Buffer.from(one.bytes).toString('hex')}`, one]),
    );
    this.key = [...byText.keys()].sort().join();
    this.#members = [...byText.values()];
  }

  /** Whether one of the route targets among a route's attributes is wanted. */
  wants(attributes: Uint8Array): boolean {
    let wanted = false;
    eachAttribute(attributes, 0, attributes.length, (type, _flags, start, end) => {
      if (type !== EXTENDED_COMMUNITIES) return;
      for (let at = start; at + SIZE <= end && !wanted; at += SIZE) {
        if (attributes[at + 1] !== ROUTE_TARGET_SUBTYPE) continue;
        wanted = this.#members.some(({ bits, bytes }) => startsWith(attributes, at, bytes, bits));
      }
    });
    return wanted;
  }
}

function startsWith(bytes: Uint8Array, at: number, prefix: Uint8Array, bits: number): boolean {
  for (let bit = 0; bit < bits; bit += 8) {
    const mask = bits - bit >= 8 ? 0xff : (0xff00 >> (bits - bit)) & 0xff;
    const difference = (bytes[at + (bit >> 3)] as number) ^ (prefix[bit >> 3] as number);
    if ((difference & mask) !== 0) return false;
  }
  return true;
}

/** What a peer has asked for so far, out of the table of route targets. */
export function routeTargetsOf(table: RouteTable, peer: number): RouteTargets {
  const wanted: Uint8Array[] = [];
  const bytes = new Uint8Array(16);
  for (let row = 1; row < table.destinationEnd; row++) {
    let path = table.first[row] as number;
    while (path !== 0 && (table.peer[path] !== peer || table.accepted[path] === 0)) {
      path = table.next[path] as number;
    }
    if (path !== 0) wanted.push(bytes.slice(0, table.keys.write(row, bytes, 0)));
  }
  return new RouteTargets(wanted);
}
