import { randomInt } from 'node:crypto';
import type { IP, IPv4 } from '../../address/ip.ts';
import type { Prefix } from '../../address/prefix.ts';
import { ExportGuard } from '../policy/exportGuard.ts';
import { matchOf } from '../policy/prefixMatch.ts';
import { type AfiSafi, IPV4_UNICAST, IPV6_UNICAST, ROUTE_TARGET } from '../wire/family.ts';
import { AdjRibIn } from './adjRibIn.ts';
import { AttributeStore } from './attributeStore.ts';
import { Decision, type DecisionOptions } from './decision.ts';
import { FamilyRib, type Observer } from './familyRib.ts';
import { OPEN_ENTRANCE } from './importer.ts';
import { type LocalRoute, writeLocalRoute } from './localRoute.ts';
import { UNREACHABLE } from './nextHops.ts';
import { IPv4Keys, IPv6Keys, PREFIX_LIMIT } from './nlriKeys.ts';
import { AttributeBlock } from './pathAttributes.ts';
import type { PeerSink, RibPeer, RibSession } from './peer.ts';
import { PeerRoutes } from './peerRoutes.ts';
import { LOCAL, Peers } from './peers.ts';
import type { RibParts, RouterIdentity } from './ribParts.ts';
import { RouteView } from './routeView.ts';

/** Milliseconds of work in one turn of the event loop. */
const BUDGET = 3;

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
  /** The router's BGP identifier. */
  readonly identifier: IPv4;
  /** RFC 4456 §7; the identifier where absent. */
  readonly clusterId?: IPv4;
  readonly decision?: Partial<DecisionOptions>;
  /** A secret of 32 bits, so that no peer can choose routes that are slow to find. @default random */
  readonly seed?: number;
  /** The most prefixes of one family; the peer that comes with one more loses its session. @default 16 million */
  readonly capacity?: number;
}

const DEFAULT_DECISION: DecisionOptions = {
  alwaysCompareMed: false,
  maximumPaths: 64,
  relaxedMultipath: true,
};

/** All routes of a speaker: what peers say, what this node adds, which are best, and who is told what. */
export class Rib {
  readonly families = new Map<AfiSafi, FamilyRib>();
  readonly parts: RibParts;
  readonly #clock: Clock;
  readonly #readBlock = new AttributeBlock();
  readonly #peers = new Map<string, PeerRoutes>();
  #held = false;
  #scheduled = false;
  #cancelTimer: (() => void) | undefined;
  #first = 0;

  constructor(options: RibOptions) {
    const { clock, identifier, clusterId = identifier, decision, seed = randomInt(2 ** 32) } = options;
    const { capacity = PREFIX_LIMIT } = options;
    this.#clock = clock;
    const store = new AttributeStore(seed);
    const peers = new Peers();
    this.parts = {
      store,
      peers,
      decision: new Decision(store, peers, { ...DEFAULT_DECISION, ...decision }),
      state: { router: { identifier, clusterId }, guard: undefined, draining: false },
      view: new RouteView(store),
      scratch: new AttributeBlock(),
      seed,
      capacity,
      now: () => clock.now(),
    };
  }

  /** A session is established. An older one of the same name must have gone {@link RibSession.down} before. */
  peerUp(peer: RibPeer, sink: PeerSink): RibSession {
    let routes = this.#peers.get(peer.name);
    if (routes === undefined) {
      routes = new PeerRoutes({
        parts: this.parts,
        clock: this.#clock,
        readBlock: this.#readBlock,
        family: (family) => this.family(family),
        wake: () => this.#wake(),
      });
      this.#peers.set(peer.name, routes);
    }
    return routes.up(peer, sink);
  }

  /** Announces a route of this node's own, or changes it. */
  originate(route: LocalRoute): void {
    const rib = this.#seek(route.prefix);
    const block = this.#readBlock.clear();
    const received = writeLocalRoute(this.parts.store, block, route);
    this.#local(rib).announce(0, received);
    this.#wake();
  }

  withdraw(prefix: Prefix): void {
    const rib = this.#seek(prefix);
    this.#local(rib).withdraw(0);
    this.#wake();
  }

  /** How far away a next hop is: the IGP's metric, or `undefined` for unreachable. All are 0 until told. */
  nextHop(address: IP, metric: number | undefined): void {
    const used = this.parts.store.nextHops.setMetric(address, metric ?? UNREACHABLE);
    if (!used) return;
    for (const rib of this.families.values()) rib.decideAll();
    this.#wake();
  }

