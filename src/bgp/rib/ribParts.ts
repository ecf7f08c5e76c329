import type { ExportGuard } from '../policy/exportGuard.ts';
import type { AttributeStore } from './attributeStore.ts';
import type { Decision } from './decision.ts';
import type { AttributeBlock } from './pathAttributes.ts';
import type { Peers } from './peers.ts';
import type { RouteView } from './routeView.ts';

export interface RouterIdentity {
  /** The BGP identifier. */
  readonly identifier: number;
  /** RFC 4456 §7. */
  readonly clusterId: number;
}

/** What applies to everything that leaves. */
export interface ExportState {
  router: RouterIdentity;
  guard: ExportGuard | undefined;
  /** The node is about to go (RFC 8326). */
  draining: boolean;
}

/** What all parts of one RIB share. */
export interface RibParts {
  readonly store: AttributeStore;
  readonly peers: Peers;
  readonly decision: Decision;
  readonly state: ExportState;
  /** Looks at one route after the other; nobody keeps it. */
  readonly view: RouteView;
  /** Takes one set of attributes after the other; nobody keeps it either. */
  readonly scratch: AttributeBlock;
  /** A secret number behind all hashing of what peers send. */
  readonly seed: number;
  /** The most prefixes of one family. */
  readonly capacity: number;
  readonly now: () => number;
}
