import { type Family, formatIP, type IP } from '../address/ip.ts';
import type { Mac } from '../address/mac.ts';
import { Attributes, ip, mac, u8, u32 } from './attribute.ts';
import { familyFromKernel, kernelFamily, kernelFamilyOf } from './family.ts';
import { type Message, NLM_F_CREATE, NLM_F_REPLACE, type Request } from './message.ts';
import type { Netlink, Sink } from './socket.ts';

/** Neighbours, which ARP (RFC 826) and ND (RFC 4861) find or we know: `struct ndmsg`, man 7 rtnetlink. */

export const RTM_NEWNEIGH = 28;
export const RTM_DELNEIGH = 29;
export const RTM_GETNEIGH = 30;
export const NEIGHBOUR_HEADER = 12;

export const NTF_SELF = 0x02;
export const NTF_MASTER = 0x04;
const NTF_PROXY = 0x08;

export const NDA = {
  NDA_DST: 1,
  NDA_LLADDR: 2,
  NDA_PORT: 6,
  NDA_VNI: 7,
  NDA_IFINDEX: 8,
  NDA_MASTER: 9,
  NDA_PROTOCOL: 12,
} as const;

/** A set of NUD_* bits by the one that is set. */
const STATES = {
  none: 0,
  incomplete: 0x01,
  reachable: 0x02,
  stale: 0x04,
  delay: 0x08,
  probe: 0x10,
  failed: 0x20,
  noarp: 0x40,
  permanent: 0x80,
} as const;
export type NeighbourState = keyof typeof STATES;

export interface NewNeighbour {
  readonly index: number;
  readonly address: IP;
  readonly mac: Mac;
  /** @default 'permanent' */
  readonly state?: NeighbourState;
  /** Who made it, as with routes; Linux 5.2. */
  readonly protocol?: number;
}

export interface Neighbour {
  readonly index: number;
  readonly address: IP;
  /** `undefined` until it is resolved, and for proxies. */
  readonly mac: Mac | undefined;
  readonly state: NeighbourState;
  readonly protocol: number | undefined;
}

export function replaceNeighbour(sink: Sink, neighbour: NewNeighbour): void {
  const { index, address, mac: linkAddress, state = 'permanent', protocol } = neighbour;
  sink.apply({
    type: RTM_NEWNEIGH,
    flags: NLM_F_CREATE | NLM_F_REPLACE,
    header: neighbourHeader(kernelFamilyOf(address), index, STATES[state]),
    attributes: [
      ip(NDA.NDA_DST, address),
      mac(NDA.NDA_LLADDR, linkAddress),
      protocol !== undefined ? u8(NDA.NDA_PROTOCOL, protocol) : undefined,
    ],
    what: `replace neighbour ${formatIP(address)} of link ${index}`,
    names: NDA,
  });
}

/** Answers questions for `address` that arrive on the link; needs the sysctl `proxy_ndp` for IPv6. */
export function addProxy(sink: Sink, proxy: { index: number; address: IP }): void {
  sink.apply(byAddress(RTM_NEWNEIGH, NLM_F_CREATE | NLM_F_REPLACE, NTF_PROXY, 'add proxy for', proxy));
}

/** @throws {SystemError} `ENOENT` if there is none. */
export function deleteProxy(sink: Sink, proxy: { index: number; address: IP }): void {
  sink.apply(byAddress(RTM_DELNEIGH, 0, NTF_PROXY, 'delete proxy for', proxy));
}

export interface NeighbourFilter {
  readonly family?: Family;
  readonly index?: number;
}

export function listNeighbours(nl: Netlink, filter: NeighbourFilter = {}): Neighbour[] {
  return list(nl, filter, 0, 'list neighbours');
}

export function listProxies(nl: Netlink, filter: NeighbourFilter = {}): Neighbour[] {
  return list(nl, filter, NTF_PROXY, 'list neighbour proxies');
}

function list(nl: Netlink, { family, index }: NeighbourFilter, flags: number, what: string): Neighbour[] {
  const request: Request = {
    type: RTM_GETNEIGH,
    flags: 0,
    header: neighbourHeader(kernelFamily(family), 0, 0, flags),
    // Proxies cannot be filtered by the kernel; a filter on them is refused under strict checking.
    attributes: [index !== undefined && flags === 0 ? u32(NDA.NDA_IFINDEX, index) : undefined],
    what,
    names: NDA,
  };
  return nl
    .dump(request)
    .map(readNeighbour)
    .filter((entry) => entry !== undefined)
    .filter((entry) => index === undefined || entry.index === index);
}

/**
 * `undefined` for what is no neighbour of an IP address: entries of a bridge's or VXLAN's FDB.
 *
 * @throws {RangeError} If the message is cut short or damaged.
 */
export function readNeighbour({ payload }: Message): Neighbour | undefined {
  if (payload.length < NEIGHBOUR_HEADER) {
    throw new RangeError(`Cannot read neighbour: header cut short (value ${payload.length} bytes)`);
  }
  if (familyFromKernel(payload.readUInt8(0)) === undefined) return undefined;
  const attributes = new Attributes(payload, NEIGHBOUR_HEADER);
  const address = attributes.ip(NDA.NDA_DST);
  if (address === undefined) return undefined;
  return {
    index: payload.readInt32LE(4),
    address,
    mac: attributes.mac(NDA.NDA_LLADDR),
    state: stateOf(payload.readUInt16LE(8)),
    protocol: attributes.u8(NDA.NDA_PROTOCOL),
  };
}

/** `struct ndmsg`. */
export function neighbourHeader(family: number, index: number, state: number, flags = 0): Buffer {
  const header = Buffer.alloc(NEIGHBOUR_HEADER);
  header.writeUInt8(family, 0);
  header.writeInt32LE(index, 4);
  header.writeUInt16LE(state, 8);
  header.writeUInt8(flags, 10);
  return header;
}

function stateOf(bits: number): NeighbourState {
  const names = Object.keys(STATES) as NeighbourState[];
  return names.find((name) => (STATES[name] & bits) !== 0) ?? 'none';
}

function byAddress(
  type: number,
  flags: number,
  entryFlags: number,
  verb: string,
  { index, address }: { index: number; address: IP },
): Request {
  return {
    type,
    flags,
    header: neighbourHeader(kernelFamilyOf(address), index, 0, entryFlags),
    attributes: [ip(NDA.NDA_DST, address)],
    what: `${verb} ${formatIP(address)} of link ${index}`,
    names: NDA,
  };
}
