import { Columns } from './columns.ts';

const FIRST_BUCKETS = 64;

/**
 * Finds rows by hash: linear hashing (Litwin 1980). Every insertion splits one bucket, so the index grows with
 * its table and never stops to hash everything anew.
 */
export class HashIndex {
  readonly #bucketColumns: Columns;
  readonly #buckets: Uint32Array;
  readonly #rowColumns: Columns;
  /** Hash and next row of a row, side by side: they are always wanted together, and memory is slow. */
  readonly #links: Uint32Array;
  #size = 0;
  /** Buckets of the current round before any of it was split: a power of two. */
  #round = FIRST_BUCKETS;
  #split = 0;

  constructor(what: string, limit: number) {
    this.#bucketColumns = new Columns(what, 2 * limit, 2 * FIRST_BUCKETS);
    this.#buckets = this.#bucketColumns.u32();
    this.#rowColumns = new Columns(what, 2 * limit);
    this.#links = this.#rowColumns.u32();
  }

  get size(): number {
    return this.#size;
  }

  /** The first row that may have this hash, 0 for none; {@link next} has the others. */
  first(hash: number): number {
    return this.#sameHash(this.#buckets[this.#bucket(hash)] as number, hash);
  }

  /** The next row of the same hash as `row`, or 0. */
  next(row: number): number {
    return this.#sameHash(this.#links[2 * row + 1] as number, this.#links[2 * row] as number);
  }

  add(row: number, hash: number): void {
    this.#rowColumns.reach(2 * row + 1);
    const bucket = this.#bucket(hash);
    this.#links[2 * row] = hash;
    this.#links[2 * row + 1] = this.#buckets[bucket] as number;
    this.#buckets[bucket] = row;
    if (++this.#size > this.#round + this.#split) this.#grow();
  }

  remove(row: number): void {
    const bucket = this.#bucket(this.#links[2 * row] as number);
    let at = this.#buckets[bucket] as number;
    if (at === row) this.#buckets[bucket] = this.#links[2 * row + 1] as number;
    else {
      while (this.#links[2 * at + 1] !== row) at = this.#links[2 * at + 1] as number;
      this.#links[2 * at + 1] = this.#links[2 * row + 1] as number;
    }
    this.#size--;
  }

  #sameHash(from: number, hash: number): number {
    let row = from;
    while (row !== 0 && this.#links[2 * row] !== hash) row = this.#links[2 * row + 1] as number;
    return row;
  }

  #bucket(hash: number): number {
    const bucket = hash & (this.#round - 1);
    return bucket < this.#split ? hash & (2 * this.#round - 1) : bucket;
  }

  #grow(): void {
    const low = this.#split;
    const high = low + this.#round;
    this.#bucketColumns.reach(high);
    let row = this.#buckets[low] as number;
    this.#buckets[low] = 0;
    this.#buckets[high] = 0;
    while (row !== 0) {
      const next = this.#links[2 * row + 1] as number;
      const bucket = ((this.#links[2 * row] as number) & this.#round) === 0 ? low : high;
      this.#links[2 * row + 1] = this.#buckets[bucket] as number;
      this.#buckets[bucket] = row;
      row = next;
    }
    if (++this.#split === this.#round) {
      this.#round *= 2;
      this.#split = 0;
    }
  }
}
