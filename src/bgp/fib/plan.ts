import { formatPrefix, type Prefix } from '../../address/prefix.ts';
import type { InstalledRoute } from '../../netlink/route.ts';
import { type HopOperation, type NextHopObjects, waysKey } from './nextHopObjects.ts';
import type { Hop } from './resolver.ts';

/** A route as it should be in the kernel. */
export type FibRoute =
  | {
      readonly kind: 'forward';
      readonly prefix: Prefix;
      readonly priority: number;
      readonly hops: readonly Hop[];
    }
  /** What nothing more specific claims is dropped: the node's own segments. */
  | { readonly kind: 'blackhole'; readonly prefix: Prefix; readonly priority: number };

export type Operation =
  | HopOperation
  | { readonly kind: 'replaceRoute'; readonly route: KernelRoute }
  | { readonly kind: 'deleteRoute'; readonly route: KernelRoute };

/** A route as it is in the kernel. */
export interface KernelRoute {
  readonly prefix: Prefix;
  readonly priority: number;
  /** Absent for a blackhole. */
  readonly nextHopId: number | undefined;
}

/** What we have in the kernel, as far as we know; follows every plan. */
export class FibState {
  readonly hops: NextHopObjects;
  readonly #routes = new Map<string, KernelRoute[]>();

  /** From a dump of the kernel: routes that {@link isOurs} says are ours, and our next hop objects. */
  constructor(routes: readonly InstalledRoute[], hops: NextHopObjects) {
    this.hops = hops;
    for (const { prefix, priority = 0, type, nextHopId } of routes) {
      const id = type === 'blackhole' ? undefined : nextHopId;
      if (id !== undefined) hops.adopt(id);
      this.#add({ prefix, priority, nextHopId: id });
    }
  }

  at(prefix: Prefix): readonly KernelRoute[] {
    return this.#routes.get(formatPrefix(prefix)) ?? [];
  }

  get prefixes(): Prefix[] {
    return [...this.#routes.values()].flatMap(([route]) => (route ? [route.prefix] : []));
  }

  get size(): number {
    return this.#routes.size;
  }

  set(prefix: Prefix, routes: readonly KernelRoute[]): void {
    const key = formatPrefix(prefix);
    if (routes.length > 0) this.#routes.set(key, [...routes]);
    else this.#routes.delete(key);
  }

  #add(route: KernelRoute): void {
    const key = formatPrefix(route.prefix);
    this.#routes.set(key, [...(this.#routes.get(key) ?? []), route]);
  }
}

/** Of protocol 111 ours are those with a next hop object, and blackholes; the agent has others, towards pods. */
export function isOurs({ type, nextHopId }: InstalledRoute): boolean {
  return type === 'blackhole' || nextHopId !== undefined;
}

/**
 * What to do so that the kernel has `wanted` at each prefix (`undefined`: nothing). New next hops come first, then
 * routes, each replaced in one step, then what nobody uses any more: at no moment does a packet find less than
 * the old or the new.
 */
export function plan(
  state: FibState,
  wanted: Iterable<readonly [prefix: Prefix, route: FibRoute | undefined]>,
): Operation[] {
  const before: HopOperation[] = [];
  const routes: Operation[] = [];
  const changes = [...wanted].filter(([prefix, route]) => !isSatisfied(state, prefix, route));
  redirectGroups(state, changes, before);
  for (const [prefix, route] of changes) {
    if (isSatisfied(state, prefix, route)) continue;
    const installed = state.at(prefix);
    const kept = route && change(state, route, before);
    if (kept) routes.push({ kind: 'replaceRoute', route: kept });
    for (const old of installed) {
      if (old.nextHopId !== undefined) state.hops.release(old.nextHopId);
      if (old.priority !== kept?.priority) routes.push({ kind: 'deleteRoute', route: old });
    }
    state.set(prefix, kept ? [kept] : []);
  }
  return [...before, ...routes, ...state.hops.collect()];
}

function change(state: FibState, route: FibRoute, before: HopOperation[]): KernelRoute {
  const { prefix, priority } = route;
  const nextHopId = route.kind === 'forward' ? state.hops.acquire(route.hops, before) : undefined;
  return { prefix, priority, nextHopId };
}

function isSatisfied(state: FibState, prefix: Prefix, route: FibRoute | undefined): boolean {
  const [only, ...others] = state.at(prefix);
  if (only === undefined) return route === undefined;
  if (route === undefined || others.length > 0 || only.priority !== route.priority) return false;
  if (route.kind === 'blackhole') return only.nextHopId === undefined;
  return only.nextHopId !== undefined && state.hops.leadsTo(only.nextHopId, route.hops);
}

/** Where all routes of a group want to go to the same other place, the group moves instead of them. */
function redirectGroups(
  state: FibState,
  changes: readonly (readonly [Prefix, FibRoute | undefined])[],
  before: HopOperation[],
): void {
  const byGroup = new Map<number, FibRoute[]>();
  for (const [prefix, route] of changes) {
    const [only, ...others] = state.at(prefix);
    if (only?.nextHopId === undefined || others.length > 0 || route?.kind !== 'forward') continue;
    byGroup.set(only.nextHopId, [...(byGroup.get(only.nextHopId) ?? []), route]);
  }
  for (const [id, wanting] of byGroup) {
    const [first, ...others] = wanting.map((route) => (route.kind === 'forward' ? route.hops : []));
    if (first === undefined) continue;
    const agree = others.every((hops) => waysKey(hops) === waysKey(first));
    if (agree && wanting.length === state.hops.users(id)) state.hops.redirect(id, first, before);
  }
}
