import { closeSync } from 'node:fs';
import { koffi } from '../ffi/koffi.ts';
import { checked } from '../ffi/libc.ts';
import { SystemError } from '../ffi/systemError.ts';
import {
  type Message,
  NLM_F_ACK,
  NLM_F_DUMP,
  NLM_F_DUMP_INTR,
  type Request,
  readAnswer,
  readMessages,
  refusal,
  writeMessage,
} from './message.ts';
import { recv, send, setsockopt, socket } from './syscalls.ts';

const AF_NETLINK = 16;
const SOCK_RAW_CLOEXEC = 0o2000003;
const NETLINK_ROUTE = 0;
export const SOL_NETLINK = 270;
/** Errors do not repeat the request (Linux 4.3), explain themselves (4.12); dumps filter in the kernel (4.20). */
const NETLINK_CAP_ACK = 10;
const NETLINK_EXT_ACK = 11;
const NETLINK_GET_STRICT_CHK = 12;

const EINTR = 4;
const EAGAIN = 11;

const MSG_DONTWAIT = 0x40;
/** recv(2) then tells the true length of a datagram that was cut. */
const MSG_TRUNC = 0x20;

/** The kernel fills a dump's datagrams up to 32 KiB (net/netlink/af_netlink.c). */
const RECEIVE_BUFFER = 1 << 16;
/** One for all sockets: what is received is copied out before anybody else has a turn. */
const received = Buffer.alloc(RECEIVE_BUFFER);
/** Every acknowledgement waits in the receive buffer, where an empty datagram already counts 768 bytes. */
const BATCH_MESSAGES = 64;
const BATCH_BYTES = 1 << 15;
const DUMP_ATTEMPTS = 10;

/** Where a change goes: to the kernel at once, or into a batch. */
export interface Sink {
  apply(change: Request): void;
}

/**
 * An rtnetlink socket, bound for its whole life to the network namespace it was opened in.
 *
 * Requests are synchronous: the kernel has answered when send(2) returns, so nothing ever waits in recv(2).
 */
export interface Netlink extends Sink, Disposable {
  /** @throws {SystemError} If the kernel refuses, with its errno and explanation. */
  apply(change: Request): void;
  /** Like {@link apply}, from a thread of the pool; nobody else may use the socket meanwhile. */
  applyAsync(change: Request): Promise<void>;
  /**
   * Sends what `fill` puts in as few system calls as possible. The kernel tries every change, also after one
   * that it refused.
   *
   * @throws {SystemError} The first refusal.
   */
  batch(fill: (batch: Sink) => void): void;
  /** One request and the objects it is answered with. @throws {SystemError} If the kernel refuses. */
  query(request: Request): Message[];
  /**
   * All objects of a kind. A dump that changes ran into is begun again.
   *
   * @throws {SystemError} If the kernel refuses; `EINTR` if changes never cease.
   */
  dump(request: Request): Message[];
  close(): void;
}

/** @throws {SystemError} If there can be no socket. */
export function openNetlink(): Netlink {
  return new RouteSocket(openRouteSocket());
}

/** A bare socket with the options every use wants. */
export function openRouteSocket(): number {
  const fd = checked(socket()(AF_NETLINK, SOCK_RAW_CLOEXEC, NETLINK_ROUTE), 'open a netlink socket');
  for (const option of [NETLINK_CAP_ACK, NETLINK_EXT_ACK, NETLINK_GET_STRICT_CHK]) {
    // Where the kernel is too old for one of them, errors say less and dumps more.
    setsockopt()(fd, SOL_NETLINK, option, Buffer.from([1, 0, 0, 0]), 4);
  }
  return fd;
}

/**
 * The next datagram, or `undefined` when none is waiting.
 *
 * @throws {SystemError} `ENOBUFS` if the kernel had to drop some.
 */
export function receive(fd: number, buffer: Buffer): Buffer | undefined {
  const length = recv()(fd, buffer, buffer.length, MSG_DONTWAIT | MSG_TRUNC);
  if (length > buffer.length) {
    throw new RangeError(`Cannot receive from netlink: datagram too long (value ${length} bytes)`);
  }
  if (length >= 0) return Buffer.from(buffer.subarray(0, length));
  const errno = koffi().errno();
  if (errno === EAGAIN) return undefined;
  throw new SystemError('receive from netlink', errno);
}

class RouteSocket implements Netlink {
  #fd: number;
  #sequence = 0;
  #busy = false;

  constructor(fd: number) {
    this.#fd = fd;
  }

