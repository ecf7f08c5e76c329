import { formatIP, type IP } from '../../address/ip.ts';
import { contains, type Prefix } from '../../address/prefix.ts';
import type { InstalledRoute } from '../../netlink/route.ts';
import type { RouteHop } from '../rib/familyRib.ts';

/** Where packets towards a BGP next hop really go. */
export interface Hop {
  readonly gateway: IP;
  /** Index of the link. */
  readonly index: number;
  /** The gateway is reached over the link though no route says so. */
  readonly onLink: boolean;
}

/**
 * Finds the way to next hops by the routes that others have made: the kernel's connected ones and the
 * administrator's. A next hop on a connected network (a node under the same leaf) is its own gateway; any other is
 * reached the way its route goes, the leaf or whatever the default route says. Routes of BGP are not asked, so
 * a route can never lead to itself.
 */
export class Resolver {
  readonly #routes: readonly InstalledRoute[];
  /** Their indexes by name. */
  readonly #links: ReadonlyMap<string, number>;
  readonly #known = new Map<string, readonly Hop[]>();

  /** `routes` are those of the main table, without our own. */
  constructor(routes: readonly InstalledRoute[], links: ReadonlyMap<string, number>) {
    this.#links = links;
    this.#routes = routes
      .filter(({ type }) => type === 'unicast')
      .toSorted((a, b) => b.prefix.length - a.prefix.length || (a.priority ?? 0) - (b.priority ?? 0));
  }

  /** The ways to a next hop; none is unreachable. */
  hops(hop: RouteHop): readonly Hop[] {
    const key = formatHop(hop);
    const known = this.#known.get(key);
    if (known) return known;
    const hops =
      hop.device === undefined ? this.#resolve(hop.address) : this.#onLink(hop.address, hop.device);
    this.#known.set(key, hops);
    return hops;
  }

  /** The length of the most specific route towards `address`; −1 for none. */
  reach(address: IP): number {
    return this.#find(address)?.prefix.length ?? -1;
  }

  /** A link-local address is its own gateway, where its link is up. */
  #onLink(address: IP, device: string): Hop[] {
    const index = this.#links.get(device);
    if (index === undefined) return [];
    const isUp = this.#routes.some(
      ({ prefix, nextHops }) =>
        contains(prefix, address) && nextHops.some((hop) => hop.index === index && !hop.dead),
    );
    return isUp ? [{ gateway: address, index, onLink: false }] : [];
  }

  #resolve(address: IP): Hop[] {
    const alive = this.#find(address)?.nextHops.filter(({ dead }) => !dead) ?? [];
    return alive.flatMap(({ gateway, index, onLink = false }) =>
      index === undefined
        ? []
        : [{ gateway: gateway ?? address, index, onLink: gateway !== undefined && onLink }],
    );
  }

  #find(address: IP): InstalledRoute | undefined {
    return this.#routes.find(
      ({ prefix, nextHops }) => contains(prefix, address) && nextHops.some(({ dead }) => !dead),
    );
  }
}

/** As ip(8) writes it. */
export function formatHop({ address, device }: RouteHop): string {
  return device === undefined ? formatIP(address) : `${formatIP(address)}%${device}`;
}

/** One word for a way, the same for the same way. */
export function hopKey({ gateway, index, onLink }: Hop): string {
  return `${formatIP(gateway)}%${index}${onLink ? ' onlink' : ''}`;
}

/** Whether a route to `prefix` would catch the packets by which `address` is reached now. */
export function wouldCapture(prefix: Prefix, address: IP, resolver: Resolver): boolean {
  return contains(prefix, address) && prefix.length >= resolver.reach(address);
}
