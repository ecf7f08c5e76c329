import { type NetworkInterfaceInfo, networkInterfaces } from 'node:os';
import {
  type IP,
  type IPv4,
  type IPv6,
  isIPv4,
  isLinkLocal,
  parseIPv4,
  parseIPv6,
} from '../../address/ip.ts';

/** The device a session goes through, and its addresses that peers may use as next hops. */
export interface Link {
  readonly device?: string;
  readonly ipv4?: IPv4;
  readonly ipv6?: IPv6;
}

let known: NodeJS.Dict<NetworkInterfaceInfo[]> | undefined;

/**
 * The addresses of all devices in the network namespace of this thread. The kernel is asked once per turn of the event
 * loop: when thousands of peers come at once each wants to know.
 */
function interfaces(): NodeJS.Dict<NetworkInterfaceInfo[]> {
  if (known !== undefined) return known;
  known = networkInterfaces();
  setImmediate(() => {
    known = undefined;
  });
  return known;
}

/** The number of a device, as accept(2) tells it for link-local peers. */
export function scopeOf(device: string): number | undefined {
  return interfaces()[device]?.find((one) => one.family === 'IPv6')?.scopeid;
}

/** The device that carries `address`. */
export function linkOf(address: IP): Link {
  for (const [device, entries = []] of Object.entries(interfaces())) {
    const mine = entries.map(({ address: text, family }) =>
      family === 'IPv4' ? parseIPv4(text) : parseIPv6(text.replace(/%.*$/, '')),
    );
    if (!mine.includes(address as never)) continue;
    const ipv4 = mine.find(isIPv4);
    const ipv6 = mine.find((one): one is IPv6 => !isIPv4(one) && !isLinkLocal(one));
    return { device, ...(ipv4 !== undefined && { ipv4 }), ...(ipv6 !== undefined && { ipv6 }) };
  }
  return {};
}
