/** How one type of a BPF map's key or value lies in memory. Sizes and offsets are bytes. */
export interface Codec<T> {
  readonly size: number;
  write(bytes: Buffer, offset: number, value: T): void;
  read(bytes: Buffer, offset: number): T;
}

/** A C struct: its fields in order, so that a test can hold them against the BTF of the compiled object. */
export interface StructCodec<T> extends Codec<T> {
  readonly fields: readonly { readonly name: string; readonly offset: number; readonly size: number }[];
}

export const u8: Codec<number> = {
  size: 1,
  write: (bytes, offset, value) => void bytes.writeUInt8(value, offset),
  read: (bytes, offset) => bytes.readUInt8(offset),
};

/** Host order; every machine Tombolo runs on is little-endian. */
export const u16: Codec<number> = {
  size: 2,
  write: (bytes, offset, value) => void bytes.writeUInt16LE(value, offset),
  read: (bytes, offset) => bytes.readUInt16LE(offset),
};

export const u32: Codec<number> = {
  size: 4,
  write: (bytes, offset, value) => void bytes.writeUInt32LE(value, offset),
  read: (bytes, offset) => bytes.readUInt32LE(offset),
};

export const u64: Codec<bigint> = {
  size: 8,
  write: (bytes, offset, value) => void bytes.writeBigUInt64LE(value, offset),
  read: (bytes, offset) => bytes.readBigUInt64LE(offset),
};

/** A port in network order. */
export const be16: Codec<number> = {
  size: 2,
  write: (bytes, offset, value) => void bytes.writeUInt16BE(value, offset),
  read: (bytes, offset) => bytes.readUInt16BE(offset),
};

/** `size` bytes as they are. */
export function raw(size: number): Codec<Buffer> {
  return {
    size,
    write: (bytes, offset, value) => {
      if (value.length !== size) {
        throw new RangeError(`Cannot encode bytes: expected ${size} (value ${value.length})`);
      }
      value.copy(bytes, offset);
    },
    read: (bytes, offset) => Buffer.from(bytes.subarray(offset, offset + size)),
  };
}

/** A C array of `length`, of which only the first are used: those behind them are zeros, and not read. */
export function upTo(length: number, codec: Codec<number>): Codec<readonly number[]> {
  const places = Array.from({ length }, (_, index) => index * codec.size);
  return {
    size: length * codec.size,
    write: (bytes, offset, values) => {
      if (values.length > length) {
        throw new RangeError(`Cannot encode numbers: expected at most ${length} (value ${values.length})`);
      }
      places.forEach((place, index) => {
        codec.write(bytes, offset + place, values[index] ?? 0);
      });
    },
    read: (bytes, offset) =>
      places.map((place) => codec.read(bytes, offset + place)).filter((value) => value !== 0),
  };
}

/** Bytes that are always written as zero and never read: what C pads with, or sets aside. */
export function padding(size: number): Codec<void> {
  return { size, write: (bytes, offset) => void bytes.fill(0, offset, offset + size), read: () => undefined };
}

/**
 * Of an array, most of which was never written: a value whose `byte` is zero reads as `undefined`, and
 * need not be taken apart.
 */
export function unlessZero<T>(codec: Codec<T>, byte: number): Codec<T | undefined> {
  return {
    size: codec.size,
    write: (bytes, offset, value) =>
      value === undefined ? bytes.fill(0, offset, offset + codec.size) : codec.write(bytes, offset, value),
    read: (bytes, offset) => (bytes[offset + byte] === 0 ? undefined : codec.read(bytes, offset)),
  };
}

/** One of several names, as the number of its place. Reading an unknown number gives the first name. */
export function choice<const Names extends readonly [string, ...string[]]>(
  number: Codec<number>,
  names: Names,
): Codec<Names[number]> {
  return {
    size: number.size,
    write: (bytes, offset, name) => number.write(bytes, offset, names.indexOf(name)),
    read: (bytes, offset) => names[number.read(bytes, offset)] ?? names[0],
  };
}

type Fields<T> = { readonly [K in keyof T]-?: Codec<T[K]> };

/**
 * A struct from its fields in C order, under their C names. There is no implicit padding: what C would
 * insert is a field named `zero`, made by {@link padding}, in C and here. So is a `bpf_spin_lock`, named `lock`: the kernel
 * shows it to nobody.
 */
export function struct<T extends object>(
  fields: Fields<T> & { readonly zero?: Codec<void>; readonly lock?: Codec<void> },
): StructCodec<T> {
  let size = 0;
  const placed = Object.entries<Codec<unknown>>(fields).map(([name, codec]) => {
    const offset = size;
    size += codec.size;
    return { name, offset, size: codec.size, codec };
  });
  const visible = placed.filter(({ name }) => name !== 'zero' && name !== 'lock');
  return {
    size,
    fields: placed,
    write: (bytes, at, value) => {
      for (const { name, offset, codec } of placed) codec.write(bytes, at + offset, value[name as keyof T]);
    },
    read: (bytes, at) => {
      const value: Record<string, unknown> = {};
      for (const { name, offset, codec } of visible) value[name] = codec.read(bytes, at + offset);
      return value as T;
    },
  };
}
