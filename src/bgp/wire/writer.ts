import { bytesOf, type IP } from '../../address/ip.ts';

/** Collects bytes in network order; a length that is known only afterwards is left open and filled in later. */
export class Writer {
  #bytes: Buffer;
  #length = 0;

  constructor(capacity = 256) {
    this.#bytes = Buffer.allocUnsafe(capacity);
  }

  get length(): number {
    return this.#length;
  }

  u8(value: number): this {
    const at = this.#grow(1);
    this.#bytes.writeUInt8(value, at);
    return this;
  }

  u16(value: number): this {
    const at = this.#grow(2);
    this.#bytes.writeUInt16BE(value, at);
    return this;
  }

  u24(value: number): this {
    const at = this.#grow(3);
    this.#bytes.writeUIntBE(value, at, 3);
    return this;
  }

  u32(value: number): this {
    const at = this.#grow(4);
    this.#bytes.writeUInt32BE(value, at);
    return this;
  }

  u64(value: bigint): this {
    const at = this.#grow(8);
    this.#bytes.writeBigUInt64BE(value, at);
    return this;
  }

  ip(address: IP): this {
    return this.put(bytesOf(address));
  }

  put(bytes: Uint8Array): this {
    const at = this.#grow(bytes.length);
    this.#bytes.set(bytes, at);
    return this;
  }

  /** Writes what `body` writes behind its own length in 1 or 2 bytes. */
  counted(size: 1 | 2, body: () => void): this {
    const start = this.#grow(size);
    body();
    this.#bytes.writeUIntBE(this.#length - start - size, start, size);
    return this;
  }

  /** Forgets everything written behind the first `length` bytes. */
  truncate(length: number): void {
    this.#length = length;
  }

  /** A view of what has been written; valid until the next write. */
  view(start = 0): Buffer {
    return this.#bytes.subarray(start, this.#length);
  }

  /** A copy of what has been written. */
  done(): Buffer {
    return Buffer.from(this.view());
  }

  /** Makes room, perhaps in a new buffer: whoever writes must look at `#bytes` only after this. */
  #grow(size: number): number {
    const start = this.#length;
    this.#length += size;
    if (this.#length > this.#bytes.length) {
      const larger = Buffer.allocUnsafe(Math.max(this.#length, 2 * this.#bytes.length));
      this.#bytes.copy(larger, 0, 0, start);
      this.#bytes = larger;
    }
    return start;
  }
}
