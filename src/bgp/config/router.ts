import type { IP, IPv4 } from '../../address/ip.ts';
import type { Prefix } from '../../address/prefix.ts';
import type { MONITORED_VIEWS } from '../../store/kinds/bgpValues.ts';
import type { PeerPolicy } from '../policy/policy.ts';
import type { LocalRoute } from '../rib/localRoute.ts';
import type { AddPathMode } from '../wire/capability.ts';
import { type AfiSafi, IPV4_UNICAST, IPV6_UNICAST } from '../wire/family.ts';

/** Everything a speaker is told: the same shape from our kinds and from a file. */
export interface RouterConfig {
  readonly asn: number;
  readonly routerId: IPv4;
  /** RFC 4456 §7; the router's identifier where absent. */
  readonly clusterId?: IPv4;
  /** Where to wait for peers; none: dial only. */
  readonly listen: readonly Endpoint[];
  readonly neighbours: readonly NeighbourConfig[];
  /** Neighbours that are not known by address but by where they come from. */
  readonly ranges: readonly RangeConfig[];
  readonly originate: readonly LocalRoute[];
  /** Nothing outside these ranges is ever announced; absent: no such gate. */
  readonly exportRanges?: readonly Prefix[];
  /** Says GRACEFUL_SHUTDOWN (RFC 8326) to everybody: traffic is to move elsewhere before sessions end. */
  readonly draining: boolean;
  /** Routes go into the kernel under these rules; absent: into none, and those of ours that are there go. */
  readonly kernel?: KernelConfig;
  /** The most prefixes of one family that are kept; whoever brings more loses its session. Read at the start only. */
  readonly capacity?: number;
  /** Stations that are told what this router hears, chooses and says (BMP). */
  readonly stations?: readonly StationConfig[];
  /** The name by which it introduces itself there; its identifier where absent. */
  readonly name?: string;
  /** Seconds a restarted speaker waits at most for its peers' End-of-RIB before it announces anything. */
  readonly deferralTime: number;
}

/** What of the RIB may enter the host's routing table. */
export interface KernelConfig {
  /** A prefix must lie in one of them. */
  readonly ranges: readonly Prefix[];
  readonly defaultRoute: boolean;
  /** This node's own segments: blackholes here, and nobody else may attract part of them. */
  readonly segments: readonly Prefix[];
  /** Addresses, besides the neighbours', that no route may lead astray. */
  readonly guarded: readonly IP[];
}

/** RFC 7854 §3: the router dials. */
export interface StationConfig extends Endpoint {
  /** Which tables; Loc-RIB is RFC 9069's, Adj-RIB-Out RFC 8671's. */
  readonly views: readonly MonitoredView[];
  /** Seconds between two reports of statistics; 0: none. */
  readonly statisticsInterval: number;
}

export type MonitoredView = (typeof MONITORED_VIEWS)[number];

export interface Endpoint {
  readonly address: IP;
  readonly port: number;
}

/** The AS a peer may be in; `internal` and `external` take whatever its OPEN says, as long as it is or is not ours. */
export type RemoteAs = number | 'internal' | 'external';

/** What a neighbour and a range of neighbours have in common: all that an OPEN and a session depend on. */
export interface SessionConfig {
  readonly remoteAs: RemoteAs;
  readonly localAs: number;
  readonly families: readonly FamilyConfig[];
  /** Seconds; 0 switches KEEPALIVEs and the hold timer off. */
  readonly holdTime: number;
  /** Seconds between KEEPALIVEs, if sooner than a third of the hold time. */
  readonly keepaliveTime?: number;
  /** Seconds between two attempts to connect. */
  readonly connectRetryTime: number;
  /** Seconds to wait for the peer's OPEN before sending ours. */
  readonly delayOpenTime: number;
  /** Seconds a peer may refuse our bytes (RFC 9687); twice the hold time where absent. */
  readonly sendHoldTime?: number;
  readonly gracefulRestart?: GracefulRestartConfig;
  /** RFC 2385. */
  readonly password?: string;
  /** Packets from further away than this many hops are not looked at (RFC 5082). */
  readonly ttlSecurity?: number;
  /** The most hops to an external peer; 1 is a peer on the same link. */
  readonly multihop: number;
  readonly reflectorClient: boolean;
  readonly policy: PeerPolicy;
  /** What to do when the policy's prefix limit is exceeded. */
  readonly prefixLimitAction: 'restart' | 'warn';
}

export interface NeighbourConfig extends SessionConfig {
  /** Unique, and the same as long as it is the same neighbour. */
  readonly name: string;
  readonly description?: string;
  readonly address: IP;
  readonly port: number;
  /** The device the peer is on; required for a link-local address. */
  readonly interface?: string;
  readonly sourceAddress?: IP;
  /** Never dial. */
  readonly passive: boolean;
  /** Text for the peer's operator; the neighbour is shut down while it is here. */
  readonly shutdown?: string;
  /** How the neighbour came to be, for tables: `global`, `node specific`, `node-to-node mesh`. */
  readonly kind: string;
}

/** Peers that come from a range of addresses: each gets a passive neighbour for as long as its session lasts. */
export interface RangeConfig extends SessionConfig {
  readonly name: string;
  readonly prefix: Prefix;
  /** The most neighbours at a time. */
  readonly limit: number;
}

export interface FamilyConfig {
  readonly family: AfiSafi;
  readonly addPath?: AddPathMode;
  /** IPv4 routes with IPv6 next hops (RFC 8950). */
  readonly extendedNextHop?: boolean;
}

export interface GracefulRestartConfig {
  /** Seconds the peers shall wait for us, 1 to 4095 (RFC 4724). */
  readonly restartTime: number;
  /** Seconds a restarting peer's routes stay as routes of last resort afterwards (RFC 9494); 0: not at all. */
  readonly longLivedStaleTime: number;
  /**
   * Whether NOTIFICATIONs, above all that of an expired hold timer, may start a restart, too (RFC 8538): yes where absent. For
   * a leaf no: a node whose hold timer has expired is gone, and others that share its addresses are there.
   */
  readonly notification?: boolean;
}

export const BGP_PORT = 179;
/** What stations listen on by custom; there is no port assigned. */
export const STATION_PORT = 11019;

/** What holds where nothing is said. */
export const DEFAULTS = {
  asn: 64512,
  holdTime: 90,
  connectRetryTime: 5,
  restartTime: 120,
  deferralTime: 120,
  rangeLimit: 1000,
  warningPercent: 75,
  statisticsInterval: 60,
  families: [{ family: IPV4_UNICAST }, { family: IPV6_UNICAST }] satisfies FamilyConfig[],
  policy: { filters: [], nextHop: 'auto', allowedOwnAs: 0 } satisfies PeerPolicy,
} as const;
