import type { Family, IP } from '../address/ip.ts';
import { Attributes, attribute, flag, ip, u32 } from './attribute.ts';
import { AF_UNSPEC, kernelFamily, kernelFamilyOf } from './family.ts';
import { type Message, NLM_F_CREATE, NLM_F_REPLACE, type Request } from './message.ts';
import { TOMBOLO } from './route.ts';
import type { Netlink, Sink } from './socket.ts';

/**
 * Next hops as objects with a number of their own, which any number of routes share (Linux 5.3): moving
 * 100,000 routes to another router is one message. `struct nhmsg`, include/uapi/linux/nexthop.h.
 */

const RTM_NEWNEXTHOP = 104;
const RTM_DELNEXTHOP = 105;
const RTM_GETNEXTHOP = 106;
const HEADER = 8;
const RTNH_F_ONLINK = 4;

const NHA = {
  NHA_ID: 1,
  NHA_GROUP: 2,
  NHA_BLACKHOLE: 4,
  NHA_OIF: 5,
  NHA_GATEWAY: 6,
} as const;

export interface GroupMember {
  /** Of a next hop that is no group itself. */
  readonly id: number;
  /** 1 to 256. */
  readonly weight: number;
}

export type NextHopTarget =
  | { readonly kind: 'gateway'; readonly gateway: IP; readonly index: number; readonly onLink?: boolean }
  | { readonly kind: 'link'; readonly index: number; readonly family: Family }
  | { readonly kind: 'blackhole'; readonly family: Family }
  | { readonly kind: 'group'; readonly members: readonly GroupMember[] };

export interface NextHopObject {
  /** Chosen by the maker, above 0, one number space for hops and groups of a namespace. */
  readonly id: number;
  readonly target: NextHopTarget;
  /** @default TOMBOLO */
  readonly protocol?: number;
}

/** Makes it, or changes it in place together with every route that uses it. */
export function replaceNextHop(sink: Sink, hop: NextHopObject): void {
  const { id, target, protocol = TOMBOLO } = hop;
  const header = Buffer.alloc(HEADER);
  header.writeUInt8(familyOfTarget(target), 0);
  header.writeUInt8(protocol, 2);
  if (target.kind === 'gateway' && target.onLink) header.writeUInt32LE(RTNH_F_ONLINK, 4);
  sink.apply({
    ...nextHopRequest(RTM_NEWNEXTHOP, 'replace', id, header),
    flags: NLM_F_CREATE | NLM_F_REPLACE,
    attributes: [u32(NHA.NHA_ID, id), ...targetAttributes(target)],
  });
}

/** Routes that use it go with it. @throws {SystemError} `ENOENT` if there is none. */
export function deleteNextHop(sink: Sink, id: number): void {
  sink.apply(nextHopRequest(RTM_DELNEXTHOP, 'delete', id, Buffer.alloc(HEADER)));
}

/** Next hops of a maker; without one, all. Kinds that Tombolo does not make are left out. */
export function listNextHops(nl: Netlink, filter: { protocol?: number } = {}): NextHopObject[] {
  const request = { type: RTM_GETNEXTHOP, flags: 0, header: Buffer.alloc(HEADER), attributes: [] };
  return nl
    .dump({ ...request, what: 'list next hops', names: NHA })
    .map(readNextHopObject)
    .filter((hop) => hop !== undefined)
    .filter(({ protocol }) => filter.protocol === undefined || protocol === filter.protocol);
}

/** @throws {RangeError} If the message is cut short or damaged. */
function readNextHopObject({ payload }: Message): NextHopObject | undefined {
  if (payload.length < HEADER) {
    throw new RangeError(`Cannot read next hop: header cut short (value ${payload.length} bytes)`);
  }
  const attributes = new Attributes(payload, HEADER);
  const id = attributes.u32(NHA.NHA_ID);
  const target = readTarget(attributes, payload);
  if (id === undefined || target === undefined) return undefined;
  return { id, target, protocol: payload.readUInt8(2) };
}

function readTarget(attributes: Attributes, header: Buffer): NextHopTarget | undefined {
  const family: Family = header.readUInt8(0) === kernelFamily(6) ? 6 : 4;
  const group = attributes.bytes(NHA.NHA_GROUP);
  if (group !== undefined) return { kind: 'group', members: readMembers(group) };
  if (attributes.has(NHA.NHA_BLACKHOLE)) return { kind: 'blackhole', family };
  const index = attributes.u32(NHA.NHA_OIF);
  if (index === undefined) return undefined;
  const gateway = attributes.ip(NHA.NHA_GATEWAY);
  if (gateway === undefined) return { kind: 'link', index, family };
  return { kind: 'gateway', gateway, index, onLink: (header.readUInt32LE(4) & RTNH_F_ONLINK) !== 0 };
}

/** `struct nexthop_grp`: number, weight minus one, three bytes that must be zero (the weight's upper byte first). */
const MEMBER = 8;

function writeMembers(members: readonly GroupMember[]): Buffer {
  const bytes = Buffer.alloc(MEMBER * members.length);
  members.forEach(({ id, weight }, at) => {
    if (!Number.isInteger(weight) || weight < 1 || weight > 256) {
      throw new RangeError(`Cannot write next hop group: the weight must be 1 to 256 (value ${weight})`);
    }
    bytes.writeUInt32LE(id, MEMBER * at);
    bytes.writeUInt8(weight - 1, MEMBER * at + 4);
  });
  return bytes;
}

function readMembers(bytes: Buffer): GroupMember[] {
  return Array.from({ length: Math.floor(bytes.length / MEMBER) }, (_, at) => ({
    id: bytes.readUInt32LE(MEMBER * at),
    weight: bytes.readUInt16LE(MEMBER * at + 4) + 1,
  }));
}

function targetAttributes(target: NextHopTarget): Buffer[] {
  switch (target.kind) {
    case 'group':
      return [attribute(NHA.NHA_GROUP, writeMembers(target.members))];
    case 'blackhole':
      return [flag(NHA.NHA_BLACKHOLE)];
    case 'link':
      return [u32(NHA.NHA_OIF, target.index)];
    case 'gateway':
      return [u32(NHA.NHA_OIF, target.index), ip(NHA.NHA_GATEWAY, target.gateway)];
  }
}

function familyOfTarget(target: NextHopTarget): number {
  if (target.kind === 'group') return AF_UNSPEC;
  return target.kind === 'gateway' ? kernelFamilyOf(target.gateway) : kernelFamily(target.family);
}

function nextHopRequest(type: number, verb: string, id: number, header: Buffer): Request {
  const attributes = [u32(NHA.NHA_ID, id)];
  return { type, flags: 0, header, attributes, what: `${verb} next hop ${id}`, names: NHA };
}
