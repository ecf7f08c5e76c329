import { type AttributeEdit, applyEdits } from './attributeEdit.ts';
import type { AttributeStore } from './attributeStore.ts';
import type { AttributeBlock } from './pathAttributes.ts';

export interface Rewriting {
  readonly edits: readonly AttributeEdit[];
  /** The route leaves for another speaker: see {@link applyEdits}. */
  readonly leaving: boolean;
  /** Another next hop. @default the same */
  readonly nextHop?: Uint8Array;
}

/** The set of attributes that `id` becomes; `scratch` takes it on the way. Not yet held. */
export function rewrite(
  store: AttributeStore,
  scratch: AttributeBlock,
  id: number,
  { edits, leaving, nextHop = store.nextHopBytes(id) }: Rewriting,
): number {
  scratch.clear();
  applyEdits(scratch, store.block(id), edits, leaving);
  const nlri = store.nlri(id);
  scratch.bytes.set(nextHop, scratch.length);
  scratch.bytes.set(nlri, scratch.length + nextHop.length);
  return store.intern(scratch.bytes, scratch.length, nextHop.length, nlri.length);
}
