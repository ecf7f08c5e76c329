import { formatPrefix, type Prefix, prefixFamily, prefixSize } from '../../address/prefix.ts';
import { messageOf } from '../../errors.ts';
import type { Log } from '../../log.ts';
import { listLinks } from '../../netlink/link.ts';
import type { KernelEvent } from '../../netlink/monitor.ts';
import { deleteNextHop, listNextHops, replaceNextHop } from '../../netlink/nextHopObject.ts';
import {
  deleteRoute,
  listRoutes,
  MAIN_TABLE,
  type Route,
  replaceRoute,
  TOMBOLO,
} from '../../netlink/route.ts';
import type { Netlink, Sink } from '../../netlink/socket.ts';
import type { RouteHop } from '../rib/familyRib.ts';
import { type Admission, refusalOf } from './admission.ts';
import { fits, NextHopObjects } from './nextHopObjects.ts';
import { type FibRoute, FibState, isOurs, type KernelRoute, type Operation, plan } from './plan.ts';
import { formatHop, type Hop, hopKey, Resolver } from './resolver.ts';

/** Changes are gathered this long before the kernel is told, in milliseconds. */
const GATHER = 10;
/** After trouble or upheaval in the kernel everything is compared anew, this much later. */
const SETTLE = 50;
const RETRY = 1000;
const LONGEST_RETRY = 30_000;
/** Routes written at once: about ten milliseconds of netlink. */
const PORTION = 1000;

const BLACKHOLE_PRIORITY = 4096;

export interface FibClock {
  after(milliseconds: number, task: () => void): () => void;
}

/** A route as BGP has chosen it. */
export interface ChosenRoute {
  readonly nextHops: readonly RouteHop[];
  readonly priority: number;
}

/** What the operator is told of one prefix. */
export interface FibEntry {
  readonly prefix: Prefix;
  readonly state: 'installed' | 'waiting' | 'refused' | 'unreachable';
  readonly detail: string;
}

/**
 * The speaker's routes in the kernel. Starts by adopting what an earlier process left, so that forwarding goes
 * on, and removes what nobody has claimed only once {@link converged}. Follows links and the administrator's
 * routes, and puts back what the kernel lost.
 */
export class Fib {
  readonly #nl: Netlink;
  readonly #log: Log;
  readonly #clock: FibClock;
  #admission: Admission;
  #state: FibState;
  #resolver = new Resolver([], new Map());
  readonly #chosen = new Map<string, { readonly prefix: Prefix; readonly route: ChosenRoute }>();
  readonly #blackholes = new Map<string, Prefix>();
  /** Prefixes that BGP has taken back before convergence; afterwards all silence counts. */
  readonly #withdrawn = new Set<string>();
  readonly #dirty = new Map<string, Prefix>();
  readonly #refused = new Map<string, string>();
  #converged = false;
  #cancel: (() => void) | undefined;
  /** How long the flush to come was put off. */
  #wait = 0;
  #resyncDue = false;
  #delay = RETRY;
  /** Which families had routes of ours in the kernel at the start: the forwarding-state bit of RFC 4724. */
  readonly preserved: ReadonlySet<4 | 6>;

