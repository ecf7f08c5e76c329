import type { Cursor } from './cursor.ts';
import { checkEvpn, decodeEvpn, writeEvpn } from './evpn.ts';
import {
  type AfiSafi,
  IPV4_UNICAST,
  IPV4_VPN,
  IPV6_UNICAST,
  IPV6_VPN,
  L2VPN_EVPN,
  ROUTE_TARGET,
} from './family.ts';
import type { Nlri } from './nlri.ts';
import type { Action } from './reason.ts';
import { checkRouteTarget, decodeRouteTarget, writeRouteTarget } from './routeTarget.ts';
import { checkUnicast, decodeUnicast, writeUnicast } from './unicast.ts';
import { checkVpn, decodeVpn, writeVpn } from './vpn.ts';
import type { Writer } from './writer.ts';

/** One AFI/SAFI: how its routes and next hops look. */
export interface FamilyRow {
  readonly family: AfiSafi;
  /** Legal lengths of the next hop in MP_REACH_NLRI. */
  readonly nextHop: readonly number[];
  /** Those of the other address family, once negotiated: RFC 8950, and the same for IPv6, which it leaves out. */
  readonly extendedNextHop: readonly number[];
  /** Whether a zero route distinguisher stands before each address of the next hop. */
  readonly distinguishedNextHop: boolean;
  /**
   * What a broken MP attribute amounts to, where RFC 7606 §7.11 leaves the choice. A unicast family that is
   * silently ignored is an outage nobody sees; a broken tenant route must not take the node's own routes along.
   */
  readonly onError: Extract<Action, 'afi-safi-disable' | 'session-reset'>;
  /** The length in bytes of the route at `at`, path identifier not included, or why it is broken. */
  readonly check: (bytes: Buffer, at: number, end: number, withdrawn: boolean) => number | string;
  /** Reads a route that `check` has accepted. */
  readonly decode: (cursor: Cursor, withdrawn: boolean) => Nlri;
  readonly write: (nlri: Nlri, to: Writer, withdrawn: boolean) => void;
}

const ROWS: readonly FamilyRow[] = [
  {
    family: IPV4_UNICAST,
    nextHop: [4],
    extendedNextHop: [16, 32],
    distinguishedNextHop: false,
    onError: 'session-reset',
    check: (bytes, at, end) => checkUnicast(bytes, at, end, 32),
    decode: (cursor) => decodeUnicast(cursor, 4),
    write: writeUnicast,
  },
  {
    family: IPV6_UNICAST,
    nextHop: [16, 32],
    extendedNextHop: [4],
    distinguishedNextHop: false,
    onError: 'session-reset',
    check: (bytes, at, end) => checkUnicast(bytes, at, end, 128),
    decode: (cursor) => decodeUnicast(cursor, 6),
    write: writeUnicast,
  },
  {
    family: IPV4_VPN,
    nextHop: [12],
    extendedNextHop: [24, 48],
    distinguishedNextHop: true,
    onError: 'afi-safi-disable',
    check: (bytes, at, end, withdrawn) => checkVpn(bytes, at, end, 32, withdrawn),
    decode: (cursor, withdrawn) => decodeVpn(cursor, 4, withdrawn),
    write: writeVpn,
  },
  {
    family: IPV6_VPN,
    nextHop: [24, 48],
    extendedNextHop: [12],
    distinguishedNextHop: true,
    onError: 'afi-safi-disable',
    check: (bytes, at, end, withdrawn) => checkVpn(bytes, at, end, 128, withdrawn),
    decode: (cursor, withdrawn) => decodeVpn(cursor, 6, withdrawn),
    write: writeVpn,
  },
  {
    family: L2VPN_EVPN,
    nextHop: [4, 16],
    extendedNextHop: [],
    distinguishedNextHop: false,
    onError: 'afi-safi-disable',
    check: checkEvpn,
    decode: decodeEvpn,
    write: writeEvpn,
  },
  {
    family: ROUTE_TARGET,
    nextHop: [4, 16],
    extendedNextHop: [],
    distinguishedNextHop: false,
    onError: 'afi-safi-disable',
    check: checkRouteTarget,
    decode: decodeRouteTarget,
    write: writeRouteTarget,
  },
];

const BY_FAMILY: ReadonlyMap<AfiSafi, FamilyRow> = new Map(ROWS.map((row) => [row.family, row]));

/** `undefined` for a family whose routes are passed on as bytes. */
export function familyRow(family: AfiSafi): FamilyRow | undefined {
  return BY_FAMILY.get(family);
}
