import type { Mac } from '../address/mac.ts';
import { hasCode } from '../ffi/systemError.ts';
import {
  type Attribute,
  Attributes,
  attribute,
  mac,
  nested,
  readAttributes,
  text,
  u32,
} from './attribute.ts';
import { type Message, NLM_F_CREATE, NLM_F_EXCL, type Request } from './message.ts';
import type { Netlink, Sink } from './socket.ts';

/** Network devices: `struct ifinfomsg` and IFLA_*, man 7 rtnetlink. */

export const RTM_NEWLINK = 16;
export const RTM_DELLINK = 17;
const RTM_GETLINK = 18;
const RTM_SETLINK = 19;
const HEADER = 16;

const IFF_UP = 0x1;
const IFF_LOWER_UP = 0x10000;

const IFLA = {
  IFLA_ADDRESS: 1,
  IFLA_IFNAME: 3,
  IFLA_MTU: 4,
  IFLA_LINK: 5,
  IFLA_MASTER: 10,
  IFLA_OPERSTATE: 16,
  IFLA_LINKINFO: 18,
  IFLA_IFALIAS: 20,
  IFLA_GROUP: 27,
  IFLA_NET_NS_FD: 28,
  IFLA_EXT_MASK: 29,
  IFLA_NUM_TX_QUEUES: 31,
  IFLA_NUM_RX_QUEUES: 32,
  IFLA_LINK_NETNSID: 37,
  IFLA_NEW_IFINDEX: 49,
  IFLA_PROP_LIST: 52,
  IFLA_ALT_IFNAME: 53,
  IFLA_PERM_ADDRESS: 54,
  IFLA_PARENT_DEV_NAME: 56,
  IFLA_PARENT_DEV_BUS_NAME: 57,
} as const;

/** Nobody here reads counters, which are half of an answer and most of its price. */
const WITHOUT_STATISTICS = u32(IFLA.IFLA_EXT_MASK, 1 << 3);

const IFLA_INFO_KIND = 1;
const IFLA_INFO_DATA = 2;

/** RFC 2863 §3.1.14, in the kernel's order. */
const OPER_STATES = ['unknown', 'notpresent', 'down', 'lowerlayerdown', 'testing', 'dormant', 'up'] as const;

export interface Link {
  readonly index: number;
  readonly name: string;
  /** `undefined` for devices without an Ethernet address. */
  readonly mac: Mac | undefined;
  /** The address the device was made with; `undefined` before Linux 5.6 and for most virtual devices. */
  readonly permanentMac: Mac | undefined;
  readonly mtu: number;
  /** Whether it is switched on; {@link operState} says whether it works. */
  readonly up: boolean;
  readonly carrier: boolean;
  readonly operState: (typeof OPER_STATES)[number];
  /** `veth`, `macvlan`; `undefined` for hardware and for `lo`. */
  readonly kind: string | undefined;
  readonly alias: string | undefined;
  readonly alternativeNames: readonly string[];
  /** Index of the bridge, bond or VRF it belongs to. */
  readonly master: number | undefined;
  /** Index of the other end of a veth, or of the device a VLAN, macvlan or VXLAN sits on. */
  readonly parent: number | undefined;
  /** Set where {@link parent} counts in another namespace. */
  readonly parentNamespaceId: number | undefined;
  /** Where the hardware sits: bus `pci`, name `0000:00:05.0`. Linux 5.14. */
  readonly device: { readonly bus: string | undefined; readonly name: string } | undefined;
}

/** A link by its index or by its name. */
export type LinkTarget = number | string;

export interface LinkChanges {
  readonly up?: boolean | undefined;
  readonly name?: string | undefined;
  readonly mtu?: number | undefined;
  readonly mac?: Mac | undefined;
  /** Up to 255 bytes; empty removes it. */
  readonly alias?: string | undefined;
  /** 0 releases it. */
  readonly master?: number | undefined;
  /** `ip link set group`; 0 at first. */
  readonly group?: number | undefined;
  /** Descriptor of the namespace to move it to; a new `name` is the one it has there. */
  readonly namespace?: number | undefined;
}

