import { addCommunity } from './attributeEdit.ts';
import { NO_LLGR } from './attributeStore.ts';
import type { Entrance } from './importer.ts';
import { rewrite } from './rewrite.ts';
import type { RibParts } from './ribParts.ts';
import { LONG_LIVED, type RouteTable } from './routeTable.ts';

const LLGR_STALE_COMMUNITY = 0xffff0006;

/**
 * The routes of one family from one peer. Their age is an epoch, not a timer each: a session that ends, or a
 * refresh that begins, starts a new one, and whatever then has an older one is stale.
 */
export class AdjRibIn {
  readonly #table: RouteTable;
  readonly #parts: RibParts;
  readonly #peer: number;
  #entrance: Entrance;
  #epoch = 0;
  /** Stale routes of this epoch stay for now. */
  #kept: number | undefined;
  /** Stale routes are routes of last resort by now (RFC 9494 §4.2). */
  #longLived = false;
  #reimport = false;
  /** How many routes there are, refused ones included, and how many of them import policy let in. */
  received = 0;
  accepted = 0;
  /** Withdraws the stale routes when nobody has done so in time. */
  cancelTimer: (() => void) | undefined;

  constructor(table: RouteTable, parts: RibParts, peer: number, entrance: Entrance) {
    this.#table = table;
    this.#parts = parts;
    this.#peer = peer;
    this.#entrance = entrance;
  }

  get hasStale(): boolean {
    return this.#kept !== undefined;
  }

  /** Whether a path is of an earlier session or refresh, and not yet confirmed. */
  isStale(path: number): boolean {
    return this.#table.epoch[path] !== this.#epoch;
  }

  /** What import policy has to say about a route, in words. */
  explain(destination: number, received: number): string {
    return this.#entrance.explain(this.#table, destination, received);
  }

  /** Takes an announcement with the attributes received, for the NLRI read last. */
  announce(pathId: number, received: number): void {
    const table = this.#table;
    const destination = table.findOrAdd();
    const accepted = this.#entrance.accept(table, destination, received);
    let path = table.findPath(destination, this.#peer, pathId);
    if (path === 0) {
      // Even if there is no room for the path: a destination without any is found and freed that way.
      table.dirty.add(destination);
      path = table.addPath(destination, this.#peer, pathId);
      this.received++;
    } else if (
      table.received[path] === received &&
      table.accepted[path] === accepted &&
      table.flags[path] === 0
    ) {
      table.epoch[path] = this.#epoch;
      return;
    }
    this.#set(path, received, accepted);
    table.flags[path] = 0;
    table.epoch[path] = this.#epoch;
    table.dirty.add(destination);
  }

  /** Takes a withdrawal of the NLRI read last. */
  withdraw(pathId: number): void {
    const table = this.#table;
    const destination = table.find();
    const path = destination === 0 ? 0 : table.findPath(destination, this.#peer, pathId);
    if (path !== 0) this.#remove(path);
  }

  /** A new session, or BoRR: routes not heard of again become stale. Older stale ones are lost (RFC 4724 §4.2). */
  age(keep: boolean): void {
    this.#kept = keep ? this.#epoch : undefined;
    this.#longLived = false;
    this.#epoch = (this.#epoch + 1) & 255;
  }

  /** The stale routes have lasted too long to be preferred to anything. */
  beginLongLived(): void {
    this.#longLived = true;
  }

  /** Nothing stale is to stay. */
  expire(): void {
    this.#kept = undefined;
    this.cancelTimer?.();
    this.cancelTimer = undefined;
  }

  /** New import policy; routes meet it as {@link tidy} comes by. */
  reimport(entrance: Entrance): void {
    this.#entrance = entrance;
    this.#reimport = true;
  }

  /** Every path has been tidied since {@link reimport}. */
  settled(): void {
    this.#reimport = false;
  }

  /** Brings a path of this peer in line with what was said about all of them. */
  tidy(path: number): void {
    const table = this.#table;
    const isStale = table.epoch[path] !== this.#epoch;
    if (isStale && !this.#mayStay(path)) {
      this.#remove(path);
      return;
    }
    const grewOld = isStale && this.#longLived && table.flags[path] !== LONG_LIVED;
    if (grewOld) table.flags[path] = LONG_LIVED;
    if (grewOld || this.#reimport) this.#again(path);
  }

  #mayStay(path: number): boolean {
    const table = this.#table;
    if (table.epoch[path] !== this.#kept) return false;
    const flags = this.#parts.store.flags[table.received[path] as number] as number;
    return !this.#longLived || (flags & NO_LLGR) === 0;
  }

  #again(path: number): void {
    const table = this.#table;
    const destination = table.destination[path] as number;
    const received = table.received[path] as number;
    let accepted = this.#entrance.accept(table, destination, received);
    if (accepted !== 0 && table.flags[path] === LONG_LIVED) accepted = this.#lastResort(accepted);
    if (accepted === table.accepted[path]) return;
    this.#set(path, received, accepted);
    table.dirty.add(destination);
  }

  /** RFC 9494 §4.2: everybody further on must know. */
  #lastResort(accepted: number): number {
    const { store, scratch } = this.#parts;
    return rewrite(store, scratch, accepted, { edits: [addCommunity(LLGR_STALE_COMMUNITY)], leaving: false });
  }

  #set(path: number, received: number, accepted: number): void {
    if (this.#table.accepted[path] !== 0) this.accepted--;
    if (accepted !== 0) this.accepted++;
    this.#table.setAttributes(path, received, accepted);
  }

  #remove(path: number): void {
    if (this.#table.accepted[path] !== 0) this.accepted--;
    this.received--;
    this.#table.dirty.add(this.#table.destination[path] as number);
    this.#table.removePath(path);
  }
}
