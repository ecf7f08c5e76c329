import { bitsOf, type Family, familyOf, type IP } from '../address/ip.ts';
import { formatPrefix, type InterfaceAddress } from '../address/prefix.ts';
import { Attributes, ip, text, u32 } from './attribute.ts';
import { kernelFamily, kernelFamilyOf } from './family.ts';
import { type Message, NLM_F_CREATE, NLM_F_EXCL, NLM_F_REPLACE, type Request } from './message.ts';
import type { Netlink, Sink } from './socket.ts';

/** Addresses of interfaces: `struct ifaddrmsg` and IFA_*, man 7 rtnetlink. */

export const RTM_NEWADDR = 20;
export const RTM_DELADDR = 21;
const RTM_GETADDR = 22;
const HEADER = 8;

const IFA_F_NODAD = 0x02;
const IFA_F_DADFAILED = 0x08;
const IFA_F_TENTATIVE = 0x40;
const IFA_F_PERMANENT = 0x80;
const IFA_F_NOPREFIXROUTE = 0x200;

const IFA = {
  IFA_ADDRESS: 1,
  IFA_LOCAL: 2,
  IFA_LABEL: 3,
  IFA_BROADCAST: 4,
  IFA_FLAGS: 8,
  IFA_RT_PRIORITY: 9,
} as const;

/** rt_scope of rtnetlink(7), for addresses and routes. */
export const SCOPES = { global: 0, site: 200, link: 253, host: 254, nowhere: 255 } as const;
export type Scope = keyof typeof SCOPES;

export interface NewAddress {
  readonly index: number;
  readonly address: InterfaceAddress;
  /** @default 'global' */
  readonly scope?: Scope | undefined;
  /** IPv6: usable at once, without duplicate address detection. */
  readonly noDad?: boolean | undefined;
  /** Without the route to its network that the kernel adds otherwise. */
  readonly noPrefixRoute?: boolean | undefined;
  readonly broadcast?: IP | undefined;
  readonly label?: string | undefined;
}

export interface AssignedAddress {
  readonly index: number;
  readonly address: InterfaceAddress;
  readonly scope: Scope | number;
  readonly noDad: boolean;
  readonly noPrefixRoute: boolean;
  /** IPv6: duplicate address detection is under way, or has failed. */
  readonly tentative: boolean;
  readonly duplicate: boolean;
  /** Without an end of life; router advertisements and DHCP bring the others. */
  readonly permanent: boolean;
  readonly broadcast: IP | undefined;
  readonly label: string | undefined;
}

/** @throws {SystemError} `EEXIST` if the interface has it already. */
export function addAddress(sink: Sink, address: NewAddress): void {
  sink.apply(addressRequest(RTM_NEWADDR, NLM_F_CREATE | NLM_F_EXCL, 'add', address));
}

export function replaceAddress(sink: Sink, address: NewAddress): void {
  sink.apply(addressRequest(RTM_NEWADDR, NLM_F_CREATE | NLM_F_REPLACE, 'replace', address));
}

/** @throws {SystemError} `EADDRNOTAVAIL` if the interface has no such address. */
export function deleteAddress(sink: Sink, address: Pick<NewAddress, 'index' | 'address'>): void {
  sink.apply(addressRequest(RTM_DELADDR, 0, 'delete', address));
}

export function listAddresses(
  nl: Netlink,
  filter: { index?: number; family?: Family } = {},
): AssignedAddress[] {
  const header = Buffer.alloc(HEADER);
  header.writeUInt8(kernelFamily(filter.family), 0);
  header.writeUInt32LE(filter.index ?? 0, 4);
  return nl
    .dump({ type: RTM_GETADDR, flags: 0, header, attributes: [], what: 'list addresses' })
    .map(readAddress)
    .filter(({ index }) => filter.index === undefined || index === filter.index);
}

/** @throws {RangeError} If the message is cut short or damaged. */
export function readAddress({ payload }: Message): AssignedAddress {
  if (payload.length < HEADER) {
    throw new RangeError(`Cannot read address: header cut short (value ${payload.length} bytes)`);
  }
  const attributes = new Attributes(payload, HEADER);
  // On a point-to-point link IFA_ADDRESS is the other end; IPv6 has IFA_LOCAL only there.
  const address = attributes.ip(IFA.IFA_LOCAL) ?? attributes.ip(IFA.IFA_ADDRESS);
  if (address === undefined) throw new RangeError('Cannot read address: the message holds none');
  const flags = attributes.u32(IFA.IFA_FLAGS) ?? payload.readUInt8(2);
  return {
    index: payload.readUInt32LE(4),
    address: { address, length: payload.readUInt8(1) },
    scope: scopeOf(payload.readUInt8(3)),
    noDad: (flags & IFA_F_NODAD) !== 0,
    noPrefixRoute: (flags & IFA_F_NOPREFIXROUTE) !== 0,
    tentative: (flags & IFA_F_TENTATIVE) !== 0,
    duplicate: (flags & IFA_F_DADFAILED) !== 0,
    permanent: (flags & IFA_F_PERMANENT) !== 0,
    broadcast: attributes.ip(IFA.IFA_BROADCAST),
    label: attributes.text(IFA.IFA_LABEL),
  };
}

export function scopeOf(number: number): Scope | number {
  const names = Object.keys(SCOPES) as Scope[];
  return names.find((name) => SCOPES[name] === number) ?? number;
}

function addressRequest(type: number, flags: number, verb: string, wanted: NewAddress): Request {
  const { index, address, scope = 'global', noDad, noPrefixRoute, broadcast, label } = wanted;
  if (address.length > bitsOf(familyOf(address.address))) {
    throw new RangeError(`Cannot ${verb} address: length out of range (value ${address.length})`);
  }
  const header = Buffer.alloc(HEADER);
  header.writeUInt8(kernelFamilyOf(address.address), 0);
  header.writeUInt8(address.length, 1);
  header.writeUInt8(SCOPES[scope], 3);
  header.writeUInt32LE(index, 4);
  const bits = (noDad ? IFA_F_NODAD : 0) | (noPrefixRoute ? IFA_F_NOPREFIXROUTE : 0);
  return {
    type,
    flags,
    header,
    attributes: [
      ip(IFA.IFA_LOCAL, address.address),
      ip(IFA.IFA_ADDRESS, address.address),
      bits !== 0 ? u32(IFA.IFA_FLAGS, bits) : undefined,
      broadcast !== undefined ? ip(IFA.IFA_BROADCAST, broadcast) : undefined,
      label !== undefined ? text(IFA.IFA_LABEL, label) : undefined,
    ],
    what: `${verb} address ${formatPrefix(address)} of link ${index}`,
    names: IFA,
  };
}
