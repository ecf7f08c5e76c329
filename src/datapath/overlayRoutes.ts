import { familyOf, type IP } from '../address/ip.ts';
import { type Prefix, samePrefix } from '../address/prefix.ts';
import { LINK_GATEWAY } from '../attach/plan.ts';
import {
  deleteRoute,
  type InstalledRoute,
  listRoutes,
  type Route,
  replaceRoute,
  TOMBOLO,
} from '../netlink/route.ts';
import type { Netlink } from '../netlink/socket.ts';

/** Before what BGP says of the same prefix: which way a node is reached is decided in one place. */
export const OVERLAY_PRIORITY = 10;

/**
 * Routes these prefixes into the overlay, and no others: for the node's own packets, and those of pods that its stack
 * forwards. They carry the node's own overlay address, whatever the uplink's is.
 *
 * @param index Of the overlay's device.
 * @param addresses The node's own in the overlay, at most one of each family.
 */
export function writeOverlayRoutes(
  node: Netlink,
  index: number,
  prefixes: readonly Prefix[],
  addresses: readonly IP[],
): void {
  const installed = listRoutes(node, { protocol: TOMBOLO, index });
  const wanted = prefixes.map((prefix) => routeTo(prefix, index, addresses));
  const missing = wanted.filter((route) => !installed.some((one) => isSame(one, route)));
  const excess = installed.filter(({ prefix }) => !wanted.some((route) => samePrefix(route.prefix, prefix)));
  node.batch((batch) => {
    for (const route of missing) replaceRoute(batch, route);
    for (const { prefix, priority } of excess) {
      deleteRoute(batch, { prefix, priority, protocol: TOMBOLO, nextHops: [{ index }] });
    }
  });
}

function routeTo(prefix: Prefix, index: number, addresses: readonly IP[]): Route {
  const family = familyOf(prefix.address);
  const preferredSource = addresses.find((address) => familyOf(address) === family);
  const gateway = LINK_GATEWAY[family];
  return {
    prefix,
    priority: OVERLAY_PRIORITY,
    preferredSource,
    nextHops: [{ index, gateway, onLink: true }],
  };
}

function isSame(installed: InstalledRoute, { prefix, priority, preferredSource }: Route): boolean {
  return (
    samePrefix(installed.prefix, prefix) &&
    installed.priority === priority &&
    installed.preferredSource === preferredSource
  );
}