  /**
   * Holds back all advertisements until {@link release}: a restarting speaker first hears what its peers have
   * kept (RFC 4724 §4.1).
   */
  hold(): void {
    this.#held = true;
  }

  release(): void {
    this.#held = false;
    this.#wake();
  }

  /** The router is another one from now on: loops are looked for anew, and what is reflected carries the new numbers. */
  identify(router: RouterIdentity): void {
    this.parts.state.router = router;
    for (const peer of this.#peers.values()) peer.reimport();
    this.#reconsider();
  }

  /** Only prefixes within these ranges leave, whatever filters say; `undefined` lifts the guard, for a leaf or a lab. */
  guard(ranges: readonly Prefix[] | undefined): void {
    this.parts.state.guard = ranges && new ExportGuard(ranges);
    this.#reconsider();
  }

  /** Adds GRACEFUL_SHUTDOWN (RFC 8326) to everything sent from now on, or takes it back. */
  drain(draining: boolean): void {
    if (this.parts.state.draining === draining) return;
    this.parts.state.draining = draining;
    this.#reconsider();
  }

  /** Withdraws what is left of a peer that was removed from the configuration. */
  forget(name: string): void {
    this.#peers.get(name)?.forget();
    this.#wake();
  }

  /** Tells `observer` of every prefix of `family` there is, and of each whose best paths may have changed. */
  watch(family: AfiSafi, observer: Observer): () => void {
    const stop = this.family(family).watch(observer);
    this.#wake();
    return stop;
  }

  /** What a peer's sessions left and are. */
  peerRoutes(name: string): PeerRoutes | undefined {
    return this.#peers.get(name);
  }

  /** The table of a family, made at first use. */
  family(family: AfiSafi): FamilyRib {
    let rib = this.families.get(family);
    if (rib === undefined) {
      rib = new FamilyRib(family, this.parts, (peer, isGone) => {
        if (family === ROUTE_TARGET) this.#routesOf(peer)?.reinterest();
        if (isGone) this.#retire(peer);
      });
      this.families.set(family, rib);
    }
    return rib;
  }

  /** Nothing is left to be done before something happens or time passes. */
  get isIdle(): boolean {
    return !this.#scheduled && this.#cancelTimer === undefined;
  }

  #reconsider(): void {
    this.parts.store.touch();
    for (const rib of this.families.values()) for (const group of rib.groups.values()) group.reconsider();
    this.#wake();
  }

  /** Looks up the table of a prefix and has it speak of that prefix. */
  #seek(prefix: Prefix): FamilyRib {
    const { family, words, length } = matchOf(prefix);
    const rib = this.family(family === 4 ? IPV4_UNICAST : IPV6_UNICAST);
    const { keys } = rib.table;
    if (keys instanceof IPv4Keys) keys.seek(words[0] as number, length);
    else if (keys instanceof IPv6Keys) keys.seek(words, length);
    return rib;
  }

  #local(rib: FamilyRib): AdjRibIn {
    let routes = rib.incoming.get(LOCAL);
    if (routes === undefined) {
      routes = new AdjRibIn(rib.table, this.parts, LOCAL, OPEN_ENTRANCE);
      rib.incoming.set(LOCAL, routes);
    }
    return routes;
  }

  #routesOf(number: number): PeerRoutes | undefined {
    const name = this.parts.peers.get(number)?.name;
    return name === undefined ? undefined : this.#peers.get(name);
  }

  /** A peer without session and routes gives its number back. */
  #retire(number: number): void {
    const name = this.parts.peers.get(number)?.name;
    const routes = this.#routesOf(number);
    if (name === undefined || routes === undefined || !routes.isGone) return;
    for (const rib of this.families.values()) rib.forgetPeer(number);
    this.#peers.delete(name);
    this.parts.peers.remove(number);
  }

  #wake(): void {
    if (this.#scheduled) return;
    this.#cancelTimer?.();
    this.#cancelTimer = undefined;
    this.#scheduled = true;
    this.#clock.soon(() => this.#turn());
  }

  #turn(): void {
    this.#scheduled = false;
    const deadline = this.#clock.now() + BUDGET;
    let next = Number.POSITIVE_INFINITY;
    const ribs = [...this.families.values()];
    for (let count = 0; count < ribs.length; count++) {
      const rib = ribs[(this.#first + count) % ribs.length] as FamilyRib;
      next = Math.min(next, rib.work(deadline, this.#held));
    }
    this.#first++;
    this.parts.store.collect();
    if (next === 0) this.#wake();
    else if (next < Number.POSITIVE_INFINITY) this.#cancelTimer = this.#clock.after(next, () => this.#wake());
  }
}
