import { type AfiSafi, afiOf, IPV4_UNICAST, safiOf } from '../wire/family.ts';
import { narrow } from './asPath.ts';
import type { AttributeStore } from './attributeStore.ts';
import {
  AGGREGATOR,
  AS_PATH,
  AS4_AGGREGATOR,
  AS4_PATH,
  AttributeBlock,
  EXTENDED_LENGTH,
  eachAttribute,
  flagsOf,
  MP_REACH_NLRI,
  MP_UNREACH_NLRI,
  NEXT_HOP,
  OPTIONAL,
  TRANSITIVE,
} from './pathAttributes.ts';
import type { RouteTable } from './routeTable.ts';

const HEADER = 19;
const UPDATE = 2;
/** Where a chunk ends: what is written to a socket at once. */
const CHUNK_SIZE = 1 << 16;
/** Longer messages (RFC 8654) are for attributes that leave little room in this one; shorter ones keep latency low. */
const ORDINARY_SIZE = 4096;
const ROOM = 512;

export interface EncoderOptions {
  readonly family: AfiSafi;
  readonly maxMessageSize: number;
  readonly addPath: boolean;
  readonly fourOctetAs: boolean;
}

/**
 * Writes UPDATE messages for one family, one after the other into one buffer, as many NLRI to a message as fit.
 * Call {@link announce} or {@link withdraw} to begin a run of messages and {@link add} for each route of it.
 */
export class UpdateEncoder {
  readonly #options: EncoderOptions;
  readonly #store: AttributeStore;
  readonly #table: RouteTable;
  /** IPv4 unicast with an IPv4 next hop travels outside the MP attributes. */
  #plain = false;
  readonly #bytes: Uint8Array;
  #length = 0;
  #messageStart = 0;
  /** Where the NLRI of the message must end; 0 while no message is open. */
  #nlriLimit = 0;
  #attributes = 0;
  #limit = ORDINARY_SIZE;
  /** What follows MP_REACH_NLRI in every message of the run; the block in two-octet form where that is wanted. */
  #block: Uint8Array = new Uint8Array(0);
  #beforeNextHop = 0;
  #messages = 0;

  constructor(store: AttributeStore, table: RouteTable, options: EncoderOptions) {
    this.#store = store;
    this.#table = table;
    this.#options = options;
    this.#bytes = new Uint8Array(CHUNK_SIZE + 2 * options.maxMessageSize);
  }

  /** How many messages were begun since this was made. */
  get messages(): number {
    return this.#messages;
  }

  get length(): number {
    return this.#length;
  }

  /** What is written is enough for one chunk. */
  get isFull(): boolean {
    return this.#length >= CHUNK_SIZE;
  }

  /** Everything written since the last time. */
  take(): Uint8Array {
    this.flush();
    const bytes = this.#bytes.slice(0, this.#length);
    this.#length = 0;
    return bytes;
  }

