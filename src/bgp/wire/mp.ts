import { type IP, type IPv6, ipFromBytes } from '../../address/ip.ts';
import type { MpReach, MpUnreach, NextHop } from './attribute.ts';
import type { Cursor } from './cursor.ts';
import { familyRow } from './families.ts';
import { type AfiSafi, afiOf, afiSafiOf, safiOf } from './family.ts';
import type { Nlri, PathIdentified } from './nlri.ts';
import type { UpdateContext } from './update.ts';
import { Writer } from './writer.ts';

/** Bytes of a route distinguisher, always zero in front of a next hop (RFC 4364 §4.3.2). */
const DISTINGUISHER = 8;

/** Reads routes up to the end of `cursor`, each of them known to be sound. */
export function decodeRoutes(
  cursor: Cursor,
  family: AfiSafi,
  withdrawn: boolean,
  context: UpdateContext,
): Nlri[] {
  const row = familyRow(family);
  if (row === undefined) {
    return cursor.remaining === 0 ? [] : [{ kind: 'opaque', value: Buffer.from(cursor.rest()) }];
  }
  const addPath = context.addPath.has(family);
  const routes: Nlri[] = [];
  while (cursor.remaining > 0) {
    const pathId = addPath ? cursor.u32() : undefined;
    const route = row.decode(cursor, withdrawn);
    routes.push(pathId === undefined ? route : ({ ...route, pathId } as Nlri));
  }
  return routes;
}

/**
 * One route as bytes.
 *
 * @throws {TypeError} If it is not one of `family`, or lacks a path identifier that the session wants.
 */
export function encodeRoute(nlri: Nlri, family: AfiSafi, withdrawn: boolean, context: UpdateContext): Buffer {
  if (nlri.kind === 'opaque') return nlri.value;
  const row = familyRow(family);
  if (row === undefined) throw new TypeError(`Cannot write ${nlri.kind} as a route of an unknown family`);
  const to = new Writer(64);
  const { pathId } = nlri as PathIdentified;
  if (context.addPath.has(family)) {
    if (pathId === undefined) throw new TypeError('Cannot write route: add-path wants a path identifier');
    to.u32(pathId);
  }
  row.write(nlri, to, withdrawn);
  return to.done();
}

export function decodeMpReach(value: Cursor, context: UpdateContext): MpReach {
  const family = afiSafiOf(value.u16(), value.u8());
  const bytes = value.take(value.u8());
  const nextHop = decodeNextHop(family, bytes);
  value.u8();
  return { type: 'MP_REACH_NLRI', family, nextHop, nlri: decodeRoutes(value, family, false, context) };
}

export function decodeMpUnreach(value: Cursor, context: UpdateContext): MpUnreach {
  const family = afiSafiOf(value.u16(), value.u8());
  return { type: 'MP_UNREACH_NLRI', family, nlri: decodeRoutes(value, family, true, context) };
}

/** AFI, SAFI, next hop and the reserved byte: what stands before the routes of MP_REACH_NLRI. */
export function encodeMpReachHead(family: AfiSafi, nextHop: NextHop | Buffer): Buffer {
  const to = new Writer(64);
  const bytes = Buffer.isBuffer(nextHop) ? nextHop : encodeNextHop(family, nextHop);
  return to.u16(afiOf(family)).u8(safiOf(family)).u8(bytes.length).put(bytes).u8(0).done();
}

export function encodeMpUnreachHead(family: AfiSafi): Buffer {
  return new Writer(4).u16(afiOf(family)).u8(safiOf(family)).done();
}

function decodeNextHop(family: AfiSafi, bytes: Buffer): NextHop | Buffer {
  const row = familyRow(family);
  if (row === undefined) return Buffer.from(bytes);
  const skip = row.distinguishedNextHop ? DISTINGUISHER : 0;
  const second = bytes.length === 2 * (skip + 16);
  const end = second ? bytes.length / 2 : bytes.length;
  const address = ipFromBytes(bytes.subarray(skip, end));
  return second ? { address, linkLocal: ipFromBytes(bytes.subarray(end + skip)) as IPv6 } : { address };
}

function encodeNextHop(family: AfiSafi, { address, linkLocal }: NextHop): Buffer {
  const skip = familyRow(family)?.distinguishedNextHop ? DISTINGUISHER : 0;
  const to = new Writer(64);
  const addresses: IP[] = linkLocal === undefined ? [address] : [address, linkLocal];
  for (const each of addresses) to.put(Buffer.alloc(skip)).ip(each);
  return to.done();
}
