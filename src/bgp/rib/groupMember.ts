import type { Bits } from './bits.ts';
import type { PeerSink } from './peer.ts';

/** One peer's place in an update group. */
export interface Member {
  readonly peer: number;
  readonly outlet: Outlet;
  /** The next chunk of the log. */
  position: number;
  /**
   * Destinations it is owed while it does not follow the log: at first all, later what changed since it fell
   * behind. Several changes of one of them count once, so a slow peer costs a bit per destination and no more.
   */
  owed: Bits | undefined;
  /**
   * The next page of destinations that a new member gets whole, in an encoding that all new members share; what
   * lies in it or behind it need not be owed.
   */
  page: number;
  /** What is written once it has caught up: End-of-RIB, or EoRR. */
  closing: Uint8Array | undefined;
}

/** The way to one peer, shared by its families. */
export interface Outlet {
  readonly sink: PeerSink;
  /** The sink said it was full. */
  blocked: boolean;
}