  constructor(nl: Netlink, clock: FibClock, log: Log, admission: Admission) {
    this.#nl = nl;
    this.#clock = clock;
    this.#log = log;
    this.#admission = admission;
    this.#state = this.#read();
    this.preserved = new Set(
      this.#state.prefixes
        .filter((prefix) => this.#state.at(prefix).some(({ nextHopId }) => nextHopId !== undefined))
        .map(prefixFamily),
    );
  }

  /** How many prefixes we have in the kernel. */
  get size(): number {
    return this.#state.size;
  }

  /** The routes to a prefix, or `undefined` for none. */
  choose(prefix: Prefix, route: ChosenRoute | undefined): void {
    const key = formatPrefix(prefix);
    if (route === undefined) {
      this.#chosen.delete(key);
      if (!this.#converged) this.#withdrawn.add(key);
    } else this.#chosen.set(key, { prefix, route });
    this.#dirty.set(key, prefix);
    this.#schedule(GATHER);
  }

  /**
   * The node's own segments: packets to addresses that no pod has end here instead of going round in circles. Where
   * a segment is one address, the pod's own route says it all.
   */
  setSegments(segments: readonly Prefix[]): void {
    for (const [key, prefix] of this.#blackholes) this.#dirty.set(key, prefix);
    this.#blackholes.clear();
    for (const prefix of segments) {
      if (prefixSize(prefix) === 1n) continue;
      this.#blackholes.set(formatPrefix(prefix), prefix);
      this.#dirty.set(formatPrefix(prefix), prefix);
    }
    this.admit({ ...this.#admission, ownSegments: segments });
  }

  /** What may be imported has changed. */
  admit(admission: Admission): void {
    this.#admission = admission;
    this.#touchAll();
    this.#schedule(GATHER);
  }

  /** All peers have said what they have to say, or time is up: routes nobody claimed go. */
  converged(): void {
    if (this.#converged) return;
    this.#converged = true;
    this.#withdrawn.clear();
    this.#touchAll();
    this.#schedule(GATHER);
  }

  /** Something happened in the kernel (see src/netlink/monitor.ts: links, addresses, routes). */
  observe(event: KernelEvent): void {
    if (event.kind === 'overrun' || event.kind === 'link' || event.kind === 'address') {
      this.#resyncDue = true;
      this.#schedule(SETTLE);
    } else if (event.kind === 'route' && this.#isNews(event)) {
      this.#resyncDue = true;
      this.#schedule(SETTLE);
    }
  }

  /** What became of every route that BGP chose. */
  entries(): FibEntry[] {
    return [...this.#chosen].map(([key, { prefix, route }]) => {
      const refusal = this.#refused.get(key);
      if (refusal !== undefined) return { prefix, state: 'refused', detail: refusal };
      const hops = this.#hopsOf(prefix, route);
      if (hops.length === 0) {
        return {
          prefix,
          state: 'unreachable',
          detail: `no route to ${route.nextHops.map(formatHop).join(', ')}`,
        };
      }
      const state = this.#state.at(prefix).length > 0 && !this.#dirty.has(key) ? 'installed' : 'waiting';
      return { prefix, state, detail: hops.map(hopKey).join(', ') };
    });
  }

  /** Stops; the kernel keeps forwarding by what it has. */
  close(): void {
    this.#cancel?.();
  }

  /** Removes everything of ours, for a node that leaves. */
  clear(): void {
    this.#chosen.clear();
    this.#blackholes.clear();
    this.#converged = true;
    this.#touchAll();
    while (this.#dirty.size > 0) this.flush();
  }

  /** Brings the kernel in line now instead of in a moment. */
  flush(): void {
    this.#cancel?.();
    this.#cancel = undefined;
    if (this.#resyncDue) this.#resync();
    const portion = [...this.#dirty].slice(0, PORTION);
    for (const [key] of portion) this.#dirty.delete(key);
    const isFinal = this.#converged && this.#dirty.size === 0;
    const operations = plan(
      this.#state,
      portion.flatMap(([key, prefix]) => this.#wanted(key, prefix)),
    );
    if (isFinal) operations.push(...this.#state.hops.reap());
    this.#apply(operations);
    if (this.#dirty.size > 0 && this.#cancel === undefined) this.#schedule(0);
  }

  /** What is wanted at a prefix; nothing at all while nobody has claimed it, but may still do so. */
  #wanted(key: string, prefix: Prefix): [Prefix, FibRoute | undefined][] {
    this.#refused.delete(key);
    if (this.#blackholes.has(key))
      return [[prefix, { kind: 'blackhole', prefix, priority: BLACKHOLE_PRIORITY }]];
    const route = this.#chosen.get(key)?.route;
    if (route === undefined) return this.#converged || this.#withdrawn.has(key) ? [[prefix, undefined]] : [];
    const addresses = route.nextHops.map(({ address }) => address);
    const refusal = refusalOf(prefix, addresses, this.#admission, this.#resolver);
    if (refusal !== undefined) {
      this.#refused.set(key, refusal);
      return [[prefix, undefined]];
    }
    const hops = this.#hopsOf(prefix, route);
    if (hops.length === 0) return [[prefix, undefined]];
    return [[prefix, { kind: 'forward', prefix, priority: route.priority, hops }]];
  }

  #hopsOf(prefix: Prefix, { nextHops }: ChosenRoute): Hop[] {
    const family = prefixFamily(prefix);
    const hops = nextHops.flatMap((hop) => this.#resolver.hops(hop)).filter((hop) => fits(hop, family));
    return [...new Map(hops.map((hop) => [hopKey(hop), hop])).values()];
  }

  #apply(operations: readonly Operation[]): void {
    if (operations.length === 0) return;
    try {
      this.#nl.batch((batch) => {
        for (const operation of operations) perform(batch, operation);
      });
      this.#delay = RETRY;
    } catch (error) {
      this.#log.warning('the kernel refused a route, comparing anew', { reason: messageOf(error) });
      this.#resyncDue = true;
      this.#schedule(this.#delay);
      this.#delay = Math.min(LONGEST_RETRY, 2 * this.#delay);
    }
  }

  #resync(): void {
    this.#resyncDue = false;
    this.#state = this.#read();
    this.#touchAll();
  }

  /** Asks the kernel for everything: what is ours, and what leads to next hops. */
  #read(): FibState {
    const all = listRoutes(this.#nl, { table: MAIN_TABLE });
    const mine = (protocol: number | undefined) => protocol === TOMBOLO;
    const links = new Map(listLinks(this.#nl).map(({ name, index }) => [name, index]));
    this.#resolver = new Resolver(
      all.filter(({ protocol }) => !mine(protocol)),
      links,
    );
    const hops = new NextHopObjects(listNextHops(this.#nl, { protocol: TOMBOLO }));
    return new FibState(
      all.filter((route) => mine(route.protocol) && isOurs(route)),
      hops,
    );
  }

  #touchAll(): void {
    for (const [key, { prefix }] of this.#chosen) this.#dirty.set(key, prefix);
    for (const [key, prefix] of this.#blackholes) this.#dirty.set(key, prefix);
    for (const prefix of this.#state.prefixes) this.#dirty.set(formatPrefix(prefix), prefix);
  }

  /** Whether an event about a route says something that we did not do ourselves. */
  #isNews({ change, route }: Extract<KernelEvent, { kind: 'route' }>): boolean {
    if (route.table !== MAIN_TABLE) return false;
    if (route.protocol !== TOMBOLO) return true;
    const known = this.#state.at(route.prefix).some(({ priority }) => priority === (route.priority ?? 0));
    return change === 'deleted' && isOurs(route) && known;
  }

  #schedule(milliseconds: number): void {
    if (this.#cancel !== undefined && this.#wait <= milliseconds) return;
    this.#cancel?.();
    this.#wait = milliseconds;
    this.#cancel = this.#clock.after(milliseconds, () => this.flush());
  }
}

function perform(sink: Sink, operation: Operation): void {
  switch (operation.kind) {
    case 'replaceHop':
      replaceNextHop(sink, operation.hop);
      return;
    case 'deleteHop':
      deleteNextHop(sink, operation.id);
      return;
    case 'replaceRoute':
      replaceRoute(sink, messageFor(operation.route));
      return;
    case 'deleteRoute':
      deleteRoute(sink, { ...messageFor(operation.route), protocol: TOMBOLO });
      return;
  }
}

function messageFor({ prefix, priority, nextHopId }: KernelRoute): Route {
  return nextHopId === undefined ? { prefix, priority, type: 'blackhole' } : { prefix, priority, nextHopId };
}
