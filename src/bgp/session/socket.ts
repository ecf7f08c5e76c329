/**
 * TCP sockets with what BGP needs and Node does not offer: keys (RFC 2385), hop limits, a device, a source
 * address. They are made here and then handed to Node by descriptor.
 */
import { closeSync } from 'node:fs';
import { bytesOf, formatIP, type IP, isIPv4 } from '../../address/ip.ts';
import { hostPrefix, type Prefix } from '../../address/prefix.ts';
import { koffi } from '../../ffi/koffi.ts';
import { checked, libc } from '../../ffi/libc.ts';
import { SystemError } from '../../ffi/systemError.ts';
import type { Endpoint } from '../config/router.ts';

const AF_INET = 2;
const AF_INET6 = 10;
const SOCK_STREAM = 1;
const SOCK_FLAGS = 0o2004000; // CLOEXEC and NONBLOCK

const SOL_SOCKET = 1;
const SO_REUSEADDR = 2;
const SO_BINDTODEVICE = 25;

const IPPROTO_TCP = 6;
const TCP_NODELAY = 1;
const TCP_MD5SIG = 14;
const TCP_MD5SIG_EXT = 32;

/** The two families' names for one thing: level, then option. */
const TTL = { 4: [0, 2], 6: [41, 16] } as const;
const MINIMUM_TTL = { 4: [0, 21], 6: [41, 73] } as const;
const TRAFFIC_CLASS = { 4: [0, 1], 6: [41, 67] } as const;
const IP_FREEBIND = [0, 15] as const;
const IPV6_V6ONLY = [41, 26] as const;

/** Internet network control: routers do not drop BGP first when a link is full (RFC 4271 appendix E). */
const CS6 = 0xc0;

const EAGAIN = 11;
/** Connections that died in the queue: accept(2) says so, and the next one may be sound. */
const SKIPPED = new Set([4, 71, 103, 92, 100, 112, 113, 95, 101]);
/** The most half-open connections the kernel keeps for us; thousands of peers may come back together. */
const BACKLOG = 4096;
const MSG_DONTWAIT = 0x40;
const MSG_NOSIGNAL = 0x4000;

type Family = 4 | 6;

type Calls = ReturnType<typeof declare>;
let declared: Calls | undefined;

function calls(): Calls {
  declared ??= declare();
  return declared;
}

function declare() {
  type Address = (fd: number, address: Buffer, length: number) => number;
  type Option = (fd: number, level: number, option: number, value: Buffer, length: number) => number;
  return {
    socket: libc<(family: number, type: number, protocol: number) => number>('int socket(int, int, int)'),
    bind: libc<Address>('int bind(int, void *, unsigned int)'),
    listen: libc<(fd: number, backlog: number) => number>('int listen(int, int)'),
    accept: libc<(fd: number, address: Buffer, length: Buffer, flags: number) => number>(
      'int accept4(int, void *, void *, int)',
    ),
    setsockopt: libc<Option>('int setsockopt(int, int, int, void *, unsigned int)'),
    send: libc<(fd: number, bytes: Uint8Array, length: number, flags: number) => number>(
      'intptr_t send(int, void *, size_t, int)',
    ),
    getsockname: libc<(fd: number, address: Buffer, length: Buffer) => number>(
      'int getsockname(int, void *, void *)',
    ),
  };
}

/** How far a session's packets may travel. */
export interface Reach {
  /** Of what we send, 1 to 255. */
  readonly ttl: number;
  /** Packets that arrive with less are dropped by the kernel (RFC 5082); 0 takes all. */
  readonly minimumTtl: number;
}

export interface DialOptions extends Reach {
  readonly password?: string;
  readonly sourceAddress?: IP;
  readonly device?: string;
}

/**
 * A socket to dial `peer` from, not connected yet.
 *
 * @throws {SystemError} If the kernel refuses an option; the descriptor is closed then.
 */
export function openDialSocket(peer: IP, options: DialOptions): number {
  const family = isIPv4(peer) ? 4 : 6;
  return opened(family, (fd) => {
    if (options.device !== undefined) bindToDevice(fd, options.device);
    if (options.password !== undefined) setKey(fd, hostPrefix(peer), options.password);
    setReach(fd, family, options);
    tune(fd, family);
    if (options.sourceAddress !== undefined) bindAddress(fd, { address: options.sourceAddress, port: 0 });
  });
}

/**
 * A listening socket. It takes IPv6 alone or IPv4 alone: keys and hop limits are per family. Answers to a
 * SYN carry its hop limit, which is the greatest there is, so that peers with TTL security accept them.
 *
 * @throws {SystemError} If the address is taken or not allowed.
 */
export function openListenSocket(endpoint: Endpoint): number {
  const family = isIPv4(endpoint.address) ? 4 : 6;
  const where = `${formatIP(endpoint.address)} port ${endpoint.port}`;
  return opened(family, (fd) => {
    set(fd, [SOL_SOCKET, SO_REUSEADDR], 1);
    if (family === 6) set(fd, IPV6_V6ONLY, 1);
    setReach(fd, family, { ttl: 255, minimumTtl: 0 });
    tune(fd, family);
    bindAddress(fd, endpoint);
    checked(calls().listen(fd, BACKLOG), `listen on ${where}`);
  });
}

export interface Accepted {
  readonly fd: number;
  readonly peer: IP;
  /** Of a link-local peer: the number of its device. */
  readonly scope: number;
}

/**
 * The next connection that waits, or `undefined`.
 *
 * @throws {SystemError} `EMFILE` and the like: there are no descriptors or no memory left.
 */