/** Members that every kind of new link can be given; an alias the kernel sets only afterwards. */
export interface NewLink extends Pick<LinkChanges, 'up' | 'mtu' | 'mac' | 'namespace'> {
  readonly name: string;
  /** How many each way. @default what the kind and the CPUs make it */
  readonly queues?: number;
}

/** @throws {SystemError} `ENODEV` if there is none. */
export function getLink(nl: Netlink, target: LinkTarget): Link {
  const [answer] = nl.query(linkRequest(RTM_GETLINK, 0, `get link ${target}`, target, [WITHOUT_STATISTICS]));
  if (answer === undefined) throw new Error(`Cannot get link ${target}: the kernel answered with nothing`);
  return readLink(answer);
}

export function findLink(nl: Netlink, target: LinkTarget): Link | undefined {
  try {
    return getLink(nl, target);
  } catch (error) {
    if (hasCode(error, 'ENODEV')) return undefined;
    throw error;
  }
}

/** All links, or only those enslaved to `master` or of one `kind`. */
export function listLinks(nl: Netlink, filter: { master?: number; kind?: string } = {}): Link[] {
  const request = linkRequest(RTM_GETLINK, 0, 'list links', 0, [
    WITHOUT_STATISTICS,
    filter.master !== undefined ? u32(IFLA.IFLA_MASTER, filter.master) : undefined,
    filter.kind !== undefined ? linkInfo(filter.kind) : undefined,
  ]);
  // Kernels without strict checking send them all.
  return nl
    .dump(request)
    .map(readLink)
    .filter((link) => filter.master === undefined || link.master === filter.master)
    .filter((link) => filter.kind === undefined || link.kind === filter.kind);
}

export function setLink(sink: Sink, target: LinkTarget, changes: LinkChanges): void {
  if (typeof target === 'string' && changes.name !== undefined) {
    // One attribute cannot hold both names.
    throw new TypeError(`Cannot rename link ${target}: name it by its index (value ${changes.name})`);
  }
  const what = `set link ${target}`;
  sink.apply(linkRequest(RTM_SETLINK, 0, what, target, linkAttributes(changes), changes.up));
}

/** The kernel takes some 20 ms for it, waiting for every CPU to let go of the device. */
export function deleteLink(sink: Sink, target: LinkTarget): void {
  sink.apply(deleteLinkRequest(target));
}

export function deleteLinkRequest(target: LinkTarget): Request {
  return linkRequest(RTM_DELLINK, 0, `delete link ${target}`, target);
}

/** All links in a group, in one go. `ENODEV` if there are none. */
export function deleteGroupRequest(group: number): Request {
  return linkRequest(RTM_DELLINK, 0, `delete links of group ${group}`, 0, [u32(IFLA.IFLA_GROUP, group)]);
}

/**
 * Makes a link of `kind`.
 *
 * @param data Attributes of the kind.
 * @param parent Index of the device it sits on, in the namespace of the socket.
 * @throws {SystemError} `EEXIST`; `EOPNOTSUPP` if the kernel has no such kind.
 */
export function addLink(
  sink: Sink,
  kind: string,
  link: NewLink,
  data: Attribute[] = [],
  parent?: number,
): void {
  const attributes = [
    ...linkAttributes(link),
    parent !== undefined ? u32(IFLA.IFLA_LINK, parent) : undefined,
    linkInfo(kind, data),
  ];
  const flags = NLM_F_CREATE | NLM_F_EXCL;
  sink.apply(linkRequest(RTM_NEWLINK, flags, `add ${kind} link ${link.name}`, 0, attributes, link.up));
}

