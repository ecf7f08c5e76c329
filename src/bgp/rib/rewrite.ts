import { type AttributeEdit, applyEdits } from './attributeEdit.ts';
import type { AttributeStore } from './attributeStore.ts';
import { FullError } from './full.ts';
import type { AttributeBlock } from './pathAttributes.ts';

export interface Rewriting {
  readonly edits: readonly AttributeEdit[];
  /** The route leaves for another speaker: see {@link applyEdits}. */
  readonly leaving: boolean;
  /** Another next hop. @default the same */
  readonly nextHop?: Uint8Array;
}

/**
 * The set of attributes that `id` becomes; `scratch` takes it on the way. Not yet held. 0 where there is none: an
 * attribute has outgrown its length, or the store is full.
 */
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
  if (scratch.overflowed) return 0;
  try {
    return store.intern(scratch.bytes, scratch.length, nextHop.length, nlri.length);
  } catch (error) {
    if (error instanceof FullError) return 0;
    throw error;
  }
}
