import type { IP } from '../address/ip.ts';
import { type KernelEvent, type Monitor, monitor } from '../netlink/monitor.ts';
import { listRoutes, MAIN_TABLE, TOMBOLO } from '../netlink/route.ts';
import type { Netlink } from '../netlink/socket.ts';

/** The node's default gateways, the best one of each family. A default route that we learned ourselves is none. */
export function defaultGateways(netlink: Netlink): IP[] {
  return ([4, 6] as const).flatMap((family) => {
    const [best] = listRoutes(netlink, { family, table: MAIN_TABLE, type: 'unicast' })
      .filter(({ prefix, protocol }) => prefix.length === 0 && protocol !== TOMBOLO)
      .sort((a, b) => (a.priority ?? 0) - (b.priority ?? 0));
    return best?.nextHops[0]?.gateway ?? [];
  });
}

/** Calls `changed` when the default gateways may be others than before. */
export function watchGateways(changed: () => void): Monitor {
  const concerns = (event: KernelEvent) =>
    event.kind === 'overrun' ||
    (event.kind === 'route' && event.route.prefix.length === 0 && event.route.protocol !== TOMBOLO);
  return monitor(['route'], (event) => {
    if (concerns(event)) changed();
  });
}
