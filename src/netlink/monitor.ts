import { closeSync } from 'node:fs';
import type { node } from 'koffi';
import { koffi } from '../ffi/koffi.ts';
import { checked } from '../ffi/libc.ts';
import { hasCode } from '../ffi/systemError.ts';
import { type AssignedAddress, RTM_DELADDR, RTM_NEWADDR, readAddress } from './address.ts';
import { AF_UNSPEC } from './family.ts';
import { RTM_DELTFILTER } from './filter.ts';
import { type Link, RTM_DELLINK, RTM_NEWLINK, readLink } from './link.ts';
import { type Message, readMessages } from './message.ts';
import { type Neighbour, RTM_DELNEIGH, RTM_NEWNEIGH, readNeighbour } from './neighbour.ts';
import { RTM_DELQDISC } from './qdisc.ts';
import { type InstalledRoute, inTables, RTM_DELROUTE, RTM_NEWROUTE, readRoute } from './route.ts';
import { RTM_DELRULE, RTM_NEWRULE, type Rule, readRule } from './rule.ts';
import { openRouteSocket, receive, SOL_NETLINK } from './socket.ts';
import { bind, setsockopt } from './syscalls.ts';

const AF_NETLINK = 16;
const SOCKADDR_NL = 12;
const NETLINK_ADD_MEMBERSHIP = 1;
const SOL_SOCKET = 1;
const SO_RCVBUF = 8;
const SO_RCVBUFFORCE = 33;

/** RTNLGRP_* of include/uapi/linux/rtnetlink.h. */
const GROUPS = {
  link: [1],
  neighbour: [3],
  filter: [4],
  address: [5, 9],
  route: [7, 11],
  rule: [8, 19],
} as const;
export type MonitoredKind = keyof typeof GROUPS;

/** Some 40,000 changes of routes. */
const RECEIVE_BUFFER = 32 << 20;
const DATAGRAM_BUFFER = 1 << 16;
/** How many datagrams are read before others get their turn. */
const DATAGRAMS_PER_TURN = 512;

type Change = 'new' | 'deleted';

/** `new` also tells of every change to what exists. */
export type KernelEvent =
  /** `link` is read when it is asked for: most who listen look at the number first, and at no more. */
  | { readonly kind: 'link'; readonly change: Change; readonly index: number; readonly link: Link }
  | { readonly kind: 'address'; readonly change: Change; readonly address: AssignedAddress }
  | { readonly kind: 'route'; readonly change: Change; readonly route: InstalledRoute }
  | { readonly kind: 'neighbour'; readonly change: Change; readonly neighbour: Neighbour }
  | { readonly kind: 'rule'; readonly change: Change; readonly rule: Rule }
  /** A filter of this device is gone, or several at once with the qdisc that carried them; not told where the device is gone, too. */
  | { readonly kind: 'filter'; readonly change: 'deleted'; readonly index: number }
  /** The kernel had to drop events: what is known must be compared with a dump. */
  | { readonly kind: 'overrun' };

export interface Monitor extends Disposable {
  close(): void;
}

export interface MonitorOptions {
  /** Bytes of events the kernel may queue. @default 32 MiB */
  readonly receiveBuffer?: number;
}

/**
 * Tells of changes in the namespace this thread is in, from now on; subscribe first, then dump.
 *
 * @throws {SystemError} If the kernel refuses the subscription.
 */
export function monitor(
  kinds: readonly MonitoredKind[],
  listener: (event: KernelEvent) => void,
  { receiveBuffer = RECEIVE_BUFFER }: MonitorOptions = {},
): Monitor {
  const fd = openRouteSocket();
  try {
    enlarge(fd, receiveBuffer);
    // A socket without a port of its own shares the kernel's, 0, and is passed over as the sender.
    checked(bind()(fd, sockaddrNetlink(), SOCKADDR_NL), 'bind a netlink socket');
    for (const group of kinds.flatMap((kind) => GROUPS[kind])) {
      const done = setsockopt()(fd, SOL_NETLINK, NETLINK_ADD_MEMBERSHIP, int(group), 4);
      checked(done, `subscribe to netlink group ${group}`);
    }
  } catch (error) {
    closeSync(fd);
    throw error;
  }
  return new RouteMonitor(fd, listener);
}