export function linkAttributes(changes: LinkChanges & Pick<NewLink, 'queues'>): Attribute[] {
  const { name, mtu, mac: address, alias, master, group, namespace, queues } = changes;
  return [
    name !== undefined ? text(IFLA.IFLA_IFNAME, name) : undefined,
    mtu !== undefined ? u32(IFLA.IFLA_MTU, mtu) : undefined,
    address !== undefined ? mac(IFLA.IFLA_ADDRESS, address) : undefined,
    // Without a zero byte: an empty alias must have no bytes at all to be removed.
    alias !== undefined ? attribute(IFLA.IFLA_IFALIAS, Buffer.from(alias)) : undefined,
    master !== undefined ? u32(IFLA.IFLA_MASTER, master) : undefined,
    group !== undefined ? u32(IFLA.IFLA_GROUP, group) : undefined,
    namespace !== undefined ? u32(IFLA.IFLA_NET_NS_FD, namespace) : undefined,
    queues !== undefined ? u32(IFLA.IFLA_NUM_TX_QUEUES, queues) : undefined,
    queues !== undefined ? u32(IFLA.IFLA_NUM_RX_QUEUES, queues) : undefined,
  ];
}

/** @throws {RangeError} If the message is cut short or damaged. */
export function readLink({ payload }: Message): Link {
  if (payload.length < HEADER) {
    throw new RangeError(`Cannot read link: header cut short (value ${payload.length} bytes)`);
  }
  const flags = payload.readUInt32LE(8);
  const attributes = new Attributes(payload, HEADER);
  const device = attributes.text(IFLA.IFLA_PARENT_DEV_NAME);
  const bus = attributes.text(IFLA.IFLA_PARENT_DEV_BUS_NAME);
  const master = attributes.u32(IFLA.IFLA_MASTER);
  return {
    index: payload.readInt32LE(4),
    name: attributes.text(IFLA.IFLA_IFNAME) ?? '',
    mac: attributes.mac(IFLA.IFLA_ADDRESS),
    permanentMac: attributes.mac(IFLA.IFLA_PERM_ADDRESS),
    mtu: attributes.u32(IFLA.IFLA_MTU) ?? 0,
    up: (flags & IFF_UP) !== 0,
    carrier: (flags & IFF_LOWER_UP) !== 0,
    operState: OPER_STATES[attributes.u8(IFLA.IFLA_OPERSTATE) ?? 0] ?? 'unknown',
    kind: attributes.nested(IFLA.IFLA_LINKINFO)?.text(IFLA_INFO_KIND),
    alias: attributes.text(IFLA.IFLA_IFALIAS),
    alternativeNames: readAlternativeNames(attributes.bytes(IFLA.IFLA_PROP_LIST)),
    master: master === 0 ? undefined : master,
    parent: attributes.u32(IFLA.IFLA_LINK),
    parentNamespaceId: attributes.u32(IFLA.IFLA_LINK_NETNSID),
    device: device === undefined ? undefined : { bus, name: device },
  };
}

function readAlternativeNames(list: Buffer | undefined): string[] {
  if (list === undefined) return [];
  return readAttributes(list)
    .filter(({ type }) => type === IFLA.IFLA_ALT_IFNAME)
    .map(({ value }) => value.toString('utf8', 0, value.length - 1));
}

function linkInfo(kind: string, data: Attribute[] = []): Buffer {
  return nested(IFLA.IFLA_LINKINFO, [
    text(IFLA_INFO_KIND, kind),
    data.length > 0 ? nested(IFLA_INFO_DATA, data) : undefined,
  ]);
}

function linkRequest(
  type: number,
  flags: number,
  what: string,
  target: LinkTarget,
  attributes: Attribute[] = [],
  up?: boolean,
): Request {
  const byName = typeof target === 'string' ? [text(IFLA.IFLA_IFNAME, target)] : [];
  return {
    type,
    flags,
    header: linkHeader(typeof target === 'number' ? target : 0, up),
    attributes: [...byName, ...attributes],
    what,
    names: IFLA,
  };
}

/** `struct ifinfomsg`; without `up` that flag is left as it is. */
export function linkHeader(index = 0, up?: boolean): Buffer {
  const header = Buffer.alloc(HEADER);
  header.writeInt32LE(index, 4);
  if (up !== undefined) {
    header.writeUInt32LE(up ? IFF_UP : 0, 8);
    header.writeUInt32LE(IFF_UP, 12);
  }
  return header;
}
