import { type IP, type IPv4, type IPv6, isIPv4, isLinkLocal } from '../../address/ip.ts';
import { listAddresses } from '../../netlink/address.ts';
import { listLinks } from '../../netlink/link.ts';
import { openNetlink } from '../../netlink/socket.ts';

/** The device a session goes through, and its addresses that peers may use as next hops. */
export interface Link {
  readonly device?: string;
  readonly ipv4?: IPv4;
  readonly ipv6?: IPv6;
}

interface Device {
  readonly name: string;
  readonly index: number;
  readonly addresses: readonly IP[];
}

let known: readonly Device[] | undefined;

/**
 * All devices in the network namespace of this thread. The kernel is asked once per turn of the event loop: when
 * thousands of peers come at once each wants to know. Node's `networkInterfaces` would leave out devices that carry
 * packets already, but that the kernel calls running only up to a second later (linkwatch).
 */
function devices(): readonly Device[] {
  if (known !== undefined) return known;
  const netlink = openNetlink();
  try {
    const assigned = listAddresses(netlink);
    known = listLinks(netlink).map(({ name, index }) => ({
      name,
      index,
      addresses: assigned.filter((one) => one.index === index).map(({ address }) => address.address),
    }));
  } finally {
    netlink.close();
  }
  setImmediate(() => {
    known = undefined;
  });
  return known;
}

/** The number of a device, as accept(2) tells it for link-local peers. */
export function scopeOf(device: string): number | undefined {
  return devices().find(({ name }) => name === device)?.index;
}

/** The device that carries `address`. */
export function linkOf(address: IP): Link {
  const device = devices().find(({ addresses }) => addresses.includes(address));
  if (device === undefined) return {};
  const ipv4 = device.addresses.find(isIPv4);
  const ipv6 = device.addresses.find((one): one is IPv6 => !isIPv4(one) && !isLinkLocal(one));
  return { device: device.name, ...(ipv4 !== undefined && { ipv4 }), ...(ipv6 !== undefined && { ipv6 }) };
}
