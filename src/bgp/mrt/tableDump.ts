import { bytesOf, type IPv4, parseIP } from '../../address/ip.ts';
import type { FamilyRib } from '../rib/familyRib.ts';
import { prefixOf } from '../rib/prefixOf.ts';
import type { Rib } from '../rib/rib.ts';
import { IPV4_UNICAST, IPV6_UNICAST } from '../wire/family.ts';
import { encodePeerIndexTable, encodeRibRecord, type MrtEntry, type MrtPeer } from './mrt.ts';

export interface DumpedRouter {
  readonly identifier: IPv4;
  readonly asn: number;
  /** What the dump calls the table. */
  readonly name: string;
}

/**
 * All paths that may be used, a record per prefix (RFC 6396 §4.3), the router's own ones as from peer 0. When a path came
 * is not remembered: they all say the time of the dump.
 *
 * @param time In milliseconds since 1970.
 */
export function* tableDump(rib: Rib, router: DumpedRouter, time: number): Generator<Buffer> {
  const { peers } = rib.parts;
  const places = new Map<number, number>([[0, 0]]);
  const listed: MrtPeer[] = [{ identifier: router.identifier, address: parseIP('0.0.0.0'), asn: router.asn }];
  for (const number of new Set([...rib.families.values()].flatMap(({ incoming }) => [...incoming.keys()]))) {
    const peer = peers.get(number);
    if (peer === undefined) continue;
    places.set(number, listed.length);
    const { identifier, address, remoteAs: asn } = peer;
    listed.push({ identifier, address, asn });
  }
  yield encodePeerIndexTable(time, router.identifier, router.name, listed);
  let sequence = 0;
  for (const family of [IPV4_UNICAST, IPV6_UNICAST]) {
    const table = rib.families.get(family);
    if (table === undefined) continue;
    for (let row = 1; row < table.table.destinationEnd; row++) {
      const prefix = table.table.first[row] === 0 ? undefined : prefixOf(table.table, row);
      const entries = prefix ? entriesOf(rib, table, row, places, { time, own: router.identifier }) : [];
      if (prefix && entries.length > 0) yield encodeRibRecord(time, sequence++, prefix, entries);
    }
  }
}

function entriesOf(
  rib: Rib,
  { table }: FamilyRib,
  row: number,
  places: ReadonlyMap<number, number>,
  { time, own }: { time: number; own: IPv4 },
): MrtEntry[] {
  const { store } = rib.parts;
  const entries: MrtEntry[] = [];
  for (let path = table.first[row] as number; path !== 0; path = table.next[path] as number) {
    const attributes = table.accepted[path] as number;
    const peer = places.get(table.peer[path] as number);
    if (attributes === 0 || peer === undefined) continue;
    const told = store.nextHopBytes(attributes);
    const nextHop = told.length > 0 ? told : table.family === IPV4_UNICAST ? bytesOf(own) : Buffer.alloc(16);
    entries.push({ peer, originated: time, attributes: store.block(attributes), nextHop });
  }
  return entries;
}
