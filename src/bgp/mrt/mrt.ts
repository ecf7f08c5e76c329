import { bytesOf, type IP, type IPv4, isIPv4 } from '../../address/ip.ts';
import type { Prefix } from '../../address/prefix.ts';
import { writeRaw } from '../wire/attributeCodec.ts';
import { FLAG_OPTIONAL, FLAG_TRANSITIVE } from '../wire/attributeRow.ts';
import { writePrefix } from '../wire/unicast.ts';
import { Writer } from '../wire/writer.ts';

/** Dumps of routing tables and of sessions (RFC 6396), each function one record. Times in milliseconds since 1970. */

const TABLE_DUMP_V2 = 13;
const BGP4MP_ET = 17;

const PEER_INDEX_TABLE = 1;
const RIB_IPV4_UNICAST = 2;
const RIB_IPV6_UNICAST = 4;
/** RFC 8050 §4: the subtypes whose entries carry a path identifier. */
const RIB_IPV4_UNICAST_ADDPATH = 8;
const RIB_IPV6_UNICAST_ADDPATH = 10;

const BGP4MP_MESSAGE_AS4 = 4;
const BGP4MP_STATE_CHANGE_AS4 = 5;
const BGP4MP_MESSAGE_AS4_LOCAL = 7;
/** RFC 8050 §4. */
const BGP4MP_MESSAGE_AS4_ADDPATH = 9;
const BGP4MP_MESSAGE_AS4_LOCAL_ADDPATH = 11;

const NEXT_HOP = 3;
const MP_REACH_NLRI = 14;

export interface MrtPeer {
  readonly identifier: IPv4;
  readonly address: IP;
  readonly asn: number;
}

/** The first record of a table dump: entries name their peer by its place in `peers` (RFC 6396 §4.3.1). */
export function encodePeerIndexTable(
  time: number,
  collector: IPv4,
  viewName: string,
  peers: readonly MrtPeer[],
): Buffer {
  return record(time, TABLE_DUMP_V2, PEER_INDEX_TABLE, (to) => {
    to.u32(collector).counted(2, () => to.put(Buffer.from(viewName)));
    to.u16(peers.length);
    for (const { identifier, address, asn } of peers) {
      // Bit 0 says IPv6, bit 1 four octets of AS.
      to.u8(isIPv4(address) ? 2 : 3)
        .u32(identifier)
        .ip(address)
        .u32(asn);
    }
  });
}

/** One way to a prefix. */
export interface MrtEntry {
  /** An index of the peer index table. */
  readonly peer: number;
  /** When the route came, in milliseconds since 1970. */
  readonly originated: number;
  /** On all entries of a record or on none. */
  readonly pathId?: number;
  /** Path attributes with four octets per AS, without NEXT_HOP and MP_*. */
  readonly attributes: Uint8Array;
  /** 4, 16 or 32 bytes. */
  readonly nextHop: Uint8Array;
}

/** All ways to one prefix (RFC 6396 §4.3.2); `sequence` counts the records of a dump from 0. */
export function encodeRibRecord(
  time: number,
  sequence: number,
  prefix: Prefix,
  entries: readonly MrtEntry[],
): Buffer {
  const addPath = entries.some(({ pathId }) => pathId !== undefined);
  return record(time, TABLE_DUMP_V2, ribSubtype(prefix, addPath), (to) => {
    to.u32(sequence).u8(prefix.length);
    writePrefix(prefix, to);
    to.u16(entries.length);
    for (const entry of entries) {
      to.u16(entry.peer).u32(Math.floor(entry.originated / 1000));
      if (addPath) to.u32(entry.pathId ?? 0);
      to.counted(2, () => writeAttributes(entry, to));
    }
  });
}

function ribSubtype({ address }: Prefix, addPath: boolean): number {
  if (isIPv4(address)) return addPath ? RIB_IPV4_UNICAST_ADDPATH : RIB_IPV4_UNICAST;
  return addPath ? RIB_IPV6_UNICAST_ADDPATH : RIB_IPV6_UNICAST;
}

/** Of MP_REACH_NLRI only the next hop is left, because the record says the rest (RFC 6396 §4.3.4). */
function writeAttributes({ attributes, nextHop }: MrtEntry, to: Writer): void {
  if (nextHop.length === 4) {
    writeRaw(FLAG_TRANSITIVE, NEXT_HOP, to, () => to.put(nextHop));
  } else {
    writeRaw(FLAG_OPTIONAL, MP_REACH_NLRI, to, () => to.u8(nextHop.length).put(nextHop));
  }
  to.put(attributes);
}

/** A session, as its records name it. */
export interface MrtSession {
  readonly peerAs: number;
  readonly localAs: number;
  readonly peerAddress: IP;
  /** Of the same family as the peer's. */
  readonly localAddress: IP;
  /** 0 where unknown. */
  readonly interfaceIndex: number;
}

/** A whole BGP message as received, or as sent with `sent` (RFC 6396 §4.4.3, §4.4.5). */
export function encodeBgp4mpMessage(
  time: number,
  session: MrtSession,
  message: Uint8Array,
  { sent = false, addPath = false } = {},
): Buffer {
  const plain = sent ? BGP4MP_MESSAGE_AS4_LOCAL : BGP4MP_MESSAGE_AS4;
  const identified = sent ? BGP4MP_MESSAGE_AS4_LOCAL_ADDPATH : BGP4MP_MESSAGE_AS4_ADDPATH;
  return record(time, BGP4MP_ET, addPath ? identified : plain, (to) => {
    writeSession(session, to);
    to.put(message);
  });
}

/** RFC 6396 §4.4.1: states by number, 1 for Idle to 6 for Established. */
export function encodeBgp4mpStateChange(
  time: number,
  session: MrtSession,
  oldState: number,
  newState: number,
): Buffer {
  return record(time, BGP4MP_ET, BGP4MP_STATE_CHANGE_AS4, (to) => {
    writeSession(session, to);
    to.u16(oldState).u16(newState);
  });
}

function writeSession(session: MrtSession, to: Writer): void {
  const peer = bytesOf(session.peerAddress);
  const local = bytesOf(session.localAddress);
  if (peer.length !== local.length) {
    throw new RangeError('Cannot write MRT record: the ends of the session are of different families');
  }
  to.u32(session.peerAs).u32(session.localAs).u16(session.interfaceIndex);
  to.u16(isIPv4(session.peerAddress) ? 1 : 2)
    .put(peer)
    .put(local);
}

/** The common header; the extended one has microseconds, which count as part of the body (RFC 6396 §3). */
function record(time: number, type: number, subtype: number, body: (to: Writer) => void): Buffer {
  const to = new Writer();
  to.u32(Math.floor(time / 1000))
    .u16(type)
    .u16(subtype)
    .u32(0);
  const start = to.length;
  if (type === BGP4MP_ET) to.u32(Math.floor((time % 1000) * 1000));
  body(to);
  const bytes = to.done();
  bytes.writeUInt32BE(bytes.length - start, start - 4);
  return bytes;
}
