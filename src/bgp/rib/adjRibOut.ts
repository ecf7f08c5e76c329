import type { AttributeStore } from './attributeStore.ts';
import { Columns } from './columns.ts';
import { PREFIX_LIMIT } from './nlriKeys.ts';

/**
 * What the peers of one update group were told: per destination the paths by ordinal, with the attributes they
 * were sent under and the peer they come from (who alone was not told). Without add-path there is at most one,
 * of ordinal 0.
 */
export class AdjRibOut {
  readonly #store: AttributeStore;
  readonly #destinations = new Columns('advertised destinations', PREFIX_LIMIT);
  /** First entry of a destination, 0 for none. */
  readonly first = this.#destinations.u32();
  readonly #entries = new Columns('advertised paths', 2 * PREFIX_LIMIT);
  readonly next = this.#entries.u32();
  readonly ordinal = this.#entries.u16();
  readonly attributes = this.#entries.u32();
  readonly from = this.#entries.u16();
  #free = 0;
  #entryEnd = 1;
  #destinationEnd = 0;
  #size = 0;
  /** Paths by the peer they come from. */
  readonly #sourced = new Uint32Array(0x10000);

  constructor(store: AttributeStore) {
    this.#store = store;
  }

  /** How many paths a peer of the group has been told. */
  sizeFor(peer: number): number {
    return this.#size - (this.#sourced[peer] as number);
  }

  /** Destinations at or above this one have no entries. */
  get end(): number {
    return this.#destinationEnd;
  }

  /** The first entry of a destination, 0 for none, also for one never seen. */
  firstOf(destination: number): number {
    return destination < this.#destinationEnd ? (this.first[destination] as number) : 0;
  }

  /** The entry of a path, or 0. */
  find(destination: number, ordinal: number): number {
    let entry = this.firstOf(destination);
    while (entry !== 0 && this.ordinal[entry] !== ordinal) entry = this.next[entry] as number;
    return entry;
  }

  add(destination: number, ordinal: number, attributes: number, from: number): void {
    if (destination >= this.#destinationEnd) {
      this.#destinations.reach(destination);
      this.#destinationEnd = destination + 1;
    }
    const entry = this.#free || this.#entryEnd;
    this.#entries.reach(entry);
    if (this.#free !== 0) this.#free = this.next[entry] as number;
    else this.#entryEnd++;
    this.#store.retain(attributes);
    this.ordinal[entry] = ordinal;
    this.attributes[entry] = attributes;
    this.from[entry] = from;
    this.next[entry] = this.first[destination] as number;
    this.first[destination] = entry;
    this.#count(from, 1);
    this.#size++;
  }

  replace(entry: number, attributes: number, from: number): void {
    this.#store.retain(attributes);
    this.#store.release(this.attributes[entry] as number);
    this.#count(this.from[entry] as number, -1);
    this.#count(from, 1);
    this.attributes[entry] = attributes;
    this.from[entry] = from;
  }

  remove(destination: number, entry: number): void {
    let at = this.first[destination] as number;
    if (at === entry) this.first[destination] = this.next[entry] as number;
    else {
      while (this.next[at] !== entry) at = this.next[at] as number;
      this.next[at] = this.next[entry] as number;
    }
    this.#store.release(this.attributes[entry] as number);
    this.#count(this.from[entry] as number, -1);
    this.next[entry] = this.#free;
    this.#free = entry;
    this.#size--;
  }

  /** Gives up the entries of at most `count` destinations; `false` once there are none left. */
  shrink(count: number): boolean {
    const least = Math.max(0, this.#destinationEnd - count);
    while (this.#destinationEnd > least) {
      const destination = this.#destinationEnd - 1;
      for (
        let entry = this.first[destination] as number;
        entry !== 0;
        entry = this.first[destination] as number
      ) {
        this.remove(destination, entry);
      }
      this.#destinationEnd--;
    }
    return this.#destinationEnd > 0;
  }

  #count(from: number, change: 1 | -1): void {
    this.#sourced[from] = (this.#sourced[from] as number) + change;
  }
}