export function acceptNext(listener: number): Accepted | undefined {
  const address = Buffer.alloc(28);
  for (;;) {
    const length = lengthOf(address);
    const fd = calls().accept(listener, address, length, SOCK_FLAGS);
    if (fd >= 0) return { fd, ...readAddress(address) };
    const errno = koffi().errno();
    if (errno === EAGAIN) return undefined;
    if (!SKIPPED.has(errno)) throw new SystemError('accept a connection', errno);
  }
}

/** What an accepted socket does not get from the listener. @throws {SystemError} */
export function prepareAccepted(fd: number, peer: IP, reach: Reach): void {
  const family = isIPv4(peer) ? 4 : 6;
  setReach(fd, family, reach);
  tune(fd, family);
}

/** The local address of a connected socket. @throws {SystemError} */
export function localAddressOf(fd: number): { readonly address: IP; readonly port: number } {
  const address = Buffer.alloc(28);
  const length = lengthOf(address);
  checked(calls().getsockname(fd, address, length), 'read the local address of a socket');
  return { address: readAddress(address).peer, port: address.readUInt16BE(2) };
}

/**
 * Sets the key for everybody in `peers`, or takes it away. On a listener before the SYN arrives; on a connected
 * socket too, where both sides change it within a retransmission time.
 *
 * @throws {SystemError} `EINVAL` for a key of more than 80 bytes; `ENOENT` for taking away what is not there.
 */
export function setKey(fd: number, peers: Prefix, password: string | undefined): void {
  const key = Buffer.from(password ?? '');
  const single = hostPrefix(peers.address).length === peers.length;
  const signature = Buffer.alloc(216); // struct tcp_md5sig, linux/tcp.h
  socketAddress({ address: peers.address, port: 0 }).copy(signature, 0);
  signature.writeUInt8(single ? 0 : 1, 128); // TCP_MD5SIG_FLAG_PREFIX
  signature.writeUInt8(single ? 0 : peers.length, 129);
  signature.writeUInt16LE(key.length, 130);
  if (key.length > 80)
    throw new RangeError(`Cannot set TCP MD5 key: the longest is 80 bytes (value ${key.length})`);
  key.copy(signature, 136);
  const option = single ? TCP_MD5SIG : TCP_MD5SIG_EXT;
  const result = calls().setsockopt(fd, IPPROTO_TCP, option, signature, signature.length);
  checked(result, `set the TCP MD5 key for ${formatIP(peers.address)}/${peers.length}`);
}

/** How many of the bytes the kernel takes at once; errors are 0, and come again where the stream is written to. */
export function sendNow(fd: number, bytes: Uint8Array): number {
  return Math.max(0, calls().send(fd, bytes, bytes.length, MSG_DONTWAIT | MSG_NOSIGNAL));
}

function opened(family: Family, prepare: (fd: number) => void): number {
  const { socket } = calls();
  const fd = checked(
    socket(family === 4 ? AF_INET : AF_INET6, SOCK_STREAM | SOCK_FLAGS, 0),
    'open a TCP socket',
  );
  try {
    prepare(fd);
    return fd;
  } catch (error) {
    closeSync(fd);
    throw error;
  }
}

function setReach(fd: number, family: Family, { ttl, minimumTtl }: Reach): void {
  set(fd, TTL[family], ttl);
  if (minimumTtl > 0) set(fd, MINIMUM_TTL[family], minimumTtl);
}

function tune(fd: number, family: Family): void {
  set(fd, [IPPROTO_TCP, TCP_NODELAY], 1);
  set(fd, TRAFFIC_CLASS[family], CS6);
}

function bindToDevice(fd: number, device: string): void {
  const name = Buffer.from(`${device}\0`);
  const result = calls().setsockopt(fd, SOL_SOCKET, SO_BINDTODEVICE, name, name.length);
  checked(result, `bind a socket to device ${device}`);
}

/** An address may be ours only after a link has come up: IP_FREEBIND binds to it all the same. */
function bindAddress(fd: number, endpoint: Endpoint): void {
  set(fd, IP_FREEBIND, 1);
  const address = socketAddress(endpoint);
  const where = `${formatIP(endpoint.address)} port ${endpoint.port}`;
  checked(calls().bind(fd, address, address.length), `bind a socket to ${where}`);
}

function set(fd: number, [level, option]: readonly [number, number], value: number): void {
  const bytes = Buffer.alloc(4);
  bytes.writeInt32LE(value);
  checked(calls().setsockopt(fd, level, option, bytes, 4), `set socket option ${level}/${option}`);
}

/** struct sockaddr_in or sockaddr_in6: family in host order, port in network order. */
function socketAddress({ address, port }: Endpoint): Buffer {
  const v4 = isIPv4(address);
  const bytes = Buffer.alloc(v4 ? 16 : 28);
  bytes.writeUInt16LE(v4 ? AF_INET : AF_INET6, 0);
  bytes.writeUInt16BE(port, 2);
  bytesOf(address).copy(bytes, v4 ? 4 : 8);
  return bytes;
}

function readAddress(bytes: Buffer): { readonly peer: IP; readonly scope: number } {
  if (bytes.readUInt16LE(0) === AF_INET) return { peer: bytes.readUInt32BE(4) as IP, scope: 0 };
  const high = bytes.readBigUInt64BE(8);
  return { peer: ((high << 64n) | bytes.readBigUInt64BE(16)) as IP, scope: bytes.readUInt32LE(24) };
}

function lengthOf(buffer: Buffer): Buffer {
  const length = Buffer.alloc(4);
  length.writeUInt32LE(buffer.length);
  return length;
}
