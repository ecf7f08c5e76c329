import type { Family, IP } from '../address/ip.ts';
import { parseIP } from '../address/ip.ts';
import { hasCode } from '../ffi/systemError.ts';
import { getLink } from '../netlink/link.ts';
import { lookUpRoute } from '../netlink/route.ts';
import type { Netlink } from '../netlink/socket.ts';
import { linksWithSysctls, readSysctl, setSysctl } from './sysctl.ts';

/**
 * Lets the node forward. A property of the node, not of one attachment: it stays when the pod goes.
 *
 * @remarks Runs in the node's namespace.
 */
export function enableForwarding(family: Family): void {
  if (family === 4) {
    setSysctl('ipv4/ip_forward', '1');
    return;
  }
  if (readSysctl('ipv6/conf/all/forwarding') !== '0') return;
  // A router ignores router advertisements, and a node that has its default route from one would lose it;
  // 2 accepts them all the same (Documentation/networking/ip-sysctl.rst).
  for (const link of linksWithSysctls('ipv6')) {
    if (readSysctl(`ipv6/conf/${link}/accept_ra`) === '1') setSysctl(`ipv6/conf/${link}/accept_ra`, '2');
  }
  setSysctl('ipv6/conf/all/forwarding', '1');
}

/** Addresses that mean nobody (RFC 7600, RFC 6666): only a default route, or none, leads there. */
const ELSEWHERE: readonly IP[] = [parseIP('192.0.0.8'), parseIP('100::1')];

const ETHERNET_MTU = 1500;

/** The index of the link the node's default route leaves by, if it has one. */
export function defaultLinks(nl: Netlink): number[] {
  return ELSEWHERE.flatMap((address) => linksTowards(nl, address));
}

function linksTowards(nl: Netlink, address: IP): number[] {
  try {
    const links = lookUpRoute(nl, address).nextHops.map(({ index }) => index);
    return links.filter((index) => index !== undefined);
  } catch (error) {
    if (hasCode(error, 'ENETUNREACH', 'EHOSTUNREACH', 'EACCES', 'EINVAL')) return [];
    throw error;
  }
}

/** The MTU towards the rest of the world: that of the default route's link; 1500 without one. */
export function uplinkMtu(nl: Netlink): number {
  return knownUplinkMtu(nl) ?? ETHERNET_MTU;
}

/** Undefined while there is no default route. */
export function knownUplinkMtu(nl: Netlink): number | undefined {
  for (const address of ELSEWHERE) {
    const [index] = linksTowards(nl, address);
    if (index !== undefined) return getLink(nl, index).mtu;
  }
  return undefined;
}
