import { isIPv4 } from '../../address/ip.ts';
import type { NextHopObject, NextHopTarget } from '../../netlink/nextHopObject.ts';
import { type Hop, hopKey } from './resolver.ts';

/** Our numbers in the namespace's one number space; others who use next hop objects count from 1. */
const FIRST_ID = 0x6f000000;

/** A change to the kernel's next hop objects. */
export type HopOperation =
  | { readonly kind: 'replaceHop'; readonly hop: NextHopObject }
  | { readonly kind: 'deleteHop'; readonly id: number };

interface Known {
  readonly id: number;
  readonly key: string;
  readonly target: NextHopTarget;
  users: number;
}

/**
 * The next hop objects we have in the kernel: one per way, and one group per set of ways, shared by all routes
 * that go there. Operations come out in an order in which the kernel accepts them.
 */
export class NextHopObjects {
  readonly #byKey = new Map<string, Known>();
  readonly #byId = new Map<number, Known>();
  readonly #unused = new Set<number>();
  #next = FIRST_ID;

  /** `found` are those of our protocol that the kernel has. */
  constructor(found: readonly NextHopObject[]) {
    const singles = found.filter(({ target }) => target.kind === 'gateway');
    const groups = found.filter(({ target }) => target.kind === 'group');
    for (const { id, target } of singles)
      this.#learn(
        id,
        keyOfTarget(target, () => ''),
        target,
      );
    const keyOf = (id: number) => this.#byId.get(id)?.key ?? '?';
    for (const { id, target } of groups) {
      this.#learn(id, keyOfTarget(target, keyOf), target);
      for (const member of membersOf(target)) this.#use(member, 1);
    }
  }

  /** The object for these ways, made if there is none; it counts as used once more. */
  acquire(hops: readonly Hop[], operations: HopOperation[]): number {
    const known = this.#byKey.get(waysKey(hops));
    if (known) {
      known.users++;
      return known.id;
    }
    const [only, ...others] = hops;
    const target: NextHopTarget =
      only !== undefined && others.length === 0
        ? gatewayTarget(only)
        : { kind: 'group', members: this.#members(hops, operations) };
    const id = this.#freeId();
    const made = this.#learn(id, waysKey(hops), target);
    made.users = 1;
    operations.push({ kind: 'replaceHop', hop: { id, target } });
    return id;
  }

  /** The object is used once less. */
  release(id: number): void {
    const known = this.#byId.get(id);
    if (known && --known.users === 0) this.#unused.add(id);
  }

  /** The deletion of what was released and nobody has acquired since; to be carried out behind the routes' changes. */
  collect(): HopOperation[] {
    const deletions: HopOperation[] = [];
    // A group's members may become unused with it: they are added while this goes on, behind it.
    for (const id of this.#unused) {
      const known = this.#byId.get(id);
      if (known === undefined || known.users > 0) continue;
      if (this.#byKey.get(known.key) === known) this.#byKey.delete(known.key);
      this.#byId.delete(id);
      deletions.push({ kind: 'deleteHop', id });
      for (const member of membersOf(known.target)) this.release(member);
    }
    this.#unused.clear();
    return deletions;
  }

  /** Marks an object that a route of the kernel uses already. `false` if it is none of ours. */
  adopt(id: number): boolean {
    return this.#use(id, 1);
  }

  /** Whether an object leads exactly there. */
  leadsTo(id: number, hops: readonly Hop[]): boolean {
    return this.#byId.get(id)?.key === waysKey(hops);
  }

  /** How many routes and groups use an object. */
  users(id: number): number {
    return this.#byId.get(id)?.users ?? 0;
  }

  /**
   * Lets a group lead elsewhere, with all its routes, in one message. `false` where it cannot: a group stays a
   * group, and no two may be alike.
   */
  redirect(id: number, hops: readonly Hop[], operations: HopOperation[]): boolean {
    const known = this.#byId.get(id);
    if (known?.target.kind !== 'group' || hops.length < 2 || this.#byKey.has(waysKey(hops))) return false;
    const target: NextHopTarget = { kind: 'group', members: this.#members(hops, operations) };
    this.#byKey.delete(known.key);
    const changed = this.#learn(id, waysKey(hops), target);
    changed.users = known.users;
    operations.push({ kind: 'replaceHop', hop: { id, target } });
    for (const member of membersOf(known.target)) this.release(member);
    return true;
  }

  /** As {@link collect}, for all that nobody uses, found in the kernel or made here. */
  reap(): HopOperation[] {
    for (const { id, users } of this.#byId.values()) if (users === 0) this.#unused.add(id);
    return this.collect();
  }

  #members(hops: readonly Hop[], operations: HopOperation[]) {
    return sorted(hops).map((hop) => ({ id: this.acquire([hop], operations), weight: 1 }));
  }

  #learn(id: number, key: string, target: NextHopTarget): Known {
    const known = { id, key, target, users: 0 };
    this.#byId.set(id, known);
    if (!this.#byKey.has(key)) this.#byKey.set(key, known);
    return known;
  }

  #use(id: number, times: number): boolean {
    const known = this.#byId.get(id);
    if (known) known.users += times;
    return known !== undefined;
  }

  #freeId(): number {
    while (this.#byId.has(this.#next)) this.#next++;
    return this.#next++;
  }
}

function sorted(hops: readonly Hop[]): Hop[] {
  return hops.toSorted((a, b) => (hopKey(a) < hopKey(b) ? -1 : 1));
}

/** One word for a set of ways, whatever their order. */
export function waysKey(hops: readonly Hop[]): string {
  return sorted(hops).map(hopKey).join(', ');
}

function gatewayTarget({ gateway, index, onLink }: Hop): NextHopTarget {
  return { kind: 'gateway', gateway, index, onLink };
}

function keyOfTarget(target: NextHopTarget, keyOf: (id: number) => string): string {
  switch (target.kind) {
    case 'gateway':
      return hopKey({ gateway: target.gateway, index: target.index, onLink: target.onLink ?? false });
    case 'group':
      return target.members
        .map(({ id }) => keyOf(id))
        .sort()
        .join(', ');
    default:
      return target.kind;
  }
}

function membersOf(target: NextHopTarget): readonly number[] {
  return target.kind === 'group' ? target.members.map(({ id }) => id) : [];
}

/** IPv6 routes take no IPv4 gateways; the other way round is RFC 8950. */
export function fits(hop: Hop, family: 4 | 6): boolean {
  return family === 4 || !isIPv4(hop.gateway);
}
