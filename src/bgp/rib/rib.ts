import type { IP, IPv4 } from '../../address/ip.ts';
import type { Prefix } from '../../address/prefix.ts';
import type { AfiSafi } from '../wire/family.ts';
import type { PeerSink, RibPeer, RibSession } from './peer.ts';

/** Time and turns, handed in: the RIB itself knows no clock. Milliseconds. */
export interface Clock {
  now(): number;
  /** Calls `task` after `milliseconds`; the answer cancels it. */
  after(milliseconds: number, task: () => void): () => void;
  /** Calls `task` in a later turn of the event loop, after sockets have been served. */
  soon(task: () => void): void;
}

export interface RibOptions {
  readonly clock: Clock;
  /** The router's own AS and BGP identifier. */
  readonly localAs: number;
  readonly identifier: IPv4;
  /** RFC 4456 §7; the identifier where absent. */
  readonly clusterId?: IPv4;
  readonly decision?: Partial<DecisionOptions>;
}

export interface DecisionOptions {
  /** Compare MED between routes of different neighbouring ASes too. */
  readonly alwaysCompareMed: boolean;
  /** The most paths of one multipath set; 1 turns ECMP off. */
  readonly maximumPaths: number;
  /** Paths of one multipath set may go through different ASes, as long as they are equally long. */
  readonly relaxedMultipath: boolean;
}

/** A route of this node's own. */
export interface LocalRoute {
  readonly prefix: Prefix;
  /** Absent: this node, under its address on each session. */
  readonly nextHop?: IP;
  readonly communities?: readonly number[];
  readonly largeCommunities?: readonly (readonly [number, number, number])[];
  readonly localPreference?: number;
  readonly med?: number;
}

export interface Rib {
  /** A session is established. An older one of the same name must have gone {@link RibSession.down} before. */
  peerUp(peer: RibPeer, sink: PeerSink): RibSession;
  originate(route: LocalRoute): void;
  withdraw(prefix: Prefix): void;
  /** How far away a next hop is: the IGP's metric, or `undefined` for unreachable. All are 0 until told. */
  nextHop(address: IP, metric: number | undefined): void;
  /**
   * Holds back all advertisements, until {@link release}: a restarting speaker first hears what its peers have
   * kept (RFC 4724 §4.1).
   */
  hold(): void;
  release(): void;
  /** Adds GRACEFUL_SHUTDOWN (RFC 8326) to everything sent from now on, or takes it back. */
  drain(draining: boolean): void;
  /** Forgets a peer's stale routes, for a peer that was removed from the configuration. */
  forget(name: string): void;
  /** Called in batches with each prefix of `family` whose best paths may have changed; first with all there are. */
  watch(family: AfiSafi, observer: (prefix: Prefix, nextHops: readonly IP[]) => void): () => void;
}
