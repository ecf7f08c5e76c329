import type { IP, IPv4 } from '../../address/ip.ts';
import type { PeerPolicy } from '../policy/policy.ts';
import type { AfiSafi } from '../wire/family.ts';

/** One address family as the two OPENs settled it. */
export interface PeerFamily {
  readonly family: AfiSafi;
  /** The peer's NLRI carry path identifiers (RFC 7911). */
  readonly addPathReceive: boolean;
  /** Ours carry them. */
  readonly addPathSend: boolean;
  /** The peer takes an IPv6 next hop for this IPv4 family (RFC 8950). */
  readonly extendedNextHop: boolean;
  /** Routes kept from the session before stay until End-of-RIB: the peer's forwarding-state bit (RFC 4724 §3). */
  readonly preserved: boolean;
}

/** Everything the RIB has to know about an established session. */
export interface RibPeer {
  /** Who the peer is over all its sessions; stale routes are found by it. */
  readonly name: string;
  readonly type: 'ebgp' | 'ibgp';
  readonly address: IP;
  /** Our own address on this session, the next hop of `self`. */
  readonly localAddress: IP;
  /** Our global IPv6 address there, where IPv6 routes travel over an IPv4 session; likewise IPv4 over IPv6. */
  readonly localAddress4?: IPv4;
  readonly localAddress6?: IP;
  readonly remoteAs: number;
  /** The AS we speak as on this session, which may differ from the router's own. */
  readonly localAs: number;
  /** The peer's BGP identifier. */
  readonly identifier: IPv4;
  /** Route reflector client (RFC 4456). */
  readonly reflectorClient: boolean;
  /** AS numbers take four octets on this session (RFC 6793). */
  readonly fourOctetAs: boolean;
  /** 4096, or 65535 with extended messages (RFC 8654). */
  readonly maxMessageSize: number;
  /** The peer understands LLGR_STALE (RFC 9494 §4.3). */
  readonly longLivedGracefulRestart: boolean;
  readonly families: readonly PeerFamily[];
  readonly policy: PeerPolicy;
  /** The device towards the peer, for filters that name one. */
  readonly interface?: string;
}

/** The way out to a peer; the session implements it. */
export interface PeerSink {
  /**
   * Takes whole messages, which never change afterwards. `false` says full: the bytes were taken, but the RIB
   * waits for {@link RibSession.drained} and collapses what changes meanwhile.
   */
  write(bytes: Uint8Array): boolean;
  /** The number of prefixes passed the limit's warning mark or the limit itself. The session decides what to do. */
  prefixLimit(family: AfiSafi, count: number, mark: 'warning' | 'exceeded'): void;
}

/**
 * What becomes of a peer's routes when its session ends. `stale` keeps the listed families (RFC 4724 §4.2,
 * RFC 9494); times in seconds. All others are withdrawn.
 */
export type Retention =
  | { readonly kind: 'none' }
  | { readonly kind: 'stale'; readonly families: readonly StaleFamily[] };

export interface StaleFamily {
  readonly family: AfiSafi;
  /** How long the routes stay as they are. */
  readonly restartTime: number;
  /** How much longer they stay as routes of last resort; 0 is not at all. */
  readonly longLivedStaleTime: number;
}

/** A session's hold on the RIB; void after {@link down}. */
export interface RibSession {
  /**
   * Takes an UPDATE's routes. Nothing of `message` is kept.
   *
   * @throws {FullError} A NOTIFICATION Cease, Out of Resources, is the answer; what was read so far stays until then.
   */
  update(update: UpdateRoutes): void;
  /** End-of-RIB: what is still stale goes. */
  endOfRib(family: AfiSafi): void;
  /** ROUTE-REFRESH (RFC 2918): sends everything again; with `enhanced`, between BoRR and EoRR (RFC 7313). */
  refresh(family: AfiSafi, enhanced: boolean): void;
  /** The peer's own BoRR and EoRR (RFC 7313 §4). */
  beginRefresh(family: AfiSafi): void;
  endRefresh(family: AfiSafi): void;
  /** The sink has room again. */
  drained(): void;
  /** New policy on a running session: both directions are evaluated again, no session is reset. */
  configure(policy: PeerPolicy, reflectorClient?: boolean): void;
  down(retention: Retention): void;
}

/** A range of bytes of a message. */
export interface ByteRange {
  readonly start: number;
  readonly end: number;
}

/** The routes of one UPDATE, as ranges of the message they came in. */
export interface UpdateRoutes {
  readonly message: Uint8Array;
  /** The path attributes, MP_REACH_NLRI and MP_UNREACH_NLRI included; checked for framing (RFC 7606). */
  readonly attributes: ByteRange;
  /** Types of attributes to leave out: RFC 7606's attribute discard. */
  readonly discard?: readonly number[];
  readonly withdrawn: readonly NlriRange[];
  /** Empty where the message is treated as withdraw; its NLRI then stand in `withdrawn`. */
  readonly announced: readonly AnnouncedRange[];
}

export interface NlriRange extends ByteRange {
  readonly family: AfiSafi;
}

export interface AnnouncedRange extends NlriRange {
  /** The next hop's bytes, length octet excluded: 4, 16 or 32, or with a route distinguisher 12, 24, 48. */
  readonly nextHop: ByteRange;
}
