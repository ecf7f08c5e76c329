import { Columns } from './columns.ts';

/** A set of row numbers, a bit each, that is emptied in ascending order and in portions. */
export class Bits {
  readonly #columns: Columns;
  readonly #words: Uint32Array;
  #count = 0;
  /** The word to go on with; what was passed already waits for the next round, so that nothing starves. */
  #cursor = 0;
  #end = 0;

  constructor(limit: number) {
    this.#columns = new Columns('set', (limit >>> 5) + 1, 64);
    this.#words = this.#columns.u32();
  }

  get size(): number {
    return this.#count;
  }

  has(row: number): boolean {
    const word = row >>> 5;
    return word < this.#end && ((this.#words[word] as number) & (1 << (row & 31))) !== 0;
  }

  add(row: number): void {
    const index = row >>> 5;
    if (index >= this.#end) {
      this.#columns.reach(index);
      this.#end = index + 1;
    }
    const word = this.#words[index] as number;
    const bit = 1 << (row & 31);
    if ((word & bit) !== 0) return;
    this.#words[index] = word | bit;
    this.#count++;
  }

  clear(): void {
    this.#words.fill(0, 0, this.#end);
    this.#count = 0;
    this.#cursor = 0;
  }

  /** Moves at most `rows.length` members into `rows` and answers how many. */
  take(rows: Uint32Array): number {
    let taken = 0;
    while (this.#count > 0 && taken < rows.length) {
      if (this.#cursor >= this.#end) this.#cursor = 0;
      let word = this.#words[this.#cursor] as number;
      while (word !== 0 && taken < rows.length) {
        const bit = 31 - Math.clz32(word & -word);
        word &= word - 1;
        rows[taken++] = (this.#cursor << 5) | bit;
        this.#count--;
      }
      this.#words[this.#cursor] = word;
      if (word === 0) this.#cursor++;
    }
    return taken;
  }
}
