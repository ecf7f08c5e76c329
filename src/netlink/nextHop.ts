import { bytesOf, type Family, familyOf, type IP, ipFromBytes } from '../address/ip.ts';
import { type Attribute, Attributes, attribute, concat, ip } from './attribute.ts';
import { kernelFamilyOf } from './family.ts';

/** Where a route sends a packet: `struct rtnexthop`, `struct rtvia` and RTNH_F_*, man 7 rtnetlink. */

const RTA_GATEWAY = 5;
const RTA_MULTIPATH = 9;
const RTA_VIA = 18;
const HEADER = 8;

const RTNH_F_DEAD = 1;
const RTNH_F_ONLINK = 4;
const RTNH_F_LINKDOWN = 16;

export interface NextHop {
  /** Of either family: an IPv4 route may go via an IPv6 router (RFC 8950). */
  readonly gateway?: IP | undefined;
  /** Index of the link. */
  readonly index?: number | undefined;
  /** Its share among several, 1 to 256. @default 1 */
  readonly weight?: number | undefined;
  /** The gateway is reached over the link though no route says so. */
  readonly onLink?: boolean | undefined;
  /** Read only: the link is off or without carrier. */
  readonly dead?: boolean | undefined;
}

export function nextHopFlags({ onLink }: NextHop): number {
  return onLink ? RTNH_F_ONLINK : 0;
}

export function gatewayAttribute(gateway: IP, routeFamily: Family): Buffer {
  if (familyOf(gateway) === routeFamily) return ip(RTA_GATEWAY, gateway);
  const family = Buffer.alloc(2);
  family.writeUInt16LE(kernelFamilyOf(gateway));
  return attribute(RTA_VIA, Buffer.concat([family, bytesOf(gateway)]));
}

/** @throws {RangeError} If it is no address. */
function readGateway(attributes: Attributes): IP | undefined {
  const via = attributes.bytes(RTA_VIA, 2);
  return via === undefined ? attributes.ip(RTA_GATEWAY) : ipFromBytes(via.subarray(2));
}

export function writeNextHops(nextHops: readonly NextHop[], routeFamily: Family): Buffer {
  return attribute(RTA_MULTIPATH, Buffer.concat(nextHops.map((hop) => writeNextHop(hop, routeFamily))));
}

function writeNextHop(hop: NextHop, routeFamily: Family): Buffer {
  const { weight = 1, index = 0, gateway } = hop;
  if (!Number.isInteger(weight) || weight < 1 || weight > 256) {
    throw new RangeError(`Cannot write next hop: the weight must be 1 to 256 (value ${weight})`);
  }
  const inner: Attribute[] = [gateway !== undefined ? gatewayAttribute(gateway, routeFamily) : undefined];
  const body = concat(inner);
  const header = Buffer.alloc(HEADER);
  header.writeUInt16LE(HEADER + body.length, 0);
  header.writeUInt8(nextHopFlags(hop), 2);
  header.writeUInt8(weight - 1, 3);
  header.writeInt32LE(index, 4);
  return Buffer.concat([header, body]);
}

/** @throws {RangeError} If an entry reaches beyond the end. */
export function readNextHops(bytes: Buffer): NextHop[] {
  const hops: NextHop[] = [];
  for (let offset = 0; offset + HEADER <= bytes.length; ) {
    const length = bytes.readUInt16LE(offset);
    if (length < HEADER || offset + length > bytes.length) {
      throw new RangeError(`Cannot read next hop at offset ${offset}: cut short (value ${length})`);
    }
    const attributes = new Attributes(bytes.subarray(offset + HEADER, offset + length));
    const hop = readNextHop(attributes, bytes.readInt32LE(offset + 4), bytes.readUInt8(offset + 2));
    hops.push({ ...hop, weight: bytes.readUInt8(offset + 3) + 1 });
    offset += (length + 3) & ~3;
  }
  return hops;
}

export function readNextHop(attributes: Attributes, index: number | undefined, flags: number): NextHop {
  return {
    gateway: readGateway(attributes),
    index,
    onLink: (flags & RTNH_F_ONLINK) !== 0,
    dead: (flags & (RTNH_F_DEAD | RTNH_F_LINKDOWN)) !== 0,
  };
}
