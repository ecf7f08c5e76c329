import { type IP, isLinkLocal } from '../../address/ip.ts';
import type { Prefix } from '../../address/prefix.ts';
import type { AfiSafi } from '../wire/family.ts';
import type { AdjRibIn } from './adjRibIn.ts';
import type { AdjRibOut } from './adjRibOut.ts';
import { priorityOf } from './attributeEdit.ts';
import { Bits } from './bits.ts';
import { PREFIX_LIMIT } from './nlriKeys.ts';
import type { PeerFamily, RibPeer } from './peer.ts';
import { LOCAL } from './peers.ts';
import { prefixOf } from './prefixOf.ts';
import type { RibParts } from './ribParts.ts';
import { RouteTable } from './routeTable.ts';
import type { RouteTargets } from './routeTargets.ts';
import { Sweep } from './sweep.ts';
import { UpdateGroup } from './updateGroup.ts';

/** Rows of one portion of work: well under a millisecond each. */
const PORTION = 512;
/** From here on changes are written out though more are coming: it bounds what waits, not what is kept. */
const ENOUGH = 16384;
/** While more is coming, peers are written to at most this often, in milliseconds, and no more than half of the time. */
const LONGEST_PAUSE = 50;

/** A next hop as the kernel has to know it. */
export interface RouteHop {
  readonly address: IP;
  /** The link to the peer that said so, for a link-local address: elsewhere it may be somebody else's. */
  readonly device?: string;
}

/** Where a prefix leads, by what peers say. */
export interface BestRoute {
  /** Of all paths of the multipath set, the best one's first. */
  readonly nextHops: readonly RouteHop[];
  /** As the kernel's metric. */
  readonly priority: number;
}

/** Hears of a prefix and where it leads now; `undefined` is nowhere, or to this node itself. */
export type Observer = (prefix: Prefix, route: BestRoute | undefined) => void;

interface Watch {
  readonly observer: Observer;
  readonly pending: Bits;
}

/** One address family: its table, who talks into it, who is told of it. */
export class FamilyRib {
  readonly table: RouteTable;
  /** By peer number. */
  readonly incoming = new Map<number, AdjRibIn>();
  readonly groups = new Map<string, UpdateGroup>();
  readonly #parts: RibParts;
  readonly #sweep: Sweep;
  readonly #watches = new Set<Watch>();
  readonly #rows = new Uint32Array(PORTION);
  #dropped: AdjRibOut[] = [];
  #flushedAt = Number.NEGATIVE_INFINITY;
  #pause = 0;

