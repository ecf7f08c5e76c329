import { bytesOf, type IP, type IPv4, ipFromBytes, isIPv4 } from '../../address/ip.ts';
import type { Cursor } from '../wire/cursor.ts';
import type { Writer } from '../wire/writer.ts';

/**
 * What routes a message speaks of: as received from the peer before or after the import policy (RFC 7854), as
 * sent to it before or after the export policy (RFC 8671), or the router's own choice (RFC 9069).
 */
export type BmpView =
  | 'adj-rib-in-pre'
  | 'adj-rib-in-post'
  | 'adj-rib-out-pre'
  | 'adj-rib-out-post'
  | 'loc-rib'
  | 'loc-rib-filtered';

/** RFC 7854 §4.2. */
export interface PeerHeader {
  readonly view: BmpView;
  /** 0 global, 1 with a distinguisher, 2 local to the router; Loc-RIB is 3 by its view. */
  readonly instance: 0 | 1 | 2;
  /** 0 where the instance has none. */
  readonly distinguisher: bigint;
  /** Absent for Loc-RIB, which is nobody's. */
  readonly address?: IP;
  /** The peer's; for Loc-RIB the router's own. */
  readonly asn: number;
  readonly identifier: IPv4;
  /** The session's AS_PATHs have two octets per AS. */
  readonly twoOctetAs: boolean;
  /** When the routes came, in microseconds since 1970; 0 where unknown. */
  readonly time: bigint;
}

const LOC_RIB = 3;
const FLAG_IPV6 = 0x80;
const FLAG_POST_POLICY = 0x40;
const FLAG_TWO_OCTET_AS = 0x20;
const FLAG_ADJ_RIB_OUT = 0x10;
/** In the place of FLAG_IPV6, for Loc-RIB (RFC 9069 §4.2). */
const FLAG_FILTERED = 0x80;

const VIEW_FLAGS: Readonly<Record<BmpView, number>> = {
  'adj-rib-in-pre': 0,
  'adj-rib-in-post': FLAG_POST_POLICY,
  'adj-rib-out-pre': FLAG_ADJ_RIB_OUT,
  'adj-rib-out-post': FLAG_ADJ_RIB_OUT | FLAG_POST_POLICY,
  'loc-rib': 0,
  'loc-rib-filtered': FLAG_FILTERED,
};

function isLocRib({ view }: PeerHeader): boolean {
  return view === 'loc-rib' || view === 'loc-rib-filtered';
}

export function writePeerHeader(peer: PeerHeader, to: Writer): void {
  const { view, instance, distinguisher, address, asn, identifier, twoOctetAs, time } = peer;
  const local = isLocRib(peer);
  const ipv6 = !local && address !== undefined && !isIPv4(address);
  to.u8(local ? LOC_RIB : instance)
    .u8(VIEW_FLAGS[view] | (ipv6 ? FLAG_IPV6 : 0) | (twoOctetAs && !local ? FLAG_TWO_OCTET_AS : 0))
    .u64(distinguisher)
    .put(addressBytes(local ? undefined : address))
    .u32(asn)
    .u32(identifier)
    .u32(Number(time / 1_000_000n))
    .u32(Number(time % 1_000_000n));
}

export function readPeerHeader(cursor: Cursor): PeerHeader {
  const type = cursor.u8();
  const flags = cursor.u8();
  const distinguisher = cursor.u64();
  const address = cursor.take(16);
  const asn = cursor.u32();
  const identifier = cursor.ipv4();
  const time = BigInt(cursor.u32()) * 1_000_000n + BigInt(cursor.u32());
  const common = { distinguisher, asn, identifier, time };
  if (type === LOC_RIB) {
    const view = (flags & FLAG_FILTERED) !== 0 ? 'loc-rib-filtered' : 'loc-rib';
    return { ...common, view, instance: 0, twoOctetAs: false };
  }
  if (type !== 0 && type !== 1 && type !== 2) throw cursor.error(`there is no peer type ${type}`);
  return {
    ...common,
    view: viewOf(flags),
    instance: type,
    address: readAddress(address, (flags & FLAG_IPV6) !== 0),
    twoOctetAs: (flags & FLAG_TWO_OCTET_AS) !== 0,
  };
}

function viewOf(flags: number): BmpView {
  const direction = (flags & FLAG_ADJ_RIB_OUT) !== 0 ? 'adj-rib-out' : 'adj-rib-in';
  return (flags & FLAG_POST_POLICY) !== 0 ? `${direction}-post` : `${direction}-pre`;
}

/** Sixteen bytes, an IPv4 address in the last four, all zero for none. */
export function addressBytes(address: IP | undefined): Buffer {
  const field = Buffer.alloc(16);
  if (address === undefined) return field;
  const bytes = bytesOf(address);
  bytes.copy(field, 16 - bytes.length);
  return field;
}

/** The inverse of {@link addressBytes}. */
export function readAddress(field: Buffer, ipv6: boolean): IP {
  return ipFromBytes(ipv6 ? field : field.subarray(12));
}
