import type { Prefix } from '../../address/prefix.ts';
import type { Filter } from './filter.ts';

/** How the next hop of a route changes on its way to a peer. */
export type NextHopMode =
  /** RFC 4271 §5.1.3: self towards eBGP, unchanged towards iBGP. */
  'auto' | 'self' | 'keep';

/** What is configured for one peer, compiled once; sessions hand it on. */
export interface PeerPolicy {
  /** In order, the first filter that decides counts; none: accept. */
  readonly filters: readonly Filter[];
  readonly nextHop: NextHopMode;
  /** How often the local AS may already stand in an AS_PATH. */
  readonly allowedOwnAs: number;
  readonly prefixLimit?: PrefixLimit;
  /** Added to everything announced to this peer. */
  readonly addCommunities?: readonly number[];
  /** Taken off everything announced to this peer, of every kind. */
  readonly stripCommunities?: boolean;
}

export interface PrefixLimit {
  /** The most prefixes of one family. */
  readonly limit: number;
  /** Percent of the limit from which a warning is due. */
  readonly warningPercent: number;
}

/** Ranges that may ever leave this node: pools and service ranges. The last gate, whatever filters say. */
export interface ExportGuard {
  readonly ranges: readonly Prefix[];
}