  /** Announcements with these attributes follow. `false` if they leave no room for a single route. */
  announce(attributes: number): boolean {
    this.flush();
    this.#attributes = attributes;
    this.#block = this.#store.block(attributes);
    this.#beforeNextHop = this.#store.beforeNextHop[attributes] as number;
    if (!this.#options.fourOctetAs) this.#narrow();
    this.#plain = this.#options.family === IPV4_UNICAST && this.#store.nextHopLength[attributes] === 4;
    const overhead = HEADER + 4 + 9 + (this.#store.nextHopLength[attributes] as number) + this.#block.length;
    const least = overhead + 4 + Math.max(17, this.#store.nlriLength[attributes] as number);
    this.#limit = least + ROOM <= ORDINARY_SIZE ? ORDINARY_SIZE : this.#options.maxMessageSize;
    return least <= this.#limit;
  }

  /** Withdrawals follow. */
  withdraw(): void {
    this.flush();
    this.#attributes = 0;
    this.#limit = ORDINARY_SIZE;
    this.#plain = this.#options.family === IPV4_UNICAST;
  }

  /**
   * Adds a route. `sent` are the attributes it goes, or was last sent, under: families that keep the NLRI whole
   * take it from there.
   */
  add(destination: number, pathId: number, sent: number): void {
    const whole = this.#table.keys.partial && sent !== 0;
    const size = (this.#options.addPath ? 4 : 0) + (whole ? (this.#store.nlriLength[sent] as number) : 260);
    if (this.#nlriLimit === 0 || this.#length + Math.min(size, 22) > this.#nlriLimit) this.#open();
    const before = this.#length;
    if (this.#options.addPath) this.#u32(pathId);
    if (whole) this.#put(this.#store.nlri(sent));
    else this.#length += this.#table.keys.write(destination, this.#bytes, this.#length);
    if (this.#length <= this.#nlriLimit) return;
    // It did not fit after all: this route opens the next message.
    const moved = this.#bytes.slice(before, this.#length);
    this.#length = before;
    this.#open();
    this.#put(moved);
  }

  /** Completes the message in the making. */
  flush(): void {
    if (this.#nlriLimit === 0) return;
    this.#nlriLimit = 0;
    if (this.#attributes === 0) this.#closeWithdrawal();
    else if (!this.#plain) this.#closeMpReach();
    this.#putU16(this.#messageStart + 16, this.#length - this.#messageStart);
  }

  #open(): void {
    this.flush();
    this.#messages++;
    this.#messageStart = this.#length;
    this.#bytes.fill(0xff, this.#length, this.#length + 16);
    this.#length += 16;
    this.#u16(0);
    this.#bytes[this.#length++] = UPDATE;
    const limit = this.#messageStart + this.#limit;
    if (this.#attributes === 0) this.#openWithdrawal(limit);
    else if (this.#plain) this.#openPlain(limit);
    else this.#openMpReach(limit);
  }

  #openPlain(limit: number): void {
    this.#u16(0);
    this.#u16(this.#block.length + 7);
    this.#put(this.#block.subarray(0, this.#beforeNextHop));
    this.#put(Uint8Array.of(TRANSITIVE, NEXT_HOP, 4));
    this.#put(this.#store.nextHopBytes(this.#attributes));
    this.#put(this.#block.subarray(this.#beforeNextHop));
    this.#nlriLimit = limit;
  }

  /** MP_REACH_NLRI comes first (RFC 7606 §5.1), the other attributes when its NLRI are complete. */
  #openMpReach(limit: number): void {
    const { family } = this.#options;
    const nextHop = this.#store.nextHopBytes(this.#attributes);
    this.#u16(0);
    this.#u16(0);
    this.#put(Uint8Array.of(OPTIONAL | EXTENDED_LENGTH, MP_REACH_NLRI, 0, 0));
    this.#u16(afiOf(family));
    this.#bytes[this.#length++] = safiOf(family);
    this.#bytes[this.#length++] = nextHop.length;
    this.#put(nextHop);
    this.#bytes[this.#length++] = 0;
    this.#nlriLimit = limit - this.#block.length;
  }

  #closeMpReach(): void {
    const attributes = this.#messageStart + HEADER + 4;
    this.#putU16(attributes + 2, this.#length - attributes - 4);
    this.#put(this.#block);
    this.#putU16(attributes - 2, this.#length - attributes);
  }

  #openWithdrawal(limit: number): void {
    const { family } = this.#options;
    if (family === IPV4_UNICAST) {
      this.#u16(0);
      this.#nlriLimit = limit - 2;
      return;
    }
    this.#u16(0);
    this.#u16(0);
    this.#put(Uint8Array.of(OPTIONAL | EXTENDED_LENGTH, MP_UNREACH_NLRI, 0, 0));
    this.#u16(afiOf(family));
    this.#bytes[this.#length++] = safiOf(family);
    this.#nlriLimit = limit;
  }

  #closeWithdrawal(): void {
    const body = this.#messageStart + HEADER;
    if (this.#plain) {
      this.#putU16(body, this.#length - body - 2);
      this.#u16(0);
      return;
    }
    const attributes = body + 4;
    this.#putU16(attributes + 2, this.#length - attributes - 4);
    this.#putU16(attributes - 2, this.#length - attributes);
  }

  /** For a peer that knows two octets only: AS_TRANS in the path, the truth beside it (RFC 6793 §4.2.2). */
  #narrow(): void {
    const block = new AttributeBlock();
    const source = this.#block;
    eachAttribute(source, 0, source.length, (type, flags, start, end) => {
      const value = source.subarray(start, end);
      if (type === AS_PATH) {
        const { path, as4Path } = narrow(value);
        block.put(type, flags, path);
        this.#beforeNextHop = block.length;
        if (as4Path) block.put(AS4_PATH, flagsOf(AS4_PATH) ?? 0, as4Path);
      } else if (type === AGGREGATOR) {
        const wide = ((value[0] ?? 0) | (value[1] ?? 0)) !== 0;
        block.put(type, flags, wide ? Uint8Array.of(0x5b, 0xa0, ...value.subarray(4)) : value.subarray(2));
        if (wide) block.put(AS4_AGGREGATOR, flagsOf(AS4_AGGREGATOR) ?? 0, value);
      } else block.put(type, flags, value);
    });
    block.sort();
    this.#block = block.bytes.subarray(0, block.length);
  }

  #put(bytes: Uint8Array): void {
    this.#bytes.set(bytes, this.#length);
    this.#length += bytes.length;
  }

  #u16(value: number): void {
    this.#putU16(this.#length, value);
    this.#length += 2;
  }

  #u32(value: number): void {
    this.#u16(value >>> 16);
    this.#u16(value & 0xffff);
  }

  #putU16(at: number, value: number): void {
    this.#bytes[at] = value >>> 8;
    this.#bytes[at + 1] = value;
  }
}
