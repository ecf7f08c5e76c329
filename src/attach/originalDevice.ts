import { formatIP, parseIP } from '../address/ip.ts';
import { parseMac } from '../address/mac.ts';
import { formatPrefix, parseInterfaceAddress, parsePrefix } from '../address/prefix.ts';
import { messageOf } from '../errors.ts';
import { hasCode } from '../ffi/systemError.ts';
import {
  type AssignedAddress,
  listAddresses,
  replaceAddress,
  SCOPES,
  type Scope,
} from '../netlink/address.ts';
import { findLink, getLink, type Link, setLink } from '../netlink/link.ts';
import { type InstalledRoute, LOCAL_TABLE, listRoutes, PROTOCOLS, replaceRoute } from '../netlink/route.ts';
import type { Netlink } from '../netlink/socket.ts';
import { pciAddressOf } from './device.ts';
import type { OriginalDevice, OriginalRoute } from './record.ts';

/**
 * Describes a device as it is, for the day it comes back. What others give a device by themselves as soon as
 * it is up is left out: link-local addresses, leases, routes of the kernel and of router advertisements.
 */
export function describeDevice(nl: Netlink, link: Link): OriginalDevice {
  const { name, mac, permanentMac, mtu, up, alias, kind } = link;
  return {
    name,
    mac,
    permanentMac,
    mtu,
    up,
    alias,
    kind,
    pciId: pciAddressOf(link),
    addresses: listAddresses(nl, { index: link.index }).filter(isGiven).map(writeAddress),
    routes: listRoutes(nl, { index: link.index }).filter(isGivenRoute).map(writeRoute),
  };
}

function isGiven({ permanent, address, scope }: AssignedAddress): boolean {
  return permanent && !(scope === 'link' && typeof address.address === 'bigint');
}

function writeAddress({ address, noDad, scope }: AssignedAddress): OriginalDevice['addresses'][number] {
  return { address: formatPrefix(address), noDad, scope: typeof scope === 'number' ? 'global' : scope };
}

function isGivenRoute({ table, protocol, type, nextHops }: InstalledRoute): boolean {
  return (
    type === 'unicast' &&
    table !== LOCAL_TABLE &&
    protocol !== PROTOCOLS.kernel &&
    protocol !== PROTOCOLS.routerAdvertisement &&
    // One that is shared with other devices stays where they are, and loses only this one's part.
    nextHops.length === 1
  );
}

function writeRoute(route: InstalledRoute): OriginalRoute {
  const [hop] = route.nextHops;
  return {
    prefix: formatPrefix(route.prefix),
    table: route.table,
    protocol: route.protocol,
    scope: route.scope,
    priority: route.priority,
    preferredSource: route.preferredSource && formatIP(route.preferredSource),
    gateway: hop?.gateway === undefined ? undefined : formatIP(hop.gateway),
    onLink: hop?.onLink ?? false,
    mtu: route.mtu,
  };
}

/**
 * Gives a device of this namespace its original name, settings, addresses and routes.
 *
 * @returns What could not be done, a line each; the rest is done all the same.
 */
export function restoreDevice(nl: Netlink, index: number, original: OriginalDevice): string[] {
  const failed: string[] = [];
  const attempt = (what: string, act: () => void) => {
    try {
      act();
    } catch (error) {
      failed.push(`${what}: ${messageOf(error)}`);
    }
  };
  // Before Linux 6.2 a device that is up cannot be renamed, and many drivers change MAC addresses only when down.
  attempt('switch it off', () => setLink(nl, index, { up: false }));
  attempt(`name it ${original.name} again`, () => rename(nl, index, original.name));
  attempt('restore its MTU', () => setLink(nl, index, { mtu: original.mtu }));
  const { mac } = original;
  if (mac !== undefined && getLink(nl, index).mac !== mac) {
    attempt('restore its MAC address', () => setLink(nl, index, { mac: parseMac(mac) }));
  }
  if (original.up) attempt('switch it on', () => setLink(nl, index, { up: true }));
  for (const { address, noDad, scope } of original.addresses) {
    const wanted = { index, address: parseInterfaceAddress(address), noDad, scope: readScope(scope) };
    attempt(`restore address ${address}`, () => replaceAddress(nl, wanted));
  }
  for (const route of inOrder(original.routes)) {
    attempt(`restore route ${route.prefix}`, () => restoreRoute(nl, index, route));
  }
  // Last, since by it the device is found until it is whole.
  attempt('restore its alias', () => setLink(nl, index, { alias: original.alias ?? '' }));
  return failed;
}

function rename(nl: Netlink, index: number, name: string): void {
  const holder = findLink(nl, name);
  if (holder === undefined) setLink(nl, index, { name });
  else if (holder.index !== index) {
    throw new Error(`another device has that name, so it stays ${getLink(nl, index).name}`);
  }
}

/** A gateway is reached by a route that must be there before. */
function inOrder(routes: readonly OriginalRoute[]): OriginalRoute[] {
  return routes.toSorted((a, b) => Number(a.gateway !== undefined) - Number(b.gateway !== undefined));
}

function restoreRoute(nl: Netlink, index: number, route: OriginalRoute): void {
  const { prefix, gateway, onLink, scope, preferredSource, ...rest } = route;
  try {
    replaceRoute(nl, {
      ...rest,
      prefix: parsePrefix(prefix),
      scope: scope === undefined ? undefined : readScope(scope),
      preferredSource: preferredSource === undefined ? undefined : parseIP(preferredSource),
      nextHops: [{ index, gateway: gateway === undefined ? undefined : parseIP(gateway), onLink }],
    });
  } catch (error) {
    // The kernel keeps no routes for a device that is off.
    if (!hasCode(error, 'ENETDOWN')) throw error;
  }
}

function readScope(text: string): Scope {
  return text in SCOPES ? (text as Scope) : 'global';
}
