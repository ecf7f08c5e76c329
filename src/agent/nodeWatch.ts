import type { Log } from '../log.ts';
import { type KernelEvent, type Monitor, monitor } from '../netlink/monitor.ts';
import { type DetectedNode, describeNode } from './detect.ts';
import { settling } from './settling.ts';
import { LOOPBACK } from './uplinks.ts';

/** A device that is made anew is given its addresses and routes within this time, mostly. */
const SETTLE_MS = 50;

/** What the kernel has refused is tried again after this. */
const RETRY_MS = 1_000;

/**
 * Follows devices, addresses and default routes of the node, and calls `changed` when its uplinks or addresses are others
 * than before. What it throws is told, and it is called again.
 *
 * @param names Of uplinks that the configuration names.
 */
export function watchNode(
  node: DetectedNode,
  names: readonly string[],
  changed: () => void,
  log: Log,
): Monitor {
  let pending = false;
  const settle = settling(
    SETTLE_MS,
    () => {
      if (!node.look() && !pending) return;
      pending = true;
      changed();
      pending = false;
      log.info('uplinks or addresses of the node have changed', describeNode(node));
    },
    (error) => {
      log.error('the node has changed, and the datapath cannot follow; it is tried again', { error });
      settle.later(RETRY_MS);
    },
  );
  const watch = monitor(['link', 'address', 'route'], (event) => {
    if (concerns(event, node, names)) settle.soon();
  });
  const close = () => {
    watch.close();
    void settle.stop();
  };
  return { close, [Symbol.dispose]: close };
}

/** Pods come and go with links, addresses and routes of theirs: those are not looked at. */
function concerns(event: KernelEvent, { uplinks, ips }: DetectedNode, names: readonly string[]): boolean {
  const isUplink = (index: number) => uplinks.some((uplink) => uplink.index === index);
  switch (event.kind) {
    case 'overrun':
      return true;
    case 'link':
      return isUplink(event.index) || (names.length > 0 && names.includes(event.link.name));
    case 'address':
      return (
        isUplink(event.address.index) ||
        event.address.index === LOOPBACK ||
        ips.includes(event.address.address.address)
      );
    case 'route':
      return event.route.prefix.length === 0;
    default:
      return false;
  }
}
