import { familyOf, type IP } from '../address/ip.ts';
import { addressAt, contains, lastAddress, type Prefix, prefixSize } from '../address/prefix.ts';
import { sizeOf, within } from '../address/ranges.ts';

/** A block of pod addresses that this node owns. */
export interface Segment {
  readonly prefix: Prefix;
  /** The router of an L2 segment, never given out; routed segments have none. */
  readonly gateway?: IP | undefined;
  /** `releasing`: what is given out stays, nothing more is. */
  readonly state: 'active' | 'releasing';
  /** Raised by the operator with every change of state: what is reported about an earlier one is ignored. */
  readonly generation: number;
  /** The pool that the segment was cut from. */
  readonly pool?: string | undefined;
  /** Parts of it that nobody is given; whoever had an address before it was reserved keeps it. */
  readonly reserved?: readonly Prefix[] | undefined;
}

/**
 * So many addresses of a segment are used before released ones are used again. It bounds what is remembered
 * of an IPv6 segment, and is more than a node has pods.
 */
const WINDOW = 65_536;

/** How long an address rests after its release, in ms: in all segments alike, or as it is asked for each. */
export type Cooldown = number | ((segment: Segment) => number);

export function restIn(segment: Segment, cooldown: Cooldown): number {
  return typeof cooldown === 'number' ? cooldown : cooldown(segment);
}

/** How an address was come by: never used, rested long enough, or for want of anything better. */
export type Freshness = 'fresh' | 'rested' | 'hot';

/** The free addresses of a segment. Who holds the others is the allocator's to know. */
export class SegmentState {
  readonly segment: Segment;
  /** No address before this offset is a new one; how far it reaches follows from the rest. */
  #cursor = 0;
  /** When each address was released, in ms of wall time, the longest ago first. */
  readonly #released: Map<IP, number>;
  /** The latest of these times. */
  #latest: number;

  constructor(segment: Segment, released: Iterable<readonly [IP, number]> = []) {
    this.segment = segment;
    this.#released = new Map(released);
    this.#latest = [...this.#released.values()].reduce((a, b) => Math.max(a, b), 0);
  }

  get released(): ReadonlyMap<IP, number> {
    return this.#released;
  }

  /** How many addresses there are for pods, those that are reserved included. */
  get size(): bigint {
    return prefixSize(this.segment.prefix) - BigInt(this.#own().length);
  }

  /** How many addresses nobody is given, and nobody has from before they were reserved. */
  reserved(now: number, cooldown: number, taken: Iterable<IP>): bigint {
    const parts = this.#reserved();
    if (parts.length === 0) return 0n;
    const apart = this.#own().filter((address) => isWithin(parts, address)).length;
    let kept = sizeOf(parts) - BigInt(apart);
    for (const address of taken) if (isWithin(parts, address)) kept--;
    for (const [address, at] of this.#released) {
      if (now - at < cooldown && isWithin(parts, address)) kept--;
    }
    return kept;
  }

  /** Whether the address is one that pods may have. */
  usable(address: IP): boolean {
    return (
      contains(this.segment.prefix, address) &&
      !this.#own().includes(address) &&
      !isWithin(this.segment.reserved ?? [], address)
    );
  }

  /**
   * The address to give out next: new ones first, then whichever was released the longest ago.
   *
   * @param now Wall time in ms.
   */
  pick(now: number, cooldown: number, taken: (address: IP) => boolean): Pick | undefined {
    this.#notLaterThan(now);
    const fresh = this.#fresh(taken);
    if (fresh !== undefined && this.#cursor < WINDOW) return { address: fresh, freshness: 'fresh' };
    const oldest = this.#oldest();
    if (oldest && now - oldest[1] >= cooldown) return { address: oldest[0], freshness: 'rested' };
    if (fresh !== undefined) return { address: fresh, freshness: 'fresh' };
    return oldest && { address: oldest[0], freshness: 'hot' };
  }

  /** How many addresses were released less than `cooldown` ago. */
  resting(now: number, cooldown: number): number {
    this.#notLaterThan(now);
    let count = 0;
    for (const at of this.#released.values()) if (now - at < cooldown) count++;
    return count;
  }

  take(address: IP, taken: (address: IP) => boolean): void {
    this.#released.delete(address);
    this.skip(taken);
  }

  /** Leaves behind the addresses that are not to be had any more. */
  skip(taken: (address: IP) => boolean): void {
    while (this.#inRange(this.#cursor) && !this.#free(addressAt(this.segment.prefix, this.#cursor), taken)) {
      this.#cursor++;
    }
  }

  release(address: IP, at: number): void {
    this.#released.delete(address);
    this.#released.set(address, at);
    this.#latest = Math.max(this.#latest, at);
  }

  /** After the clock was set back, addresses rest once more from the beginning: longer, never shorter, nor for ever. */
  #notLaterThan(now: number): void {
    if (this.#latest <= now) return;
    for (const [address, at] of this.#released) if (at > now) this.#released.set(address, now);
    this.#latest = now;
  }

  #fresh(taken: (address: IP) => boolean): IP | undefined {
    for (let offset = this.#cursor; this.#inRange(offset); offset++) {
      const address = addressAt(this.segment.prefix, offset);
      if (this.#free(address, taken)) return address;
    }
    return undefined;
  }

  /** Of the released addresses that pods may have still, the one released the longest ago. */
  #oldest(): readonly [IP, number] | undefined {
    for (const released of this.#released) if (this.usable(released[0])) return released;
    return undefined;
  }

  #reserved(): Prefix[] {
    return within(this.segment.prefix, this.segment.reserved ?? []);
  }

  #inRange(offset: number): boolean {
    return BigInt(offset) < prefixSize(this.segment.prefix);
  }

  #free(address: IP, taken: (address: IP) => boolean): boolean {
    return this.usable(address) && !taken(address) && !this.#released.has(address);
  }

  /** What belongs to the protocols and to the router. */
  #own(): IP[] {
    const { gateway } = this.segment;
    const edges = this.#edges();
    return gateway === undefined || edges.includes(gateway) ? edges : [...edges, gateway];
  }

  /** On an L2 segment the first and the last address belong to the protocols, unless it is too short for that. */
  #edges(): IP[] {
    const { prefix, gateway } = this.segment;
    if (gateway === undefined || prefixSize(prefix) <= 2n) return [];
    // RFC 4291 §2.6.1: IPv6 has a subnet-router anycast address, and no broadcast.
    return familyOf(prefix.address) === 4 ? [prefix.address, lastAddress(prefix)] : [prefix.address];
  }
}

function isWithin(ranges: readonly Prefix[], address: IP): boolean {
  return ranges.some((range) => contains(range, address));
}

export interface Pick {
  readonly address: IP;
  readonly freshness: Freshness;
}
