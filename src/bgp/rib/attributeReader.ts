import { widen } from './asPath.ts';
import {
  AGGREGATOR,
  AS_PATH,
  AS4_AGGREGATOR,
  AS4_PATH,
  type AttributeBlock,
  CLUSTER_LIST,
  eachAttribute,
  flagsOf,
  LOCAL_PREF,
  MP_REACH_NLRI,
  MP_UNREACH_NLRI,
  NEXT_HOP,
  OPTIONAL,
  ORIGINATOR_ID,
  TRANSITIVE,
} from './pathAttributes.ts';
import type { RibPeer, UpdateRoutes } from './peer.ts';

/**
 * Brings the path attributes of an UPDATE into the one form the store knows: ascending order, four octets per
 * AS, without what belongs to the session (NEXT_HOP, MP_*, what an external peer may not say) and without what
 * ends here anyway.
 */
export class AttributeReader {
  readonly #peer: RibPeer;
  readonly block: AttributeBlock;

  /** `block` takes what is read; readers may share one. */
  constructor(peer: RibPeer, block: AttributeBlock) {
    this.#peer = peer;
    this.block = block;
  }

  read(update: UpdateRoutes): void {
    const { message, attributes, discard } = update;
    const block = this.block.clear();
    eachAttribute(message, attributes.start, attributes.end, (type, flags, start, end) => {
      if (this.#isLeftOut(type, flags) || discard?.includes(type)) return;
      block.put(type, flags, message, start, end);
    });
    block.sort();
    if (!this.#peer.fourOctetAs) this.#widen();
  }

  #isLeftOut(type: number, flags: number): boolean {
    switch (type) {
      case NEXT_HOP:
      case MP_REACH_NLRI:
      case MP_UNREACH_NLRI:
        return true;
      case LOCAL_PREF:
      case ORIGINATOR_ID:
      case CLUSTER_LIST:
        return this.#peer.type === 'ebgp';
      case AS4_PATH:
      case AS4_AGGREGATOR:
        return this.#peer.fourOctetAs;
      default:
        // RFC 4271 §5: an optional non-transitive attribute that is not understood is ignored and goes no further.
        return flagsOf(type) === undefined && (flags & OPTIONAL) !== 0 && (flags & TRANSITIVE) === 0;
    }
  }

  /** RFC 6793 §4.2.3. An AGGREGATOR that does not hide an AS means that AS4_PATH is stale. */
  #widen(): void {
    const bytes = this.block.bytes.slice(0, this.block.length);
    const values = new Map<number, Uint8Array>();
    eachAttribute(bytes, 0, bytes.length, (type, _flags, start, end) => {
      values.set(type, bytes.subarray(start, end));
    });
    const aggregator = values.get(AGGREGATOR);
    const hidden = aggregator?.length === 6 && aggregator[0] === 0x5b && aggregator[1] === 0xa0;
    const trusted = aggregator === undefined || hidden;
    this.block.clear();
    for (const [type, value] of values) {
      const flags = flagsOf(type) ?? OPTIONAL | TRANSITIVE;
      if (type === AS_PATH)
        this.block.put(type, flags, widen(value, trusted ? values.get(AS4_PATH) : undefined));
      else if (type === AGGREGATOR && value.length === 6) {
        const wide = hidden ? values.get(AS4_AGGREGATOR) : undefined;
        this.block.put(type, flags, wide ?? Uint8Array.of(0, 0, ...value));
      } else if (type !== AS4_PATH && type !== AS4_AGGREGATOR) this.block.put(type, flags, value);
    }
  }
}
