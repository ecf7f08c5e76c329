import { SystemError } from '../ffi/systemError.ts';
import { deleteGroupRequest, deleteLinkRequest, getLink, type LinkTarget, setLink } from './link.ts';
import { type Monitor, monitor } from './monitor.ts';
import { namespaceIdentity } from './namespace.ts';
import { type Netlink, openNetlink } from './socket.ts';

export interface Deletion {
  /** Settles when the link is gone for everybody, or the kernel has refused. */
  readonly gone: Promise<void>;
}

/** The group that links are in which are to go together, in `ip link show group`: "tbo" in ASCII. */
export const DOOMED = 0x74626f;

const ENODEV = 19;

/** How many threads of libuv's pool, which has four, wait for the kernel; the disk needs one. */
const THREADS = 3;

/**
 * Deletes a link of the namespace this thread is in, without waiting for the kernel's housekeeping.
 *
 * Once a link is out of all lists the kernel announces it, and then keeps the caller waiting some 15 ms more
 * until every CPU has let go of the memory (rcu_barrier in netdev_run_todo, net/core/dev.c). A thread of the
 * pool waits there in our place; we go on at the announcement, after 0.6 ms. Links that are to go while the kernel
 * is at work with others go all at once after that: it waits as long for a hundred as for one.
 *
 * @param kind What it has to be: a link of another kind is somebody else's. `ENODEV` if there is none.
 * @returns Not a bare promise, so that it can be called in a namespace window.
 */
export function startDeletion(target: LinkTarget, kind: string): Deletion {
  const { device, inode } = namespaceIdentity();
  const key = `${device}:${inode}`;
  const queue = queues.get(key) ?? new Queue(() => queues.delete(key));
  queues.set(key, queue);
  return { gone: queue.add(target, kind) };
}

/** By network namespace, as long as there is anything to do. */
const queues = new Map<string, Queue>();

interface Doomed {
  readonly target: LinkTarget;
  readonly kind: string;
  readonly resolve: () => void;
  readonly reject: (error: unknown) => void;
}

/** One that has been found. */
type Going = Doomed & { readonly index: number };

class Queue {
  readonly #onEmpty: () => void;
  readonly #watch: Monitor;
  #waiting: Doomed[] = [];
  /** What the kernel has been told to delete, and has not announced. */
  readonly #going = new Set<Going>();
  /** Opened when something is added, since only then this thread is surely in the namespace. */
  readonly #sockets: Netlink[] = [];
  #threads = 0;

  constructor(onEmpty: () => void) {
    this.#onEmpty = onEmpty;
    this.#watch = monitor(['link'], (event) => {
      if (event.kind === 'link' && event.change === 'deleted') this.#announced(event.index);
    });
  }

  add(target: LinkTarget, kind: string): Promise<void> {
    try {
      if (this.#sockets.length + this.#threads < THREADS) this.#sockets.push(openNetlink());
    } catch (error) {
      if (this.#sockets.length + this.#threads === 0) this.#close();
      throw error;
    }
    // Whoever else is to go may be called for at the same time.
    setImmediate(() => this.#start());
    return new Promise((resolve, reject) => this.#waiting.push({ target, kind, resolve, reject }));
  }

  #announced(index: number): void {
    for (const doomed of this.#going) {
      if (doomed.index !== index) continue;
      this.#going.delete(doomed);
      doomed.resolve();
    }
    this.#start();
  }

  /** Not while links are going: RTNL lets nobody else in until then, and whoever only looks for a link has to wait, too. */
  #start(): void {
    const socket = this.#going.size === 0 && this.#waiting.length > 0 ? this.#sockets.pop() : undefined;
    if (socket === undefined) return;
    const batch = this.#waiting;
    this.#waiting = [];
    this.#threads++;
    void this.#delete(socket, batch).finally(() => {
      this.#threads--;
      this.#sockets.push(socket);
      if (this.#waiting.length > 0) this.#start();
      else if (this.#threads === 0) this.#close();
    });
  }

  async #delete(socket: Netlink, batch: readonly Doomed[]): Promise<void> {
    const going = batch.flatMap((doomed) => find(socket, doomed, batch.length > 1));
    const [first] = going;
    if (first === undefined) return;
    for (const each of going) this.#going.add(each);
    const request = batch.length > 1 ? deleteGroupRequest(DOOMED) : deleteLinkRequest(first.index);
    try {
      await socket.applyAsync(request);
      for (const { resolve } of going) resolve();
    } catch (error) {
      // A failure after the announcement concerns nobody.
      for (const { reject } of going) reject(error);
    } finally {
      for (const each of going) this.#going.delete(each);
    }
  }

  #close(): void {
    this.#watch.close();
    for (const socket of this.#sockets) socket.close();
    this.#onEmpty();
  }
}

/** The link, put into the group of those that go where there are several; nothing if it is not there. */
function find(socket: Netlink, doomed: Doomed, mark: boolean): Going[] {
  const { target, kind, reject } = doomed;
  try {
    const link = getLink(socket, target);
    if (link.kind !== kind)
      throw new SystemError(`delete ${kind} link ${target}`, ENODEV, `it is ${link.kind}`);
    if (mark) setLink(socket, link.index, { group: DOOMED });
    return [{ ...doomed, index: link.index }];
  } catch (error) {
    reject(error);
    return [];
  }
}
