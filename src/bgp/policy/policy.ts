import type { Community } from './community.ts';
import type { Filter } from './filter.ts';

/** How the next hop of a route changes on its way to a peer. A reflected route keeps its own in any mode (RFC 4456 §10). */
export type NextHopMode =
  /** RFC 4271 §5.1.3: this node towards eBGP, unchanged towards iBGP. */
  | 'auto'
  /** This node. */
  | 'self'
  /** Unchanged, towards eBGP too. */
  | 'keep';

/** What is configured for one peer. */
export interface PeerPolicy {
  /** In order, the first rule that matches decides; none matches: accepted. */
  readonly filters: readonly Filter[];
  readonly nextHop: NextHopMode;
  /** How often our own AS may already stand in an AS_PATH that we accept. */
  readonly allowedOwnAs: number;
  readonly prefixLimit?: PrefixLimit;
  /** Added to everything announced to this peer. */
  readonly addCommunities?: readonly Community[];
  /** Takes standard, extended and large communities off everything announced to this peer. */
  readonly stripCommunities?: boolean;
  /** What a peer with add-path is told: the paths as good as the best one (default), or all of them. */
  readonly addPathSend?: 'equal' | 'all';
}

export interface PrefixLimit {
  /** The most prefixes of one family, counted before policy. */
  readonly limit: number;
  /** Percent of the limit from which a warning is due. */
  readonly warningPercent: number;
}

/** What a session has that nobody configured. */
export const DEFAULT_POLICY: PeerPolicy = { filters: [], nextHop: 'auto', allowedOwnAs: 0 };
