import { closeSync, readFileSync } from 'node:fs';
import { SystemError } from '../ffi/systemError.ts';
import { Attr, bpf, cString, infoOf, textOf, tryBpf } from './bpf.ts';
import type { Codec } from './codec.ts';
import { openPin } from './pin.ts';

/** Map types by their place in `enum bpf_map_type`. */
const MAP_TYPES = [
  ...[
    'unspec',
    'hash',
    'array',
    'prog_array',
    'perf_event_array',
    'percpu_hash',
    'percpu_array',
    'stack_trace',
  ],
  ...['cgroup_array', 'lru_hash', 'lru_percpu_hash', 'lpm_trie', 'array_of_maps', 'hash_of_maps', 'devmap'],
  ...['sockmap', 'cpumap', 'xskmap', 'sockhash', 'cgroup_storage', 'reuseport_sockarray'],
  ...['percpu_cgroup_storage', 'queue', 'stack', 'sk_storage', 'devmap_hash', 'struct_ops', 'ringbuf'],
] as const;

export type MapType = (typeof MAP_TYPES)[number];

/** The shape of a map, as the kernel reports it. Sizes are bytes; of a per-CPU map, those of one CPU's value. */
export interface MapInfo {
  readonly id: number;
  /** At most 15 characters. */
  readonly name: string;
  readonly type: MapType;
  readonly keySize: number;
  readonly valueSize: number;
  readonly maxEntries: number;
  /** `BPF_F_…` of linux/bpf.h. */
  readonly flags: number;
  /** The BTF object that describes it, and the types of key and value in there; 0 for none. */
  readonly btf: { readonly id: number; readonly key: number; readonly value: number };
}

export type MapShape = Omit<MapInfo, 'id' | 'btf'>;

const EEXIST = 17;
const E2BIG = 7;
const ENOENT = 2;
const ENOSPC = 28;
const EINTR = 4;
/** What kernels say that have no batch operation for a type of map: `ENOTSUPP` is unknown to libc. */
const NO_BATCH = [22, 95, 524];

const UPDATE_FLAGS = { any: 0n, new: 1n, existing: 2n } as const;

/** Entries per batch call; bounds the buffers, and the time the kernel spends before a signal is seen. */
const BATCH = 4096;
/** Below this many entries, buffers for a batch cost more than the system calls it saves. */
const WORTH_A_BATCH = 8;

/**
 * A map through its descriptor, which it owns. Keys and values are what their codecs say; of a per-CPU map
 * the value codec is {@link perCpu}, of a map of maps it is `u32`: a descriptor when written, an id when read.
 */
export class BpfMap<K, V> {
  readonly fd: number;
  readonly info: MapInfo;
  readonly #keys: Codec<K>;
  readonly #values: Codec<V>;
  /** One key, one value, and the attributes that point at them: single operations allocate nothing. */
  readonly #key: Buffer;
  readonly #value: Buffer;
  readonly #element: Attr;
  readonly #victim: Attr;

  /** @throws {Error} If the sizes of the codecs are not those of the map. */
  constructor(fd: number, keys: Codec<K>, values: Codec<V>) {
    this.fd = fd;
    this.info = mapInfo(fd);
    this.#keys = keys;
    this.#values = values;
    const valueSize = sizeForUser(this.info);
    if (keys.size !== this.info.keySize || values.size !== valueSize) {
      throw new Error(
        `Cannot use map ${this.info.name}: expected keys of ${keys.size} and values of ${values.size} bytes ` +
          `(value ${this.info.keySize} and ${valueSize})`,
      );
    }
    this.#key = Buffer.alloc(keys.size);
    this.#value = Buffer.alloc(valueSize);
    this.#element = new Attr(32).u32(0, fd).pointer(8, this.#key).pointer(16, this.#value);
    this.#victim = new Attr(16).u32(0, fd).pointer(8, this.#key);
  }

  get name(): string {
    return this.info.name;
  }

