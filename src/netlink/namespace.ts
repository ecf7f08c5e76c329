import { closeSync, fstatSync, openSync, stat, statSync } from 'node:fs';
import { koffi } from '../ffi/koffi.ts';
import { checked } from '../ffi/libc.ts';
import { SystemError } from '../ffi/systemError.ts';
import { getsockopt, setns, socket } from './syscalls.ts';

/** The namespace of the calling thread, which in a worker differs from that of the process. */
const CURRENT = '/proc/thread-self/ns/net';

const CLONE_NEWNET = 0x40000000;
const AF_INET = 2;
const SOCK_DGRAM_CLOEXEC = 0o2000002;
const SOL_SOCKET = 1;
const SO_NETNS_COOKIE = 71;
const ENOPROTOOPT = 92;

/** A namespace is the same as another when both numbers are; paths to it may be many. */
export interface NamespaceIdentity {
  readonly device: number;
  readonly inode: number;
}

let warmed = false;

/**
 * Starts libuv's thread pool where the process stands now. A thread inherits the namespace of its creator,
 * and the pool starts with its first job: were that in a pod, every later DNS look-up would happen there.
 * libuv starts all threads at once and waits for them, so when this returns they exist.
 */
export function warmPool(): void {
  if (warmed) return;
  stat('/', () => {});
  warmed = true;
}

/**
 * Runs `body` with this thread inside a network namespace, given by path or open descriptor.
 *
 * The window is synchronous: a body that returned a promise would run its rest outside, so it is refused.
 * If the way back fails the process aborts, for everything it did from then on would happen in a pod.
 *
 * @throws {SystemError} If the namespace cannot be opened or entered (`ENOENT`, `EPERM`; `EINVAL` for a
 * path that is no namespace).
 */
export function withNamespace<T>(namespace: string | number, body: () => T): T {
  warmPool();
  const home = openSync(CURRENT, 'r');
  try {
    enter(namespace);
    try {
      const result = body();
      if (result instanceof Promise) {
        throw new TypeError('Cannot leave the namespace: the body of a window must be synchronous');
      }
      return result;
    } finally {
      if (setns()(home, CLONE_NEWNET) !== 0) process.abort();
    }
  } finally {
    closeSync(home);
  }
}

function enter(namespace: string | number): void {
  if (typeof namespace === 'number') {
    checked(setns()(namespace, CLONE_NEWNET), `enter network namespace of descriptor ${namespace}`);
    return;
  }
  const target = openNamespace(namespace);
  try {
    checked(setns()(target, CLONE_NEWNET), `enter network namespace ${namespace}`);
  } finally {
    closeSync(target);
  }
}

/** Opens a namespace; the descriptor keeps it alive until it is closed. */
export function openNamespace(path: string): number {
  try {
    return openSync(path, 'r');
  } catch (error) {
    const errno = error instanceof Error && 'errno' in error ? Math.abs(Number(error.errno)) : 0;
    throw new SystemError(`open network namespace ${path}`, errno);
  }
}

/** Who a namespace is; without a path, the one this thread is in. */
export function namespaceIdentity(namespace: string | number = CURRENT): NamespaceIdentity {
  const stats = typeof namespace === 'number' ? fstatSync(namespace) : statSync(namespace);
  return { device: stats.dev, inode: stats.ino };
}

export function sameNamespace(a: NamespaceIdentity, b: NamespaceIdentity): boolean {
  return a.device === b.device && a.inode === b.inode;
}

/**
 * The cookie by which eBPF programs know the namespace this thread is in: unique as long as the kernel runs.
 * `undefined` before Linux 5.14.
 */
export function namespaceCookie(): bigint | undefined {
  const fd = checked(socket()(AF_INET, SOCK_DGRAM_CLOEXEC, 0), 'open a socket to ask for its namespace');
  try {
    const cookie = Buffer.alloc(8);
    const size = Buffer.alloc(4);
    size.writeUInt32LE(cookie.length);
    if (getsockopt()(fd, SOL_SOCKET, SO_NETNS_COOKIE, cookie, size) === 0) return cookie.readBigUInt64LE();
    const errno = koffi().errno();
    if (errno === ENOPROTOOPT) return undefined;
    throw new SystemError('read the cookie of a network namespace', errno);
  } finally {
    closeSync(fd);
  }
}
