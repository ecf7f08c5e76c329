import { bytesOf, type IP, ipFromBytes } from '../address/ip.ts';
import { type Mac, macBytes, macFromBytes } from '../address/mac.ts';

/**
 * The attributes behind every rtnetlink header: length (two bytes, header included), type (two bytes), value,
 * padded to four bytes. Numbers are in host order, which is little-endian on the two architectures koffi's
 * addon comes for (x64, arm64); addresses and what a comment calls so are in network order.
 */

const HEADER = 4;
/** The two upper bits of a type are flags: nested, network byte order (include/uapi/linux/netlink.h). */
const TYPE_MASK = 0x3fff;
const NESTED = 0x8000;

/** One encoded attribute, padding included. `undefined` stands for one that is left out. */
export type Attribute = Buffer | undefined;

export function attribute(type: number, value: Uint8Array): Buffer {
  const length = HEADER + value.byteLength;
  if (length > 0xffff) {
    throw new RangeError(`Cannot write attribute ${type}: too long (value ${value.byteLength} bytes)`);
  }
  const bytes = Buffer.alloc(align(length));
  bytes.writeUInt16LE(length, 0);
  bytes.writeUInt16LE(type, 2);
  bytes.set(value, HEADER);
  return bytes;
}

export function flag(type: number): Buffer {
  return attribute(type, new Uint8Array(0));
}

export function u8(type: number, value: number): Buffer {
  return attribute(type, Uint8Array.of(value));
}

export function u16(type: number, value: number): Buffer {
  const bytes = Buffer.allocUnsafe(2);
  bytes.writeUInt16LE(value);
  return attribute(type, bytes);
}

/** Two bytes in network order, for ports. */
export function port(type: number, value: number): Buffer {
  const bytes = Buffer.allocUnsafe(2);
  bytes.writeUInt16BE(value);
  return attribute(type, bytes);
}

export function u32(type: number, value: number): Buffer {
  const bytes = Buffer.allocUnsafe(4);
  bytes.writeUInt32LE(value);
  return attribute(type, bytes);
}

/** UTF-8 with the zero byte at its end that the kernel wants. */
export function text(type: number, value: string): Buffer {
  return attribute(type, Buffer.from(`${value}\0`));
}

export function ip(type: number, value: IP): Buffer {
  return attribute(type, bytesOf(value));
}

export function mac(type: number, value: Mac): Buffer {
  return attribute(type, macBytes(value));
}

export function nested(type: number, inner: Attribute[]): Buffer {
  return attribute(type | NESTED, concat(inner));
}

export function concat(attributes: Attribute[]): Buffer {
  return Buffer.concat(attributes.filter((bytes) => bytes !== undefined));
}

/** The next multiple of four. */
export function align(length: number): number {
  return (length + 3) & ~3;
}

/** One attribute as it lies in a message. */
export interface RawAttribute {
  readonly type: number;
  readonly value: Buffer;
  /** Of the attribute's header, from the start of the bytes read. */
  readonly offset: number;
}

/**
 * Reads attributes that follow one another from `start` to the end.
 *
 * @throws {RangeError} If one is shorter than its header or reaches beyond the end.
 */
export function readAttributes(bytes: Buffer, start = 0): RawAttribute[] {
  const found: RawAttribute[] = [];
  walk(bytes, start, (type, offset) => found.push({ type, value: valueAt(bytes, offset), offset }));
  return found;
}

function walk(bytes: Buffer, start: number, see: (type: number, offset: number) => void): void {
  // Fewer bytes than a header at the end are padding.
  for (let offset = start; offset + HEADER <= bytes.length; ) {
    const length = bytes.readUInt16LE(offset);
    if (length < HEADER || offset + length > bytes.length) {
      throw new RangeError(
        `Cannot read attribute at offset ${offset}: ${bytes.length - offset} bytes are left (value ${length})`,
      );
    }
    see(bytes.readUInt16LE(offset + 2) & TYPE_MASK, offset);
    offset += align(length);
  }
}

function valueAt(bytes: Buffer, offset: number): Buffer {
  return bytes.subarray(offset + HEADER, offset + bytes.readUInt16LE(offset));
}

/** Attributes by type; of several of one type the last counts. Every getter gives `undefined` for an absent one. */
export class Attributes {
  readonly #bytes: Buffer;
  /** Links have some sixty attributes, of which a dozen are looked at: only those become values. */
  readonly #offsets = new Map<number, number>();

  /** @throws {RangeError} See {@link readAttributes}. */
  constructor(bytes: Buffer, start = 0) {
    this.#bytes = bytes;
    walk(bytes, start, (type, offset) => this.#offsets.set(type, offset));
  }

  has(type: number): boolean {
    return this.#offsets.has(type);
  }

  /** @throws {RangeError} If the value is shorter than `least` bytes. */
  bytes(type: number, least = 0): Buffer | undefined {
    const offset = this.#offsets.get(type);
    const value = offset === undefined ? undefined : valueAt(this.#bytes, offset);
    if (value !== undefined && value.length < least) {
      throw new RangeError(
        `Cannot read attribute ${type}: expected ${least} bytes or more (value ${value.length})`,
      );
    }
    return value;
  }

  u8(type: number): number | undefined {
    return this.bytes(type, 1)?.readUInt8();
  }

  u16(type: number): number | undefined {
    return this.bytes(type, 2)?.readUInt16LE();
  }

  port(type: number): number | undefined {
    return this.bytes(type, 2)?.readUInt16BE();
  }

  u32(type: number): number | undefined {
    return this.bytes(type, 4)?.readUInt32LE();
  }

  text(type: number): string | undefined {
    const value = this.bytes(type);
    const end = value?.indexOf(0) ?? -1;
    return value?.toString('utf8', 0, end < 0 ? value.length : end);
  }

  /** @throws {RangeError} If there are neither four nor sixteen bytes. */
  ip(type: number): IP | undefined {
    const value = this.bytes(type);
    return value && ipFromBytes(value);
  }

  /** An Ethernet address; `undefined` for link-layer addresses of another length (IP tunnels, InfiniBand). */
  mac(type: number): Mac | undefined {
    const value = this.bytes(type);
    return value?.length === 6 ? macFromBytes(value) : undefined;
  }

  nested(type: number): Attributes | undefined {
    const value = this.bytes(type);
    return value && new Attributes(value);
  }
}