  get(key: K): V | undefined {
    this.#keys.write(this.#key, 0, key);
    const result = tryBpf('MAP_LOOKUP_ELEM', this.#element.u64(24, 0n));
    if (result === -ENOENT) return undefined;
    if (result < 0) throw new SystemError(`look up in map ${this.name}`, -result);
    return this.#values.read(this.#value, 0);
  }

  /**
   * Writes one entry; readers see the old value or the new one.
   *
   * @throws {SystemError} `E2BIG` if the map is full, `EEXIST` or `ENOENT` by `mode`.
   */
  set(key: K, value: V, mode: keyof typeof UPDATE_FLAGS = 'any'): void {
    this.#keys.write(this.#key, 0, key);
    this.#values.write(this.#value, 0, value);
    const result = tryBpf('MAP_UPDATE_ELEM', this.#element.u64(24, UPDATE_FLAGS[mode]));
    if (result < 0) throw this.#updateError(-result);
  }

  /** Writes an entry unless its key is there already. Returns whether it was written. */
  add(key: K, value: V): boolean {
    this.#keys.write(this.#key, 0, key);
    this.#values.write(this.#value, 0, value);
    const result = tryBpf('MAP_UPDATE_ELEM', this.#element.u64(24, UPDATE_FLAGS.new));
    if (result < 0 && result !== -EEXIST) throw this.#updateError(-result);
    return result >= 0;
  }

  /** Returns whether there was such an entry. */
  delete(key: K): boolean {
    this.#keys.write(this.#key, 0, key);
    const result = tryBpf('MAP_DELETE_ELEM', this.#victim);
    if (result < 0 && result !== -ENOENT) throw new SystemError(`delete from map ${this.name}`, -result);
    return result >= 0;
  }

  /**
   * Writes many entries, thousands to a system call (Linux 5.6), in order: after an error the first ones are there.
   *
   * @throws {SystemError} `E2BIG` if the map is full.
   */
  setAll(entries: readonly (readonly [K, V])[]): void {
    if (entries.length < WORTH_A_BATCH) {
      for (const [key, value] of entries) this.set(key, value);
      return;
    }
    const capacity = Math.min(entries.length, BATCH);
    const keys = Buffer.alloc(capacity * this.#keys.size);
    const values = Buffer.alloc(capacity * this.#values.size);
    for (let start = 0; start < entries.length; start += capacity) {
      const chunk = entries.slice(start, start + capacity);
      chunk.forEach(([key, value], index) => {
        this.#keys.write(keys, index * this.#keys.size, key);
        this.#values.write(values, index * this.#values.size, value);
      });
      this.#updateBatch(keys, values, chunk.length);
    }
  }

  #updateBatch(keys: Buffer, values: Buffer, count: number): void {
    const attr = new Attr(56).pointer(16, keys).pointer(24, values).u32(32, count).u32(36, this.fd);
    const result = tryBpf('MAP_UPDATE_BATCH', attr);
    if (result >= 0) return;
    if (!NO_BATCH.includes(-result)) throw this.#updateError(-result);
    for (let index = 0; index < count; index++) {
      keys.copy(this.#key, 0, index * this.#keys.size);
      values.copy(this.#value, 0, index * this.#values.size);
      const single = tryBpf('MAP_UPDATE_ELEM', this.#element.u64(24, UPDATE_FLAGS.any));
      if (single < 0) throw this.#updateError(-single);
    }
  }

  /** Deletes many entries; those that are gone already are passed over. Returns how many were there. */
  deleteAll(keys: readonly K[]): number {
    if (keys.length < WORTH_A_BATCH) return keys.filter((key) => this.delete(key)).length;
    const capacity = Math.min(keys.length, BATCH);
    const batch = Buffer.alloc(capacity * this.#keys.size);
    let deleted = 0;
    for (let start = 0; start < keys.length; start += capacity) {
      const chunk = keys.slice(start, start + capacity);
      chunk.forEach((key, index) => {
        this.#keys.write(batch, index * this.#keys.size, key);
      });
      deleted += this.#deleteBatch(batch, chunk.length);
    }
    return deleted;
  }

  #deleteBatch(keys: Buffer, count: number): number {
    let deleted = 0;
    for (let at = 0; at < count; ) {
      const rest = keys.subarray(at * this.#keys.size, count * this.#keys.size);
      const attr = new Attr(56)
        .pointer(16, rest)
        .u32(32, count - at)
        .u32(36, this.fd);
      const result = tryBpf('MAP_DELETE_BATCH', attr);
      if (result < 0 && NO_BATCH.includes(-result)) return deleted + this.#deleteOneByOne(rest);
      if (result < 0 && result !== -ENOENT) throw new SystemError(`delete from map ${this.name}`, -result);
      deleted += attr.readU32(32);
      at += attr.readU32(32) + (result < 0 ? 1 : 0);
    }
    return deleted;
  }

  #deleteOneByOne(keys: Buffer): number {
    let deleted = 0;
    for (let offset = 0; offset < keys.length; offset += this.#keys.size) {
      if (this.delete(this.#keys.read(keys, offset))) deleted++;
    }
    return deleted;
  }

  /**
   * Every entry, while the map may be changing: an entry present throughout is seen at least once, and one
   * may be seen twice if others are deleted meanwhile.
   */
  *entries(): Generator<[K, V]> {
    let capacity = Math.min(BATCH, Math.max(this.info.maxEntries, 1));
    let from: Buffer | undefined;
    for (;;) {
      const keys = Buffer.alloc(capacity * this.#keys.size);
      const values = Buffer.alloc(capacity * this.#values.size);
      const next = Buffer.alloc(Math.max(4, this.#keys.size));
      const attr = new Attr(56).pointer(0, from).pointer(8, next).pointer(16, keys).pointer(24, values);
      const result = tryBpf('MAP_LOOKUP_BATCH', attr.u32(32, capacity).u32(36, this.fd));
      if (result === -ENOSPC) {
        // One bucket of the hash holds more entries than there is room for.
        capacity *= 2;
        continue;
      }
      if (result === -EINTR) continue;
      if (NO_BATCH.includes(-result) && from === undefined) {
        yield* this.#entriesOneByOne();
        return;
      }
      if (result < 0 && result !== -ENOENT) throw new SystemError(`read map ${this.name}`, -result);
      for (let index = 0; index < attr.readU32(32); index++) {
        yield [
          this.#keys.read(keys, index * this.#keys.size),
          this.#values.read(values, index * this.#values.size),
        ];
      }
      if (result === -ENOENT) return;
      from = next;
    }
  }

  *#entriesOneByOne(): Generator<[K, V]> {
    const next = Buffer.alloc(this.#keys.size);
    let attr = new Attr(32).u32(0, this.fd).pointer(16, next);
    while (tryBpf('MAP_GET_NEXT_KEY', attr) >= 0) {
      const key = this.#keys.read(next, 0);
      const value = this.get(key);
      if (value !== undefined) yield [key, value];
      attr = new Attr(32).u32(0, this.fd).pointer(8, Buffer.from(next)).pointer(16, next);
    }
  }

  /** The keys of all entries, as {@link entries} finds them. */
  *keys(): Generator<K> {
    for (const [key] of this.entries()) yield key;
  }

  /** How many entries there are, at about a hundred nanoseconds each. */
  count(): number {
    let count = 0;
    for (const _ of this.entries()) count++;
    return count;
  }

  close(): void {
    closeSync(this.fd);
  }

  #updateError(errno: number): SystemError {
    const full = errno === E2BIG || errno === ENOSPC;
    return new SystemError(
      `write to map ${this.name}`,
      errno,
      full ? `it is full: ${this.info.maxEntries} entries` : undefined,
    );
  }
}

/** Opens a pinned map. @throws {SystemError} `ENOENT` if nothing is pinned there. */
export function openMap<K, V>(path: string, keys: Codec<K>, values: Codec<V>): BpfMap<K, V> {
  const fd = openPin(path);
  try {
    return new BpfMap(fd, keys, values);
  } catch (error) {
    closeSync(fd);
    throw error;
  }
}

/** Creates a map. `inner` is an open map whose shape the members of a map of maps must have. */
export function createMap(shape: MapShape, inner = 0): number {
  const attr = new Attr(72)
    .u32(0, MAP_TYPES.indexOf(shape.type))
    .u32(4, shape.keySize)
    .u32(8, shape.valueSize)
    .u32(12, shape.maxEntries)
    .u32(16, shape.flags)
    .u32(20, inner);
  cString(shape.name.slice(0, 15)).copy(attr.bytes, 28);
  return bpf('MAP_CREATE', attr, `create map ${shape.name}`, `${shape.type}, ${shape.maxEntries} entries`);
}

/** What the kernel knows about an open map. @throws {SystemError} If the descriptor is no map's. */
export function mapInfo(fd: number): MapInfo {
  const info = infoOf(fd, 80, `map of descriptor ${fd}`);
  return {
    type: mapTypeName(info.readUInt32LE(0)),
    id: info.readUInt32LE(4),
    keySize: info.readUInt32LE(8),
    valueSize: info.readUInt32LE(12),
    maxEntries: info.readUInt32LE(16),
    flags: info.readUInt32LE(20),
    name: textOf(info.subarray(24, 40)),
    btf: { id: info.readUInt32LE(64), key: info.readUInt32LE(68), value: info.readUInt32LE(72) },
  };
}

/** The name of a type of map, by its number in the kernel. */
export function mapTypeName(type: number): MapType {
  return MAP_TYPES[type] ?? 'unspec';
}

/** Opens a map by the id that a map of maps holds. The caller closes the descriptor. */
export function openMapById(id: number): number {
  return bpf('MAP_GET_FD_BY_ID', new Attr(12).u32(0, id), `open map ${id}`);
}

/** The value of a per-CPU map: one element for each CPU the machine may ever have, 8-byte aligned. */
export function perCpu<V>(element: Codec<V>, cpus = possibleCpus()): Codec<V[]> {
  const stride = alignedTo8(element.size);
  return {
    size: stride * cpus,
    write: (bytes, offset, values) => {
      values.forEach((value, cpu) => {
        element.write(bytes, offset + cpu * stride, value);
      });
    },
    read: (bytes, offset) =>
      Array.from({ length: cpus }, (_, cpu) => element.read(bytes, offset + cpu * stride)),
  };
}

/** CPUs that may ever come online: `0-3` or `0,2-3`. */
function possibleCpus(): number {
  const text = readFileSync('/sys/devices/system/cpu/possible', 'utf8').trim();
  return Number(text.split(/[-,]/).at(-1)) + 1;
}

/** How many bytes a value takes on its way between the kernel and us. */
function sizeForUser(info: MapInfo): number {
  return info.type.startsWith('percpu_') || info.type === 'lru_percpu_hash'
    ? alignedTo8(info.valueSize) * possibleCpus()
    : info.valueSize;
}

function alignedTo8(size: number): number {
  return Math.ceil(size / 8) * 8;
}
