import type { Store } from './store.ts';

/** Two clients of one empty store, as two processes would have, and what tidies up after them. */
export interface Rig {
  readonly store: Store;
  readonly other: Store;
  dispose(): Promise<void>;
}

/** A test that what is claimed is so of a rig of its own. */
export type Complies = (claim: string, run: (rig: Rig) => Promise<void>) => void;
