import { AdjRibOut } from '../rib/adjRibOut.ts';
import { Bits } from '../rib/bits.ts';
import type { FamilyRib } from '../rib/familyRib.ts';
import { PREFIX_LIMIT } from '../rib/nlriKeys.ts';
import type { RibParts } from '../rib/ribParts.ts';
import { UpdateBatch } from '../rib/updateBatch.ts';
import { MAX_EXTENDED_LENGTH } from '../wire/frame.ts';

/** Destinations of one portion of work. */
const PORTION = 512;
const LENGTH_AT = 16;

export interface TableViewOptions {
  readonly parts: RibParts;
  readonly rib: FamilyRib;
  /** The station expects path identifiers; they are this router's own, by which it tells paths apart. */
  readonly addPath: boolean;
  /** Shows the paths of a destination as they stand now. */
  paths(destination: number, show: (ordinal: number, attributes: number) => void): void;
}

/**
 * A table as a station is told of it. What changes is a bit until there is time and room to say it, so a slow station
 * hears less, and nothing waits for it.
 */
export class TableView {
  readonly family: FamilyRib;
  readonly #options: TableViewOptions;
  readonly #told: AdjRibOut;
  readonly #pending = new Bits(PREFIX_LIMIT);
  readonly #batch: UpdateBatch;
  readonly #rows = new Uint32Array(PORTION);

  constructor(options: TableViewOptions) {
    const { parts, rib, addPath } = options;
    this.family = rib;
    this.#options = options;
    this.#told = new AdjRibOut(parts.store);
    this.#batch = new UpdateBatch(parts.store, rib.table, {
      family: rib.table.family,
      maxMessageSize: MAX_EXTENDED_LENGTH,
      addPath,
      fourOctetAs: true,
    });
  }

  get isPending(): boolean {
    return this.#pending.size > 0;
  }

  touch(destination: number): void {
    this.#pending.add(destination);
  }

  touchAll(): void {
    for (let row = 1; row < this.family.table.destinationEnd; row++) this.#pending.add(row);
  }

  /** UPDATE messages that bring the station up to date with a portion of what has changed. */
  next(): Uint8Array[] {
    const count = this.#pending.take(this.#rows);
    return this.#tell(this.#rows.subarray(0, count));
  }

  /** The same at once for destinations that are about to be forgotten: their numbers may mean others in a moment. */
  last(destinations: readonly number[]): Uint8Array[] {
    const told = destinations.filter((one) => this.#told.firstOf(one) !== 0);
    return told.length === 0 ? [] : this.#tell(told);
  }

  /** Lets go of what it holds. */
  close(): void {
    while (this.#told.shrink(PORTION));
  }

  #tell(rows: Iterable<number>): Uint8Array[] {
    const batch = this.#batch;
    batch.clear();
    for (const row of rows) this.#compare(row);
    return batch.encode(0, () => false).flatMap(({ bytes }) => messagesOf(bytes));
  }

  #compare(row: number): void {
    const wanted = new Map<number, number>();
    const { addPath } = this.#options;
    this.#options.paths(row, (ordinal, attributes) => wanted.set(addPath ? ordinal : 0, attributes));
    for (let entry = this.#told.firstOf(row); entry !== 0; ) {
      const next = this.#told.next[entry] as number;
      const ordinal = this.#told.ordinal[entry] as number;
      const attributes = wanted.get(ordinal);
      const before = this.#told.attributes[entry] as number;
      if (attributes === undefined) {
        this.#batch.withdraw(row, ordinal, before);
        this.#told.remove(row, entry);
      } else if (attributes !== before) {
        this.#told.replace(entry, attributes, 0);
        this.#batch.announce(row, ordinal, attributes, 0);
      }
      wanted.delete(ordinal);
      entry = next;
    }
    for (const [ordinal, attributes] of wanted) {
      this.#told.add(row, ordinal, attributes, 0);
      this.#batch.announce(row, ordinal, attributes, 0);
    }
  }
}

/** Whole BGP messages that stand one behind the other, each by itself. */
export function messagesOf(bytes: Uint8Array): Uint8Array[] {
  const messages: Uint8Array[] = [];
  for (let at = 0; at < bytes.length; ) {
    const length = ((bytes[at + LENGTH_AT] as number) << 8) | (bytes[at + LENGTH_AT + 1] as number);
    messages.push(bytes.subarray(at, at + length));
    at += length;
  }
  return messages;
}
