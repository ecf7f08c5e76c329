import { Arena } from './arena.ts';
import { neighbourAs, pathLength } from './asPath.ts';
import { Columns } from './columns.ts';
import { HashIndex } from './hashIndex.ts';
import { NextHops } from './nextHops.ts';
import {
  AS_PATH,
  CLUSTER_LIST,
  COMMUNITIES,
  eachAttribute,
  LOCAL_PREF,
  MULTI_EXIT_DISC,
  ORIGIN,
  ORIGINATOR_ID,
} from './pathAttributes.ts';

/** The most distinct sets of path attributes. */
const LIMIT = 1 << 23;

/** Well-known communities (RFC 1997, RFC 8326, RFC 9494), and what else is asked of every route, as flags. */
export const NO_EXPORT = 1;
export const NO_ADVERTISE = 2;
export const NO_EXPORT_SUBCONFED = 4;
export const LLGR_STALE = 8;
export const NO_LLGR = 16;
export const GRACEFUL_SHUTDOWN = 32;
export const HAS_MED = 64;
const HAS_LOCAL_PREF = 128;

const COMMUNITY_FLAGS: ReadonlyMap<number, number> = new Map([
  [0xffffff01, NO_EXPORT],
  [0xffffff02, NO_ADVERTISE],
  [0xffffff03, NO_EXPORT_SUBCONFED],
  [0xffff0006, LLGR_STALE],
  [0xffff0007, NO_LLGR],
  [0xffff0000, GRACEFUL_SHUTDOWN],
]);

/** A route without LOCAL_PREF counts as if it had this one. */
export const DEFAULT_LOCAL_PREFERENCE = 100;

/**
 * Sets of path attributes, each kept once. A set is the attributes in canonical order with four octets per AS,
 * the next hop beside them (wherever it travels on the wire), and for families whose NLRI carries more than
 * the route's identity, a label say, that NLRI. What best-path selection asks is kept as columns, so that
 * comparing two routes reads numbers only.
 *
 * Holders count: {@link retain} and {@link release}. What nobody holds goes at the next {@link collect}, so a
 * set that is released and wanted again in the same turn survives.
 */
export class AttributeStore {
  readonly nextHops = new NextHops();
  readonly #seed: number;
  readonly #columns = new Columns('path attributes', LIMIT);
  readonly localPreference = this.#columns.u32();
  readonly med = this.#columns.u32();
  readonly pathLength = this.#columns.u16();
  readonly neighbourAs = this.#columns.u32();
  readonly origin = this.#columns.u8();
  readonly flags = this.#columns.u8();
  /** 0 where the route has none. */
  readonly originatorId = this.#columns.u32();
  readonly clusterLength = this.#columns.u16();
  readonly nextHop = this.#columns.u32();
  /** How many bytes of the block come before NEXT_HOP in the order of types. */
  readonly beforeNextHop = this.#columns.u16();
  readonly #address = this.#columns.u32();
  readonly blockLength = this.#columns.u32();
  readonly nextHopLength = this.#columns.u8();
  readonly nlriLength = this.#columns.u16();
  readonly #holders = this.#columns.u32();
  readonly #arena = new Arena('path attributes', 2 ** 32 - 8);
  readonly #index = new HashIndex('path attributes', LIMIT);
  readonly #free: number[] = [];
  #end = 1;
  #unheld: number[] = [];
  #generation = 0;

  /** `seed` is a secret: who knows it could choose attributes that are slow to find. */
  constructor(seed: number) {
    this.#seed = seed;
  }

  /** How many sets there are. */
  get size(): number {
    return this.#index.size;
  }

  /** Grows when numbers have become free for others; whoever remembers numbers without holding them forgets. */
  get generation(): number {
    return this.#generation;
  }

  /** All sets' bytes; {@link offset} says where one starts. It stays the same array for ever. */
  get bytes(): Uint8Array {
    return this.#arena.bytes;
  }

  /** Where the block of a set starts in {@link bytes}; the next hop follows it, then the NLRI. */
  offset(id: number): number {
    return this.#arena.offset(this.#address[id] as number);
  }

  /** The attributes in ascending order, without NEXT_HOP and MP_*; a view. */
  block(id: number): Uint8Array {
    const start = this.offset(id);
    return this.bytes.subarray(start, start + (this.blockLength[id] as number));
  }

  /** The next hop's bytes as they came, without length octet; a view. */
  nextHopBytes(id: number): Uint8Array {
    const start = this.offset(id) + (this.blockLength[id] as number);
    return this.bytes.subarray(start, start + (this.nextHopLength[id] as number));
  }

  /** The NLRI as received, of families where it is more than a key; a view. */
  nlri(id: number): Uint8Array {
    const start = this.offset(id) + (this.blockLength[id] as number) + (this.nextHopLength[id] as number);
    return this.bytes.subarray(start, start + (this.nlriLength[id] as number));
  }

