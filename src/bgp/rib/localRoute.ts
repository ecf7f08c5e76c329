import { bytesOf, type IP } from '../../address/ip.ts';
import type { Prefix } from '../../address/prefix.ts';
import type { Community } from '../policy/community.ts';
import { addCommunity, applyEdits, editOf } from './attributeEdit.ts';
import type { AttributeStore } from './attributeStore.ts';
import {
  AS_PATH,
  type AttributeBlock,
  LOCAL_PREF,
  MULTI_EXIT_DISC,
  ORIGIN,
  TRANSITIVE,
} from './pathAttributes.ts';

/** A route of this node's own. */
export interface LocalRoute {
  readonly prefix: Prefix;
  /** Absent: this node, under its address on each session. */
  readonly nextHop?: IP;
  readonly communities?: readonly Community[];
  readonly localPreference?: number;
  readonly med?: number;
}

/** The attributes of a local route, in the store. */
export function writeLocalRoute(store: AttributeStore, block: AttributeBlock, route: LocalRoute): number {
  block.clear();
  block.put(ORIGIN, TRANSITIVE, Uint8Array.of(0));
  block.put(AS_PATH, TRANSITIVE, new Uint8Array());
  if (route.med !== undefined) block.putU32(MULTI_EXIT_DISC, route.med);
  if (route.localPreference !== undefined) block.putU32(LOCAL_PREF, route.localPreference);
  const edits = (route.communities ?? []).map((community) =>
    typeof community === 'number'
      ? addCommunity(community)
      : editOf({ kind: 'addLargeCommunity', community }),
  );
  const plain = block.bytes.slice(0, block.length);
  block.clear();
  applyEdits(block, plain, edits, false);
  const nextHop = route.nextHop === undefined ? new Uint8Array() : bytesOf(route.nextHop);
  block.bytes.set(nextHop, block.length);
  return store.intern(block.bytes, block.length, nextHop.length, 0);
}
