import { FullError } from './full.ts';

/** ES2024, in Node since 20; TypeScript's ES2023 library does not know it. */
interface ResizableArrayBuffer extends ArrayBuffer {
  resize(byteLength: number): void;
}
type ResizableConstructor = new (
  byteLength: number,
  options: { maxByteLength: number },
) => ResizableArrayBuffer;
const Resizable = ArrayBuffer as unknown as ResizableConstructor;

/**
 * The rows of a table as columns of numbers that grow in place: address space is reserved up to the limit and
 * memory is used for rows that were written. Growing copies nothing, so that neither a pause nor a second copy
 * comes with a table's millionth row, and the arrays handed out stay valid for ever.
 *
 * Row 0 is never used: 0 means none.
 */
export class Columns {
  readonly #buffers: { buffer: ResizableArrayBuffer; width: number }[] = [];
  readonly #what: string;
  readonly #limit: number;
  #capacity: number;

  /** `what` names the rows in the error that a full table throws. */
  constructor(what: string, limit: number, capacity = 256) {
    this.#what = what;
    this.#limit = limit;
    this.#capacity = Math.min(capacity, limit);
  }

  u8(): Uint8Array {
    return new Uint8Array(this.#buffer(1));
  }

  u16(): Uint16Array {
    return new Uint16Array(this.#buffer(2));
  }

  u32(): Uint32Array {
    return new Uint32Array(this.#buffer(4));
  }

  /**
   * Makes room for rows 0 to `row`.
   *
   * @throws {FullError}
   */
  reach(row: number): void {
    if (row < this.#capacity) return;
    if (row >= this.#limit) {
      throw new FullError(`Cannot add to the ${this.#what}: the table is full (value ${this.#limit})`);
    }
    this.#capacity = Math.min(this.#limit, Math.max(row + 1, 2 * this.#capacity));
    for (const { buffer, width } of this.#buffers) buffer.resize(this.#capacity * width);
  }

  #buffer(width: number): ArrayBuffer {
    const buffer = new Resizable(this.#capacity * width, { maxByteLength: this.#limit * width });
    this.#buffers.push({ buffer, width });
    return buffer;
  }
}
