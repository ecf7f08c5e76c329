import { bitsOf, familyOf, formatIP, type IP, parseIP } from '../address/ip.ts';
import { formatPrefix, hostPrefix, type Prefix, prefixFamily } from '../address/prefix.ts';
import { hasCode } from '../ffi/systemError.ts';
import type { Segment } from '../ipam/segment.ts';
import {
  deleteRoute,
  type InstalledRoute,
  listRoutes,
  lookUpRoute,
  MAIN_TABLE,
  type Route,
  replaceRoute,
  TOMBOLO,
} from '../netlink/route.ts';
import type { Netlink } from '../netlink/socket.ts';
import { ifThere } from '../store/ifThere.ts';
import { internalIPs } from '../store/kinds/node.ts';
import type { Store } from '../store/store.ts';

/** Below that of every other route, as the speaker has it. */
const BLACKHOLE_PRIORITY = 4096;
/** Of the ways to addresses that other nodes hold; routes to pods of this node come first. */
const PASSAGE_PRIORITY = 2048;

/** What should be there is compared with what the kernel has no more often than this, in ms. */
const COMPARE_AGAIN_MS = 10_000;

/** An address of this node's blocks, and the node that holds it. */
export interface Passage {
  readonly address: IP;
  readonly node: string;
}

/**
 * Routes of protocol 111 that make this node's blocks end here: a black hole for each, so that packets to addresses no
 * pod has do not go back and forth between node and leaf, and a way through for each address that another node holds.
 */
export class BlockRoutes {
  readonly #netlink: Netlink;
  readonly #store: Store;
  readonly #blackholes: boolean;
  #open: { readonly key: string; readonly at: number; readonly addresses: ReadonlySet<IP> } | undefined;

  /** @param blackholes Whether they are this object's to make; otherwise the BGP speaker makes them. */
  constructor(netlink: Netlink, store: Store, blackholes: boolean) {
    this.#netlink = netlink;
    this.#store = store;
    this.#blackholes = blackholes;
  }

  /** A black hole for every block but those of one address, which a pod's own route says all about; no other is left. */
  drop(segments: readonly Segment[]): void {
    if (!this.#blackholes) return;
    const wanted = segments
      .filter(({ prefix, gateway }) => gateway === undefined && prefix.length < bitsOf(prefixFamily(prefix)))
      .map(({ prefix }) => formatPrefix(prefix));
    const there = this.#ours(({ type }) => type === 'blackhole');
    for (const { prefix, priority } of there) {
      if (!wanted.includes(formatPrefix(prefix))) this.#delete({ prefix, priority, type: 'blackhole' });
    }
    const known = there.map(({ prefix }) => formatPrefix(prefix));
    for (const { prefix } of segments) {
      const text = formatPrefix(prefix);
      if (!wanted.includes(text) || known.includes(text)) continue;
      replaceRoute(this.#netlink, { prefix, type: 'blackhole', priority: BLACKHOLE_PRIORITY });
    }
  }

  /**
   * Makes these the only passages.
   *
   * @returns The addresses that packets get through to.
   */
  async letThrough(passages: readonly Passage[]): Promise<ReadonlySet<IP>> {
    const key = passages.map(({ address, node }) => `${formatIP(address)} ${node}`).join();
    if (this.#open?.key === key && performance.now() - this.#open.at < COMPARE_AGAIN_MS) {
      return this.#open.addresses;
    }
    this.#open = { key, at: performance.now(), addresses: await this.#make(passages) };
    return this.#open.addresses;
  }

  /** Somebody may have taken a route away: what should be there is looked for at the next call. */
  compareAgain(): void {
    this.#open = undefined;
  }

  async #make(passages: readonly Passage[]): Promise<ReadonlySet<IP>> {
    const nodes = new Map<string, readonly IP[]>();
    for (const { node } of passages) if (!nodes.has(node)) nodes.set(node, await this.#addressesOf(node));
    const wanted = passages.flatMap(({ address, node }) => {
      const hop = nodes.get(node)?.find((one) => familyOf(one) === familyOf(address));
      return hop === undefined ? [] : [{ address, hop }];
    });
    for (const { prefix, priority } of this.#ours((route) => route.priority === PASSAGE_PRIORITY)) {
      if (!wanted.some(({ address }) => isHost(prefix, address))) this.#delete({ prefix, priority });
    }
    const open = new Set<IP>();
    for (const { address, hop } of wanted) {
      replaceRoute(this.#netlink, this.#wayTo(address, hop));
      open.add(address);
    }
    return open;
  }

  /** By way of whoever is next on the way to the other node: it knows the address by that node's announcement. */
  #wayTo(address: IP, hop: IP): Route {
    const { nextHops, nextHopId } = lookUpRoute(this.#netlink, hop);
    const [first] = nextHops;
    if (first === undefined) return { prefix: hostPrefix(address), priority: PASSAGE_PRIORITY, nextHopId };
    const gateway = first.gateway ?? hop;
    return {
      prefix: hostPrefix(address),
      priority: PASSAGE_PRIORITY,
      nextHops: [{ gateway, index: first.index, onLink: first.onLink }],
    };
  }

  async #addressesOf(name: string): Promise<IP[]> {
    const node = await ifThere(this.#store.get('Node', { name }));
    return node === undefined ? [] : internalIPs(node).map(parseIP);
  }

  #ours(which: (route: InstalledRoute) => boolean): InstalledRoute[] {
    return listRoutes(this.#netlink, { table: MAIN_TABLE, protocol: TOMBOLO }).filter(which);
  }

  #delete(route: Route): void {
    try {
      deleteRoute(this.#netlink, { ...route, protocol: TOMBOLO });
    } catch (error) {
      if (!hasCode(error, 'ESRCH')) throw error;
    }
  }
}

/** The addresses of this node's blocks that packets get through to other nodes for. */
export function listPassages(netlink: Netlink): IP[] {
  return listRoutes(netlink, { table: MAIN_TABLE, protocol: TOMBOLO })
    .filter(({ priority }) => priority === PASSAGE_PRIORITY)
    .map(({ prefix }) => prefix.address);
}

function isHost(prefix: Prefix, address: IP): boolean {
  return prefix.address === address && prefix.length === bitsOf(familyOf(address));
}