  /**
   * The set whose bytes are the first `block + nextHop + nlri` ones of `bytes`, kept from now on until
   * released or collected.
   *
   * @throws {FullError} If there are more distinct sets than the store holds.
   */
  intern(bytes: Uint8Array, block: number, nextHop: number, nlri: number): number {
    const length = block + nextHop + nlri;
    let hash = this.#seed ^ nextHop;
    for (let at = 0; at < length; at++) hash = Math.imul(hash ^ (bytes[at] as number), 0x01000193);
    hash = (hash ^ (hash >>> 15)) >>> 0;
    for (let id = this.#index.first(hash); id !== 0; id = this.#index.next(id)) {
      if (
        this.blockLength[id] === block &&
        this.nextHopLength[id] === nextHop &&
        this.nlriLength[id] === nlri &&
        this.#arena.equals(this.#address[id] as number, bytes, 0, length)
      ) {
        return id;
      }
    }
    return this.#insert(hash, bytes, block, nextHop, nlri);
  }

  retain(id: number): void {
    this.#holders[id] = (this.#holders[id] as number) + 1;
  }

  release(id: number): void {
    const holders = (this.#holders[id] as number) - 1;
    this.#holders[id] = holders;
    if (holders === 0) this.#unheld.push(id);
  }

  /** Drops the sets that nobody holds. */
  collect(): void {
    if (this.#unheld.length === 0) return;
    for (const id of this.#unheld) {
      if (this.#holders[id] === 0 && this.#address[id] !== 0) this.#remove(id);
    }
    this.#unheld = [];
    this.#generation++;
  }

  /** Makes whoever remembers what became of attributes forget it: it depends on more than the numbers. */
  touch(): void {
    this.#generation++;
  }

  #insert(hash: number, bytes: Uint8Array, block: number, nextHop: number, nlri: number): number {
    const id = this.#free.at(-1) ?? this.#end;
    this.#columns.reach(id);
    const address = this.#arena.put(bytes, 0, block + nextHop + nlri);
    this.#index.add(id, hash);
    if (this.#free.pop() === undefined) this.#end++;
    this.#address[id] = address;
    this.blockLength[id] = block;
    this.nextHopLength[id] = nextHop;
    this.nlriLength[id] = nlri;
    this.#holders[id] = 0;
    this.#unheld.push(id);
    this.#describe(id, bytes, block);
    this.nextHop[id] = this.nextHops.retain(bytes, block, nextHop);
    return id;
  }

  #describe(id: number, bytes: Uint8Array, block: number): void {
    let flags = 0;
    this.localPreference[id] = DEFAULT_LOCAL_PREFERENCE;
    this.med[id] = 0;
    this.pathLength[id] = 0;
    this.neighbourAs[id] = 0;
    this.origin[id] = 2;
    this.originatorId[id] = 0;
    this.clusterLength[id] = 0;
    this.beforeNextHop[id] = 0;
    eachAttribute(bytes, 0, block, (type, _flags, start, end) => {
      if (type <= AS_PATH) this.beforeNextHop[id] = end;
      switch (type) {
        case ORIGIN:
          this.origin[id] = bytes[start] as number;
          break;
        case AS_PATH:
          this.pathLength[id] = pathLength(bytes, start, end);
          this.neighbourAs[id] = neighbourAs(bytes, start, end);
          break;
        case MULTI_EXIT_DISC:
          this.med[id] = readU32(bytes, start);
          flags |= HAS_MED;
          break;
        case LOCAL_PREF:
          this.localPreference[id] = readU32(bytes, start);
          flags |= HAS_LOCAL_PREF;
          break;
        case COMMUNITIES:
          for (let at = start; at + 4 <= end; at += 4) {
            flags |= COMMUNITY_FLAGS.get(readU32(bytes, at)) ?? 0;
          }
          break;
        case ORIGINATOR_ID:
          this.originatorId[id] = readU32(bytes, start);
          break;
        case CLUSTER_LIST:
          this.clusterLength[id] = (end - start) >>> 2;
          break;
      }
    });
    this.flags[id] = flags;
  }

  #remove(id: number): void {
    this.#index.remove(id);
    const length =
      (this.blockLength[id] as number) + (this.nextHopLength[id] as number) + (this.nlriLength[id] as number);
    this.#arena.free(this.#address[id] as number, length);
    this.nextHops.release(this.nextHop[id] as number);
    this.#address[id] = 0;
    this.#free.push(id);
  }
}

export function readU32(bytes: Uint8Array, at: number): number {
  return (
    (((bytes[at] as number) << 24) |
      ((bytes[at + 1] as number) << 16) |
      ((bytes[at + 2] as number) << 8) |
      (bytes[at + 3] as number)) >>>
    0
  );
}
