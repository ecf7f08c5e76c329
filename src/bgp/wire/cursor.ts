import type { IPv4, IPv6 } from '../../address/ip.ts';
import { MessageError } from './error.ts';

/** The NOTIFICATION that running out of bytes amounts to, at this place of a message. */
export interface Fault {
  readonly code: number;
  readonly subcode: number;
  /** What is being read, as it appears in the message of the error: `OPEN`, `capability`. */
  readonly what: string;
}

/**
 * Reads network byte order from a part of a message and never a byte outside it. A plain index would answer
 * `undefined` there, which arithmetic turns into 0 without a word.
 */
export class Cursor {
  readonly bytes: Buffer;
  readonly fault: Fault;
  /** Where the next byte is read, as an index into `bytes`; errors name it. */
  offset: number;
  readonly end: number;

  constructor(bytes: Buffer, fault: Fault, start = 0, end = bytes.length) {
    this.bytes = bytes;
    this.fault = fault;
    this.offset = start;
    this.end = end;
  }

  get remaining(): number {
    return this.end - this.offset;
  }

  u8(): number {
    return this.bytes.readUInt8(this.#take(1));
  }

  u16(): number {
    return this.bytes.readUInt16BE(this.#take(2));
  }

  u24(): number {
    return this.bytes.readUIntBE(this.#take(3), 3);
  }

  u32(): number {
    return this.bytes.readUInt32BE(this.#take(4));
  }

  u64(): bigint {
    return this.bytes.readBigUInt64BE(this.#take(8));
  }

  ipv4(): IPv4 {
    return this.u32() as IPv4;
  }

  ipv6(): IPv6 {
    return ((this.u64() << 64n) | this.u64()) as IPv6;
  }

  /** A view of the next `length` bytes, not a copy. */
  take(length: number): Buffer {
    const start = this.#take(length);
    return this.bytes.subarray(start, start + length);
  }

  rest(): Buffer {
    return this.take(this.remaining);
  }

  /** A cursor over the next `length` bytes, which this one skips. */
  part(length: number, fault: Fault = this.fault): Cursor {
    const start = this.#take(length);
    return new Cursor(this.bytes, fault, start, start + length);
  }

  /** An error with this cursor's NOTIFICATION, at this place. */
  error(reason: string, data?: Buffer): MessageError {
    const { code, subcode, what } = this.fault;
    return new MessageError(
      { code, subcode, ...(data && { data }) },
      `Cannot read ${what}: ${reason}`,
      this.offset,
    );
  }

  #take(length: number): number {
    if (length > this.remaining) {
      throw this.error(`${length} bytes are wanted where ${this.remaining} are left`);
    }
    const start = this.offset;
    this.offset += length;
    return start;
  }
}
