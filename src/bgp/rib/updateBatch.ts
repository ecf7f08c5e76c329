import type { AttributeStore } from './attributeStore.ts';
import { Columns } from './columns.ts';
import type { RouteTable } from './routeTable.ts';
import { type EncoderOptions, UpdateEncoder } from './updateEncoder.ts';
import type { Chunk } from './updateLog.ts';

/** A destination may come with 65,535 paths, and a portion has many destinations. */
const ENOUGH = 1 << 16;

/**
 * Changes collected by the attributes they go out under, so that the routes of one set share messages. Changes
 * of a bucket are a linked list through arrays; buckets come in the order in which they were first used.
 */
export class UpdateBatch {
  readonly #encoder: UpdateEncoder;
  readonly #columns = new Columns('changes of a batch', 1 << 24);
  readonly #destination = this.#columns.u32();
  readonly #ordinal = this.#columns.u16();
  /** The attributes of an announcement, or those that a withdrawn route had. */
  readonly #attributes = this.#columns.u32();
  /** The next change of the same bucket, 0 for none. */
  readonly #next = this.#columns.u32();
  /** Changes count from 1. */
  #end = 1;
  #buckets = new Map<number, Bucket>();
  #lastKey = -1;
  #last: Bucket | undefined;
  #withdrawals: Bucket = emptyBucket(0, 0);
  #private = new Map<number, Bucket>();
  /** Routes that did not fit into any message, of the last {@link encode}. */
  unsendable = 0;

  constructor(store: AttributeStore, table: RouteTable, options: EncoderOptions) {
    this.#encoder = new UpdateEncoder(store, table, options);
  }

  get isEmpty(): boolean {
    return this.#end === 1;
  }

  /** Enough for one portion of work. */
  get isFull(): boolean {
    return this.#end > ENOUGH;
  }

  clear(): void {
    this.#end = 1;
    this.#buckets.clear();
    this.#lastKey = -1;
    this.#withdrawals = emptyBucket(0, 0);
    this.#private.clear();
    this.unsendable = 0;
  }

  /** For everybody but `from`. */
  announce(destination: number, ordinal: number, attributes: number, from: number): void {
    const key = attributes * 0x10000 + from;
    let bucket = this.#last;
    if (key !== this.#lastKey || bucket === undefined) {
      bucket = this.#buckets.get(key) ?? emptyBucket(attributes, from);
      this.#buckets.set(key, bucket);
      this.#lastKey = key;
      this.#last = bucket;
    }
    this.#add(bucket, destination, ordinal, attributes);
  }

  /** For everybody; `sent` are the attributes it was announced under, as far as known. */
  withdraw(destination: number, ordinal: number, sent: number): void {
    this.#add(this.#withdrawals, destination, ordinal, sent);
  }

  /** For one peer only. */
  withdrawFrom(peer: number, destination: number, ordinal: number, sent: number): void {
    const bucket = this.#private.get(peer) ?? emptyBucket(0, peer);
    this.#private.set(peer, bucket);
    this.#add(bucket, destination, ordinal, sent);
  }

  /** Every destination there is a change of, possibly more than once. */
  destinations(): Uint32Array {
    return new Uint32Array(this.#destination.subarray(1, this.#end));
  }

  /** The changes as messages. `isMember` says for whom leaving out its own routes is worth the trouble. */
  encode(time: number, isMember: (peer: number) => boolean): Chunk[] {
    const chunks: Chunk[] = [];
    const destinations = this.destinations();
    let exclusions = new Map<number, number[]>();
    const seal = () => {
      const bytes = this.#encoder.take();
      if (bytes.length > 0) chunks.push({ bytes, exclusions, privately: NOTHING, destinations, time });
      exclusions = new Map();
    };
    this.#encoder.withdraw();
    this.#run(this.#withdrawals, seal);
    for (const bucket of this.#buckets.values()) {
      if (!this.#encoder.announce(bucket.attributes)) {
        this.#withdrawUnsendable(bucket, seal);
        continue;
      }
      const start = this.#encoder.length;
      const before = chunks.length;
      this.#run(bucket, seal);
      this.#encoder.flush();
      if (bucket.from === 0 || !isMember(bucket.from)) continue;
      this.#exclude(chunks, exclusions, bucket.from, before, start);
    }
    const bytes = this.#encoder.take();
    const privately = this.#encodePrivate();
    if (bytes.length > 0 || privately.size > 0) {
      chunks.push({ bytes, exclusions, privately, destinations, time });
    }
    return chunks;
  }

  #add(bucket: Bucket, destination: number, ordinal: number, attributes: number): void {
    const index = this.#end++;
    this.#columns.reach(index);
    this.#destination[index] = destination;
    this.#ordinal[index] = ordinal;
    this.#attributes[index] = attributes;
    this.#next[index] = 0;
    if (bucket.last === 0) bucket.first = index;
    else this.#next[bucket.last] = index;
    bucket.last = index;
  }

  #run(bucket: Bucket, seal: () => void): void {
    for (let index = bucket.first; index !== 0; index = this.#next[index] as number) {
      if (this.#encoder.isFull) seal();
      this.#encoder.add(
        this.#destination[index] as number,
        this.#ordinal[index] as number,
        this.#attributes[index] as number,
      );
    }
  }

  /** RFC 4271 leaves no way to send them; peers must not keep an older version either. */
  #withdrawUnsendable(bucket: Bucket, seal: () => void): void {
    this.#encoder.withdraw();
    for (let index = bucket.first; index !== 0; index = this.#next[index] as number) this.unsendable++;
    this.#run(bucket, seal);
  }

  /** Notes that `peer` does not get what the bucket wrote, which may be spread over several chunks. */
  #exclude(
    chunks: readonly Chunk[],
    current: Map<number, number[]>,
    peer: number,
    firstChunk: number,
    start: number,
  ): void {
    let from = start;
    for (const chunk of chunks.slice(firstChunk)) {
      note(chunk.exclusions as Map<number, number[]>, peer, from, chunk.bytes.length);
      from = 0;
    }
    note(current, peer, from, this.#encoder.length);
  }

  #encodePrivate(): ReadonlyMap<number, Uint8Array> {
    if (this.#private.size === 0) return NOTHING;
    const messages = new Map<number, Uint8Array>();
    for (const [peer, bucket] of this.#private) {
      const parts: Uint8Array[] = [];
      const seal = () => {
        parts.push(this.#encoder.take());
      };
      this.#encoder.withdraw();
      this.#run(bucket, seal);
      seal();
      messages.set(peer, Buffer.concat(parts));
    }
    return messages;
  }
}

interface Bucket {
  readonly attributes: number;
  readonly from: number;
  first: number;
  last: number;
}

const NOTHING: ReadonlyMap<number, Uint8Array> = new Map();

function emptyBucket(attributes: number, from: number): Bucket {
  return { attributes, from, first: 0, last: 0 };
}

function note(exclusions: Map<number, number[]>, peer: number, start: number, end: number): void {
  if (start === end) return;
  const ranges = exclusions.get(peer);
  if (ranges) ranges.push(start, end);
  else exclusions.set(peer, [start, end]);
}