  /** `tidied` hears of each peer whose routes have been gone through, and whether it has any left. */
  constructor(family: AfiSafi, parts: RibParts, tidied: (peer: number, isGone: boolean) => void) {
    this.#parts = parts;
    this.table = new RouteTable(family, parts.store, parts.seed, parts.capacity);
    this.#sweep = new Sweep(this.table, (peer) => {
      const routes = this.incoming.get(peer);
      routes?.settled();
      tidied(peer, routes?.received === 0);
    });
  }

  tidy(peer: number, routes: AdjRibIn): void {
    this.#sweep.ask(peer, routes);
  }

  /** The number means nobody any more. */
  forgetPeer(peer: number): void {
    this.incoming.get(peer)?.expire();
    this.incoming.delete(peer);
    this.#sweep.cancel(peer);
  }

  /** The group of a peer, made if it is the first of its kind. */
  group(key: string, peer: RibPeer, family: PeerFamily, interest?: RouteTargets): UpdateGroup {
    const known = this.groups.get(key);
    if (known) return known;
    const group = new UpdateGroup(this.#parts, this.table, peer, family, interest);
    this.groups.set(key, group);
    group.reconsider();
    return group;
  }

  /** Gives up a group that nobody is in, in portions. */
  drop(key: string): void {
    const group = this.groups.get(key);
    if (group === undefined || group.members.size > 0) return;
    this.groups.delete(key);
    this.#dropped.push(group.sent);
  }

  /** Where a destination leads, as watchers hear it. */
  bestRoute(row: number): BestRoute | undefined {
    const { decision, store } = this.#parts;
    const { table } = this;
    decision.run(table, row);
    const { best, multipath } = decision;
    if (best === 0 || table.peer[best] === LOCAL) return undefined;
    const hops = new Map<string, RouteHop>();
    for (const path of multipath) {
      const hop = this.#hop(path);
      const { address, device = '' } = hop;
      if (!hops.has(`${address}%${device}`)) hops.set(`${address}%${device}`, hop);
    }
    const preference = store.localPreference[table.accepted[best] as number] as number;
    return { nextHops: [...hops.values()], priority: priorityOf(preference) };
  }

  #hop(path: number): RouteHop {
    const { store, peers } = this.#parts;
    const { accepted, peer } = this.table;
    const address = store.nextHops.address(store.nextHop[accepted[path] as number] as number);
    const device = isLinkLocal(address) ? peers.get(peer[path] as number)?.interface : undefined;
    return device === undefined ? { address } : { address, device };
  }

  watch(observer: Observer): () => void {
    const watch = { observer, pending: new Bits(PREFIX_LIMIT) };
    for (let row = 1; row < this.table.destinationEnd; row++) watch.pending.add(row);
    this.#watches.add(watch);
    return () => this.#watches.delete(watch);
  }

  /** Every destination is to be decided again. */
  decideAll(): void {
    for (let row = 1; row < this.table.destinationEnd; row++) this.table.dirty.add(row);
  }

  /** Works until `deadline`. With `held`, nothing is sent. Answers when to come again: 0 at once, a time in milliseconds, or never. */
  work(deadline: number, held: boolean): number {
    const { dirty } = this.table;
    // Each stage gets on by a portion in every turn, however late it is: no stage starves the ones after it.
    this.#repeat(
      deadline,
      () => !this.#sweep.isIdle,
      () => this.#sweep.step(8 * PORTION),
    );
    this.#repeat(
      deadline,
      () => dirty.size > 0,
      () => this.#decide(),
    );
    for (const watch of this.#watches) {
      this.#repeat(
        deadline,
        () => watch.pending.size > 0,
        () => this.#notify(watch),
      );
    }
    const busy = !this.#sweep.isIdle || dirty.size > 0 || this.#isWatched;
    const next = held ? Number.POSITIVE_INFINITY : this.#send(deadline, busy);
    return this.#reclaim(deadline) || busy ? 0 : next;
  }

  /** Frees what dropped groups hold, and destinations without paths that no peer has to be told of any more. */
  #reclaim(deadline: number): boolean {
    const { empty } = this.table;
    this.#dropped = this.#dropped.filter((sent) => sent.shrink(8 * PORTION));
    if (this.#isReading) return this.#dropped.length > 0;
    for (let progress = true; progress && empty.size > 0; ) {
      progress = false;
      const count = empty.take(this.#rows);
      for (let index = 0; index < count; index++) {
        const row = this.#rows[index] as number;
        if (this.table.first[row] !== 0) continue;
        if (this.#isRemembered(row)) empty.add(row);
        else {
          this.table.freeDestination(row);
          progress = true;
        }
      }
      if (progress && this.#parts.now() >= deadline) return true;
    }
    return this.#dropped.length > 0;
  }

  /** A log that is being read speaks of destinations by their rows. */
  get #isReading(): boolean {
    for (const group of this.groups.values()) if (group.backlog > 0) return true;
    return false;
  }

  get #isWatched(): boolean {
    for (const { pending } of this.#watches) if (pending.size > 0) return true;
    return false;
  }

  #isRemembered(row: number): boolean {
    if (this.table.dirty.has(row)) return true;
    for (const { pending } of this.#watches) if (pending.has(row)) return true;
    for (const group of this.groups.values()) if (group.remembers(row)) return true;
    return false;
  }

  #decide(): void {
    const { table } = this;
    const { decision } = this.#parts;
    const count = table.dirty.take(this.#rows);
    for (let index = 0; index < count; index++) {
      const row = this.#rows[index] as number;
      decision.run(table, row);
      if (decision.best !== 0) table.promote(row, decision.best);
      else if (table.first[row] === 0) table.empty.add(row);
      for (const group of this.groups.values()) group.pending.add(row);
      for (const watch of this.#watches) watch.pending.add(row);
    }
  }

  #notify({ observer, pending }: Watch): void {
    const count = pending.take(this.#rows);
    for (let index = 0; index < count; index++) {
      const row = this.#rows[index] as number;
      const prefix = prefixOf(this.table, row);
      if (prefix !== undefined) observer(prefix, this.bestRoute(row));
    }
  }

  #repeat(deadline: number, hasWork: () => boolean, portion: () => void): void {
    while (hasWork()) {
      portion();
      if (this.#parts.now() >= deadline) return;
    }
  }

  /** Changes are gathered while more are coming and peers have been written to a moment ago: messages get fuller. */
  #send(deadline: number, busy: boolean): number {
    const { now } = this.#parts;
    let next = Number.POSITIVE_INFINITY;
    const due = this.#flushedAt + this.#pause;
    for (const group of this.groups.values()) {
      if (group.pending.size > 0) {
        const start = now();
        if (start < due && (busy || group.members.size > 1) && group.pending.size < ENOUGH) {
          next = Math.min(next, due - start);
        } else {
          this.#repeat(
            deadline,
            () => group.pending.size > 0,
            () => group.seal(),
          );
          if (group.pending.size > 0) next = 0;
        }
      }
      const began = now();
      if (!group.isBehind) continue;
      if (group.flush(deadline)) next = 0;
      this.#flushedAt = now();
      this.#pause = Math.min(LONGEST_PAUSE, Math.max(this.#flushedAt - began, this.#pause / 2));
    }
    return next;
  }
}
