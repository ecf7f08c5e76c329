import { Columns } from './columns.ts';

/** Blocks are multiples of this, so that an address of 32 bits reaches 32 GiB. */
const UNIT = 8;

/**
 * Byte strings outside the garbage collector's sight: a million of them cost their bytes and no objects. Freed
 * blocks are used again for strings of the same rounded length.
 */
export class Arena {
  readonly #columns: Columns;
  /** One array for ever; it grows in place. */
  readonly bytes: Uint8Array;
  #end = 1;
  /** First free block by length in units; the block's first four bytes hold the next one. */
  readonly #free: number[] = [];

  /** `limit` is in bytes. */
  constructor(what: string, limit: number) {
    this.#columns = new Columns(what, limit, 4096);
    this.bytes = this.#columns.u8();
  }

  /** Copies `length` bytes in and answers their address in units. */
  put(from: Uint8Array, start: number, length: number): number {
    const address = this.#take(Math.max(1, Math.ceil(length / UNIT)));
    const to = address * UNIT;
    for (let at = 0; at < length; at++) this.bytes[to + at] = from[start + at] as number;
    return address;
  }

  /** Where the bytes at `address` stand in {@link bytes}. */
  offset(address: number): number {
    return address * UNIT;
  }

  equals(address: number, other: Uint8Array, start: number, length: number): boolean {
    const at = address * UNIT;
    for (let index = 0; index < length; index++) {
      if (this.bytes[at + index] !== other[start + index]) return false;
    }
    return true;
  }

  free(address: number, length: number): void {
    const units = Math.max(1, Math.ceil(length / UNIT));
    const at = address * UNIT;
    const next = this.#free[units] ?? 0;
    for (let index = 0; index < 4; index++) this.bytes[at + index] = next >>> (8 * index);
    this.#free[units] = address;
  }

  #take(units: number): number {
    const address = this.#free[units] ?? 0;
    if (address === 0) {
      const fresh = this.#end;
      this.#columns.reach((fresh + units) * UNIT - 1);
      this.#end += units;
      return fresh;
    }
    const at = address * UNIT;
    const byte = (index: number) => this.bytes[at + index] as number;
    this.#free[units] = (byte(0) | (byte(1) << 8) | (byte(2) << 16) | (byte(3) << 24)) >>> 0;
    return address;
  }
}
