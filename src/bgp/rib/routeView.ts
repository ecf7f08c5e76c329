import type { LargeCommunity, PolicyAttributes, PolicyRoute } from '../policy/policyRoute.ts';
import { IPV4_UNICAST } from '../wire/family.ts';
import { beginsWith } from './asPath.ts';
import { priorityOf } from './attributeEdit.ts';
import { type AttributeStore, readU32 } from './attributeStore.ts';
import { IPv4Keys, IPv6Keys } from './nlriKeys.ts';
import { AS_PATH, COMMUNITIES, eachAttribute, LARGE_COMMUNITIES } from './pathAttributes.ts';
import type { RouteTable } from './routeTable.ts';

/** A route as policy sees it. One instance looks at one route after the other. */
export class RouteView implements PolicyRoute, PolicyAttributes {
  readonly #store: AttributeStore;
  #id = 0;
  family: 4 | 6 = 4;
  readonly words = new Uint32Array(4);
  length = 0;
  learned = false;
  interface: string | undefined;

  constructor(store: AttributeStore) {
    this.#store = store;
  }

  get attributes(): PolicyAttributes {
    return this;
  }

  /** Turns to a destination; `false` where its family is none that policy speaks of. */
  see(table: RouteTable, destination: number): boolean {
    const { keys } = table;
    if (keys instanceof IPv4Keys) {
      this.family = 4;
      this.words[0] = keys.address[destination] as number;
      this.length = keys.length[destination] as number;
      return true;
    }
    if (!(keys instanceof IPv6Keys)) return false;
    this.family = 6;
    for (let word = 0; word < 4; word++)
      this.words[word] = (keys.words[word] as Uint32Array)[destination] as number;
    this.length = keys.length[destination] as number;
    return true;
  }

  /** With these attributes, from there. */
  with(attributes: number, learned: boolean, device: string | undefined): this {
    this.#id = attributes;
    this.learned = learned;
    this.interface = device;
    return this;
  }

  hasCommunity(community: number): boolean {
    const list = this.#value(COMMUNITIES);
    for (let at = 0; at + 4 <= list.length; at += 4) if (readU32(list, at) === community) return true;
    return false;
  }

  hasLargeCommunity([global, first, second]: LargeCommunity): boolean {
    const list = this.#value(LARGE_COMMUNITIES);
    for (let at = 0; at + 12 <= list.length; at += 12) {
      const equal =
        readU32(list, at) === global && readU32(list, at + 4) === first && readU32(list, at + 8) === second;
      if (equal) return true;
    }
    return false;
  }

  pathBeginsWith(asns: readonly number[]): boolean {
    return beginsWith(asns, this.#value(AS_PATH));
  }

  get priority(): number {
    return priorityOf(this.#store.localPreference[this.#id] as number);
  }

  #value(wanted: number): Uint8Array {
    const block = this.#store.block(this.#id);
    let value = new Uint8Array();
    eachAttribute(block, 0, block.length, (type, _flags, start, end) => {
      if (type === wanted) value = block.subarray(start, end) as typeof value;
    });
    return value;
  }
}

/** Whether filters and the export guard speak of a family. */
export function isUnicast(family: number): boolean {
  return family === IPV4_UNICAST || family === (2 << 8) + 1;
}
