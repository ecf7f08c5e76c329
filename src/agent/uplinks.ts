import { UPLINKS } from '../datapath/maps/node.ts';
import { findLink, type Link } from '../netlink/link.ts';
import { type InstalledRoute, listRoutes, MAIN_TABLE } from '../netlink/route.ts';
import type { Netlink } from '../netlink/socket.ts';

/** A device towards a leaf. */
export interface Uplink {
  readonly name: string;
  readonly index: number;
  /** Bytes. */
  readonly mtu: number;
}

/** `lo`, in every network namespace. */
export const LOOPBACK = 1;

export interface FoundUplinks {
  /** The preferred one first. */
  readonly uplinks: readonly Uplink[];
  /** Those that are named and are not there. */
  readonly missing: readonly string[];
  /** What people should know of. */
  readonly problems: readonly string[];
}

/** The devices that are named, or else all that have a default route: by metric, and of several next hops each. */
export function findUplinks(netlink: Netlink, names: readonly string[] | undefined): FoundUplinks {
  const wanted = names ?? devicesOf(defaultRoutes(netlink));
  const found = wanted.map((target) => ({ target, link: findLink(netlink, target) }));
  const links = found.flatMap(({ link }) => link ?? []);
  const usable = links.filter(isEthernet);
  return {
    uplinks: usable.slice(0, UPLINKS).map(({ name, index, mtu }) => ({ name, index, mtu })),
    missing: names === undefined ? [] : found.flatMap(({ target, link }) => (link ? [] : String(target))),
    problems: [
      ...links
        .filter((link) => !isEthernet(link))
        .map(({ name }) => `uplink ${name} is no Ethernet device: only the stack forwards by it`),
      ...usable
        .slice(UPLINKS)
        .map(({ name }) => `uplink ${name} is one too many: only the stack forwards by it`),
    ],
  };
}

/** The programs find the IP header behind an Ethernet header: so it is on NICs, bonds, VLANs and bridges. */
function isEthernet({ mac, index }: Link): boolean {
  return mac !== undefined && index !== LOOPBACK;
}

function defaultRoutes(netlink: Netlink): InstalledRoute[] {
  return ([4, 6] as const).flatMap((family) =>
    listRoutes(netlink, { family, table: MAIN_TABLE, type: 'unicast' })
      .filter(({ prefix }) => prefix.length === 0)
      .sort((a, b) => (a.priority ?? 0) - (b.priority ?? 0)),
  );
}

function devicesOf(routes: readonly InstalledRoute[]): number[] {
  const all = routes.flatMap(({ nextHops }) => nextHops.flatMap(({ index }) => index ?? []));
  return [...new Set(all)];
}
