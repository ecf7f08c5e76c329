/** Messages of one update group in the order they are to be sent, shared by all peers that keep up. */
export interface Chunk {
  /** Whole messages for everybody. */
  readonly bytes: Uint8Array;
  /** Parts of `bytes` that a peer must not get, as pairs of start and end: its own routes. */
  readonly exclusions: ReadonlyMap<number, readonly number[]>;
  /** Messages for one peer alone, after the others. */
  readonly privately: ReadonlyMap<number, Uint8Array>;
  /** The destinations these messages speak of: what a peer that leaves the log is still owed. */
  readonly destinations: Uint32Array;
  /** When it was written, in milliseconds. */
  readonly time: number;
}

/** A log that forgets what every reader has read. Positions count chunks since the beginning. */
export class UpdateLog {
  #chunks: Chunk[] = [];
  #start = 0;
  #bytes = 0;

  /** How many bytes are kept. */
  get bytes(): number {
    return this.#bytes;
  }

  get start(): number {
    return this.#start;
  }

  get end(): number {
    return this.#start + this.#chunks.length;
  }

  append(chunk: Chunk): void {
    this.#chunks.push(chunk);
    this.#bytes += chunk.bytes.length;
  }

  at(position: number): Chunk | undefined {
    return this.#chunks[position - this.#start];
  }

  /** Forgets everything before `position`. */
  trim(position: number): void {
    const count = Math.min(position - this.#start, this.#chunks.length);
    if (count <= 0) return;
    for (const chunk of this.#chunks.slice(0, count)) this.#bytes -= chunk.bytes.length;
    this.#chunks = this.#chunks.slice(count);
    this.#start += count;
  }
}

/** Hands a chunk to one peer, piece by piece where parts are not for it. Answers whether there is room for more. */
export function writeChunk(chunk: Chunk, peer: number, write: (bytes: Uint8Array) => boolean): boolean {
  let room = true;
  let at = 0;
  const exclusions = chunk.exclusions.get(peer) ?? [];
  for (let index = 0; index < exclusions.length; index += 2) {
    const start = exclusions[index] as number;
    if (start > at) room = write(chunk.bytes.subarray(at, start));
    at = exclusions[index + 1] as number;
  }
  if (at < chunk.bytes.length) room = write(at === 0 ? chunk.bytes : chunk.bytes.subarray(at));
  const own = chunk.privately.get(peer);
  return own ? write(own) : room;
}
