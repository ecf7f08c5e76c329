import type { AdjRibOut } from './adjRibOut.ts';
import type { UpdateBatch } from './updateBatch.ts';
import type { Chunk } from './updateLog.ts';

/**
 * An Adj-RIB-Out in pages of so many destinations, each encoded once for all who read it whole: new members of a group come many at
 * a time, when a router starts.
 */
export class Pages {
  readonly #sent: AdjRibOut;
  readonly #batch: UpdateBatch;
  readonly #size: number;
  readonly #encoded = new Map<number, readonly Chunk[]>();

  /** @param batch To encode with; whatever is in it is lost. */
  constructor(sent: AdjRibOut, batch: UpdateBatch, size: number) {
    this.#sent = sent;
    this.#batch = batch;
    this.#size = size;
  }

  /** All that is sent of a page; the same bytes until something in it changes. */
  at(page: number): readonly Chunk[] {
    const known = this.#encoded.get(page);
    if (known) return known;
    const sent = this.#sent;
    const batch = this.#batch;
    batch.clear();
    const end = Math.min(sent.end, (page + 1) * this.#size);
    for (let destination = page * this.#size; destination < end; destination++) {
      for (let entry = sent.firstOf(destination); entry !== 0; entry = sent.next[entry] as number) {
        const attributes = sent.attributes[entry] as number;
        batch.announce(destination, sent.ordinal[entry] as number, attributes, sent.from[entry] as number);
      }
    }
    // Whoever comes later may read it, too: a peer whose stale routes are in it, say.
    const chunks = batch.encode(0, () => true);
    this.#encoded.set(page, chunks);
    return chunks;
  }

  /** Something about a destination has changed. */
  changed(destination: number): void {
    this.#encoded.delete(Math.floor(destination / this.#size));
  }

  /** Nobody reads them at present. */
  clear(): void {
    this.#encoded.clear();
  }
}
