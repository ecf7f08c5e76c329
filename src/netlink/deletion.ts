import { deleteLinkRequest } from './link.ts';
import { monitor } from './monitor.ts';
import { openNetlink } from './socket.ts';

export interface Deletion {
  /** Settles when the link is gone for everybody, or the kernel has refused. */
  readonly gone: Promise<void>;
}

/**
 * Deletes a link of the namespace this thread is in, without waiting for the kernel's housekeeping.
 *
 * Once a link is out of all lists the kernel announces it, and then keeps the caller waiting some 15 ms more
 * until every CPU has let go of the memory (rcu_barrier in netdev_run_todo, net/core/dev.c). A thread of the
 * pool waits there in our place; we go on at the announcement, after 0.6 ms.
 *
 * @returns Not a bare promise, so that it can be called in a namespace window.
 */
export function startDeletion(index: number): Deletion {
  const nl = openNetlink();
  let announced = () => {};
  const announcement = new Promise<void>((resolve) => {
    announced = resolve;
  });
  const watch = monitor(['link'], (event) => {
    if (event.kind === 'link' && event.change === 'deleted' && event.link.index === index) announced();
  });
  const answered = nl.applyAsync(deleteLinkRequest(index)).finally(() => {
    watch.close();
    nl.close();
  });
  // A failure after the announcement would concern nobody.
  answered.catch(() => {});
  return { gone: Promise.race([announcement, answered]) };
}