/** The kernel's limit holds for those without CAP_NET_ADMIN; theirs is then as large as it gets. */
function enlarge(fd: number, bytes: number): void {
  if (setsockopt()(fd, SOL_SOCKET, SO_RCVBUFFORCE, int(bytes), 4) === 0) return;
  setsockopt()(fd, SOL_SOCKET, SO_RCVBUF, int(bytes), 4);
}

class RouteMonitor implements Monitor {
  readonly #fd: number;
  readonly #listener: (event: KernelEvent) => void;
  readonly #buffer = Buffer.alloc(DATAGRAM_BUFFER);
  #overrun = false;
  /** Held, since koffi stops polling when its handle is collected. */
  #poll: node.PollHandle | undefined;

  constructor(fd: number, listener: (event: KernelEvent) => void) {
    this.#fd = fd;
    this.#listener = listener;
    this.#poll = koffi().node.poll(fd, { readable: true }, this.#onReadable);
  }

  close(): void {
    if (this.#poll === undefined) return;
    this.#poll.close();
    this.#poll = undefined;
    closeSync(this.#fd);
  }

  [Symbol.dispose](): void {
    this.close();
  }

  readonly #onReadable = () => {
    try {
      this.#drain();
    } finally {
      // An overrun is an error of the socket, and libuv stops polling at the first (uv__poll_io).
      if (this.#overrun) this.#poll?.start({ readable: true }, this.#onReadable);
      this.#overrun = false;
    }
  };

  #drain(): void {
    for (let turn = 0; turn < DATAGRAMS_PER_TURN && this.#poll !== undefined; turn++) {
      let datagram: Buffer | undefined;
      try {
        datagram = receive(this.#fd, this.#buffer);
      } catch (error) {
        if (!hasCode(error, 'ENOBUFS')) throw error;
        this.#overrun = true;
        this.#listener({ kind: 'overrun' });
        continue;
      }
      if (datagram === undefined) return;
      for (const message of readMessages(datagram)) {
        const event = readEvent(message);
        if (event !== undefined) this.#listener(event);
      }
    }
  }
}

/** `undefined` for what is none of ours: other families, the IPv6 cache. @throws {RangeError} If it is damaged. */
function readEvent(message: Message): KernelEvent | undefined {
  const { type, payload } = message;
  switch (type) {
    case RTM_NEWLINK:
    case RTM_DELLINK:
      // A port that leaves its bridge is announced as a deleted link, too, of the family of bridges.
      if (payload[0] !== AF_UNSPEC) return undefined;
      return {
        kind: 'link',
        change: changeOf(type, RTM_NEWLINK),
        index: payload.readInt32LE(4),
        get link() {
          return readLink(message);
        },
      };
    case RTM_NEWADDR:
    case RTM_DELADDR:
      return { kind: 'address', change: changeOf(type, RTM_NEWADDR), address: readAddress(message) };
    case RTM_NEWROUTE:
    case RTM_DELROUTE:
      if (!inTables(message)) return undefined;
      return { kind: 'route', change: changeOf(type, RTM_NEWROUTE), route: readRoute(message) };
    case RTM_NEWNEIGH:
    case RTM_DELNEIGH: {
      const neighbour = readNeighbour(message);
      return neighbour && { kind: 'neighbour', change: changeOf(type, RTM_NEWNEIGH), neighbour };
    }
    case RTM_NEWRULE:
    case RTM_DELRULE: {
      const rule = readRule(message);
      return rule && { kind: 'rule', change: changeOf(type, RTM_NEWRULE), rule };
    }
    case RTM_DELQDISC:
    case RTM_DELTFILTER:
      return { kind: 'filter', change: 'deleted', index: payload.readInt32LE(4) };
    default:
      return undefined;
  }
}

function changeOf(type: number, born: number): Change {
  return type === born ? 'new' : 'deleted';
}

/** Port 0: the kernel chooses one. */
function sockaddrNetlink(): Buffer {
  const address = Buffer.alloc(SOCKADDR_NL);
  address.writeUInt16LE(AF_NETLINK);
  return address;
}

function int(value: number): Buffer {
  const bytes = Buffer.alloc(4);
  bytes.writeInt32LE(value);
  return bytes;
}
