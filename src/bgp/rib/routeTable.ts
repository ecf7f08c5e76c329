import type { AfiSafi } from '../wire/family.ts';
import type { AttributeStore } from './attributeStore.ts';
import { Bits } from './bits.ts';
import { Columns } from './columns.ts';
import { FullError } from './full.ts';
import { HashIndex } from './hashIndex.ts';
import { keysOf, type NlriKeys, PREFIX_LIMIT } from './nlriKeys.ts';

/** The most paths of one family, over all peers. */
const PATH_LIMIT = 1 << 25;

/** A path that outlived its restart time and is used only where nothing better is (RFC 9494 §4.2). */
export const LONG_LIVED = 1;

/**
 * All routes of one family: destinations, each with a list of paths, the best of them first once it has been
 * decided. A path is what one peer says (under one path identifier); it keeps the attributes as they came, and
 * those that import policy made of them, or 0 where it refused. Keeping both costs four bytes a path and spares
 * asking peers to send everything again when policy changes.
 */
export class RouteTable {
  readonly family: AfiSafi;
  readonly keys: NlriKeys;
  readonly #attributes: AttributeStore;
  readonly #index: HashIndex;

  readonly #destinations: Columns;
  /** First path of a destination. */
  readonly first: Uint32Array;
  /** The highest path ordinal that a destination ever had. */
  readonly topOrdinal: Uint16Array;
  readonly #freeDestinations: number[] = [];
  #destinationEnd = 1;

  readonly #paths = new Columns('paths', PATH_LIMIT);
  readonly next = this.#paths.u32();
  readonly destination = this.#paths.u32();
  readonly peer = this.#paths.u16();
  /** The path identifier as received, 0 without add-path. */
  readonly pathId = this.#paths.u32();
  /** Tells the paths of one destination apart; our path identifier towards peers. */
  readonly ordinal = this.#paths.u16();
  readonly received = this.#paths.u32();
  /** After import policy; 0 is refused. */
  readonly accepted = this.#paths.u32();
  /** The peer's epoch when the path was last heard of; an older one is stale. */
  readonly epoch = this.#paths.u8();
  readonly flags = this.#paths.u8();
  #freePath = 0;
  #pathEnd = 1;
  #pathCount = 0;

  /** Destinations to be decided again. */
  readonly dirty = new Bits(PREFIX_LIMIT);
  /** Destinations that lost their last path; freed once no update group remembers them. */
  readonly empty = new Bits(PREFIX_LIMIT);

  /** @param capacity The most destinations. */
  constructor(family: AfiSafi, attributes: AttributeStore, seed: number, capacity: number) {
    this.#destinations = new Columns('destinations', Math.min(capacity + 1, PREFIX_LIMIT));
    this.first = this.#destinations.u32();
    this.topOrdinal = this.#destinations.u16();
    this.family = family;
    this.keys = keysOf(family, seed);
    this.#attributes = attributes;
    this.#index = new HashIndex('destinations', PREFIX_LIMIT);
  }

  get size(): number {
    return this.#index.size;
  }

  get paths(): number {
    return this.#pathCount;
  }

  /** One more than the highest row of a path. */
  get pathEnd(): number {
    return this.#pathEnd;
  }

  get destinationEnd(): number {
    return this.#destinationEnd;
  }

  /** The destination of the NLRI read last, or 0. */
  find(): number {
    return this.#find(this.keys.hash());
  }

  /** The destination of the NLRI read last, made if it is new. */
  findOrAdd(): number {
    const hash = this.keys.hash();
    const known = this.#find(hash);
    if (known !== 0) return known;
    const row = this.#freeDestinations.at(-1) ?? this.#destinationEnd;
    this.#destinations.reach(row);
    this.keys.store(row);
    this.#index.add(row, hash);
    if (this.#freeDestinations.pop() === undefined) this.#destinationEnd++;
    return row;
  }

  freeDestination(row: number): void {
    this.#index.remove(row);
    this.keys.free(row);
    this.topOrdinal[row] = 0;
    this.#freeDestinations.push(row);
  }

  /** The path that `peer` has to a destination under an identifier, or 0. */
  findPath(destination: number, peer: number, pathId: number): number {
    let path = this.first[destination] as number;
    while (path !== 0 && (this.peer[path] !== peer || this.pathId[path] !== pathId)) {
      path = this.next[path] as number;
    }
    return path;
  }

  addPath(destination: number, peer: number, pathId: number): number {
    const path = this.#freePath || this.#pathEnd;
    this.#paths.reach(path);
    if (this.#freePath !== 0) this.#freePath = this.next[path] as number;
    else this.#pathEnd++;
    this.#pathCount++;
    const ordinal = this.#freeOrdinal(destination);
    this.destination[path] = destination;
    this.peer[path] = peer;
    this.pathId[path] = pathId;
    this.ordinal[path] = ordinal;
    this.received[path] = 0;
    this.accepted[path] = 0;
    this.flags[path] = 0;
    this.next[path] = this.first[destination] as number;
    this.first[destination] = path;
    if (ordinal > (this.topOrdinal[destination] as number)) this.topOrdinal[destination] = ordinal;
    return path;
  }

  /** What the path says now; 0 as `accepted` where policy refused it. */
  setAttributes(path: number, received: number, accepted: number): void {
    this.#attributes.retain(received);
    if (accepted !== 0) this.#attributes.retain(accepted);
    this.#releaseAttributes(path);
    this.received[path] = received;
    this.accepted[path] = accepted;
  }

  removePath(path: number): void {
    const destination = this.destination[path] as number;
    let at = this.first[destination] as number;
    if (at === path) this.first[destination] = this.next[path] as number;
    else {
      while (this.next[at] !== path) at = this.next[at] as number;
      this.next[at] = this.next[path] as number;
    }
    this.#releaseAttributes(path);
    this.peer[path] = 0xffff;
    this.received[path] = 0;
    this.accepted[path] = 0;
    this.next[path] = this.#freePath;
    this.#freePath = path;
    this.#pathCount--;
  }

  /** Puts a path of `destination` first. */
  promote(destination: number, path: number): void {
    let at = this.first[destination] as number;
    if (at === path) return;
    while (this.next[at] !== path) at = this.next[at] as number;
    this.next[at] = this.next[path] as number;
    this.next[path] = this.first[destination] as number;
    this.first[destination] = path;
  }

  #find(hash: number): number {
    let row = this.#index.first(hash);
    while (row !== 0 && !this.keys.is(row)) row = this.#index.next(row);
    return row;
  }

  #freeOrdinal(destination: number): number {
    if (this.first[destination] === 0) return 1;
    const top = this.topOrdinal[destination] as number;
    let count = 0;
    for (let path = this.first[destination] as number; path !== 0; path = this.next[path] as number) count++;
    if (count === top) {
      if (top === 0xffff) throw new FullError('Cannot add path: the destination has too many (value 65535)');
      return top + 1;
    }
    const used = new Uint8Array(top + 1);
    for (let path = this.first[destination] as number; path !== 0; path = this.next[path] as number) {
      used[this.ordinal[path] as number] = 1;
    }
    return used.indexOf(0, 1);
  }

  #releaseAttributes(path: number): void {
    const received = this.received[path] as number;
    const accepted = this.accepted[path] as number;
    if (received !== 0) this.#attributes.release(received);
    if (accepted !== 0) this.#attributes.release(accepted);
  }
}