  close(): void {
    if (this.#fd >= 0) closeSync(this.#fd);
    this.#fd = -1;
  }

  [Symbol.dispose](): void {
    this.close();
  }

  apply(change: Request): void {
    this.query(change);
  }

  query(request: Request): Message[] {
    const first = this.#claim(1);
    this.#send(writeMessage(acknowledged(request), first), request.what);
    return this.#settle([request], first);
  }

  async applyAsync(change: Request): Promise<void> {
    const first = this.#claim(1);
    const bytes = writeMessage(acknowledged(change), first);
    this.#busy = true;
    try {
      await new Promise<void>((resolve, reject) => {
        send().async(this.#fd, bytes, bytes.length, 0, (error: unknown, sent: number) => {
          if (error) reject(error);
          else if (sent < 0) reject(new SystemError(change.what, koffi().errno()));
          else resolve();
        });
      });
      this.#settle([change], first);
    } finally {
      this.#busy = false;
    }
  }

  batch(fill: (batch: Sink) => void): void {
    const changes: Request[] = [];
    fill({ apply: (change) => changes.push(change) });
    let refused: unknown;
    for (const part of parts(changes)) {
      try {
        this.#exchange(part);
      } catch (error) {
        refused ??= error;
      }
    }
    if (refused !== undefined) throw refused;
  }

  dump(request: Request): Message[] {
    for (let attempt = 0; attempt < DUMP_ATTEMPTS; attempt++) {
      const sequence = this.#claim(1);
      this.#send(writeMessage({ ...request, flags: request.flags | NLM_F_DUMP }, sequence), request.what);
      let interrupted = false;
      const objects = this.#settle([request], sequence, (message) => {
        interrupted ||= (message.flags & NLM_F_DUMP_INTR) !== 0;
      });
      if (!interrupted) return objects;
    }
    throw new SystemError(request.what, EINTR, `changes interrupted the dump ${DUMP_ATTEMPTS} times`);
  }

  #exchange(changes: Request[]): void {
    const first = this.#claim(changes.length);
    const last = changes.length - 1;
    // Refusals come unasked.
    const bytes = changes.map((change, index) =>
      writeMessage(index === last ? acknowledged(change) : change, first + index),
    );
    this.#send(Buffer.concat(bytes), changes[0]?.what ?? 'send to netlink');
    this.#settle(changes, first);
  }

  /** Takes `count` sequence numbers; the first of them. */
  #claim(count: number): number {
    if (this.#fd < 0) throw new Error('Cannot use netlink socket: it is closed');
    if (this.#busy) throw new Error('Cannot use netlink socket: an asynchronous request is under way');
    if (this.#sequence + count > 0xffffffff) this.#sequence = 0;
    const first = this.#sequence + 1;
    this.#sequence += count;
    return first;
  }

  #send(bytes: Buffer, what: string): void {
    checked(send()(this.#fd, bytes, bytes.length, 0), what);
  }

  /**
   * Receives until the last of the requests, numbered from `first`, is answered: the kernel takes them in turn. Answers
   * with other numbers are what an earlier failure has left unread.
   */
  #settle(requests: Request[], first: number, see?: (message: Message) => void): Message[] {
    const objects: Message[] = [];
    let refused: SystemError | undefined;
    const last = requests.at(-1);
    for (let done = false; !done; ) {
      const datagram = receive(this.#fd, received);
      if (datagram === undefined) {
        throw new Error(`Cannot ${requests[0]?.what}: the kernel gave no answer`);
      }
      for (const message of readMessages(datagram)) {
        const request = requests[message.sequence - first];
        if (request === undefined) continue;
        see?.(message);
        const answer = readAnswer(message);
        if (answer.kind === 'object') {
          objects.push(answer.message);
          continue;
        }
        done ||= request === last;
        if (answer.errno !== 0) refused ??= refusal(request, answer.errno, answer.explanation);
      }
    }
    if (refused) throw refused;
    return objects;
  }
}

/** Without an acknowledgement an echo or a single object would be the last word, and no sign of success. */
function acknowledged(request: Request): Request {
  return { ...request, flags: request.flags | NLM_F_ACK };
}

function* parts(changes: Request[]): Generator<Request[]> {
  let part: Request[] = [];
  let bytes = 0;
  for (const change of changes) {
    const size = change.attributes.reduce((sum, attribute) => sum + (attribute?.length ?? 0), 64);
    if (part.length === BATCH_MESSAGES || (part.length > 0 && bytes + size > BATCH_BYTES)) {
      yield part;
      part = [];
      bytes = 0;
    }
    part.push(change);
    bytes += size;
  }
  if (part.length > 0) yield part;
}
