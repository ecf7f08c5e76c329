import { encodeEndOfRib } from '../wire/encodeUpdate.ts';
import { type AfiSafi, ROUTE_TARGET } from '../wire/family.ts';
import { encodeMessage } from '../wire/message.ts';
import { REFRESH_BEGIN, REFRESH_END } from '../wire/refresh.ts';
import { AdjRibIn } from './adjRibIn.ts';
import { AttributeReader } from './attributeReader.ts';
import type { FamilyRib } from './familyRib.ts';
import { groupKey } from './groupKey.ts';
import type { Outlet } from './groupMember.ts';
import { Importer } from './importer.ts';
import { announceRange, type Intake, type ReadAttributes, withdrawRange } from './nlriIntake.ts';
import type { AttributeBlock } from './pathAttributes.ts';
import type {
  NlriRange,
  PeerFamily,
  PeerSink,
  Retention,
  RibPeer,
  RibSession,
  UpdateRoutes,
} from './peer.ts';
import type { Clock } from './rib.ts';
import type { RibParts } from './ribParts.ts';
import { CONSTRAINED, type RouteTargets, routeTargetsOf } from './routeTargets.ts';

/** How long stale routes wait for an End-of-RIB once the session is back, in seconds; FRR's and BIRD's figure. */
const STALE_TIME = 360;
/** How long End-of-RIB of a constrained family waits for that of the route targets, in ms (RFC 4684 §6). */
const PATIENCE = 60_000;

export interface PeerSurroundings {
  readonly parts: RibParts;
  readonly clock: Clock;
  readonly readBlock: AttributeBlock;
  readonly family: (family: AfiSafi) => FamilyRib;
  readonly wake: () => void;
}

/** What is known of one address family of a session. */
interface FamilyState extends Intake {
  readonly settings: PeerFamily;
  readonly rib: FamilyRib;
  groupKey: string;
  /** The prefix limit's marks that have been reported. */
  mark: 'none' | 'warning' | 'exceeded';
}

const ofTargets = ({ family }: NlriRange) => family === ROUTE_TARGET;

/** A peer over all its sessions: its routes outlive each of them for as long as graceful restart says. */
export class PeerRoutes {
  readonly #around: PeerSurroundings;
  readonly #read: ReadAttributes;
  #number = 0;
  #peer: RibPeer | undefined;
  #outlet: Outlet | undefined;
  #reader: AttributeReader | undefined;
  /** The peer has been told that it got all routes of the route targets it wants. */
  #concluded = false;
  #cancelPatience: () => void = () => {};
  readonly #families = new Map<AfiSafi, FamilyState>();
  /** Routes of families that no session has any more may still be on their way out. */
  readonly #routes = new Map<AfiSafi, AdjRibIn>();

  constructor(around: PeerSurroundings) {
    this.#around = around;
    this.#read = { block: around.readBlock, store: around.parts.store };
  }

  get number(): number {
    return this.#number;
  }

  get peer(): RibPeer | undefined {
    return this.#peer;
  }

  /** The families of the running session, with what was received and let in. */
  get families(): ReadonlyMap<AfiSafi, { readonly routes: AdjRibIn; readonly groupKey: string }> {
    return this.#families;
  }

  /** Neither a session nor a route is left. */
  get isGone(): boolean {
    return this.#outlet === undefined && [...this.#routes.values()].every(({ received }) => received === 0);
  }

  up(peer: RibPeer, sink: PeerSink): RibSession {
    if (this.#outlet !== undefined) {
      throw new Error(`Cannot bring up peer ${peer.name}: it has a session already`);
    }
    this.#peer = peer;
    this.#number = this.#around.parts.peers.set(peer);
    this.#reader = new AttributeReader(peer, this.#around.readBlock);
    this.#outlet = { sink, blocked: false };
    this.#concluded = false;
    for (const settings of peer.families) this.#begin(peer, settings, this.#outlet);
    if (peer.families.some(({ family }) => this.#interestIn(family))) {
      this.#cancelPatience = this.#around.clock.after(PATIENCE, () => this.#conclude());
    }
    for (const [family, routes] of this.#routes) {
      const settings = this.#families.get(family)?.settings;
      if (settings?.preserved && routes.hasStale) this.#expireAfter(family, routes, STALE_TIME);
      else this.#expire(family, routes);
    }
    this.#around.wake();
    return this.#session(this.#outlet);
  }

  /** The peer may have asked for other route targets. */
  reinterest(): void {
    if (this.#peer === undefined || this.#outlet === undefined) return;
    for (const [family, state] of this.#families) {
      if (CONSTRAINED.has(family)) this.#regroup(this.#peer, state, this.#outlet);
    }
  }

  /** What a session's peer wants of a family; `undefined` is everything. */
  #interestIn(family: AfiSafi): RouteTargets | undefined {
    const constrains = this.#peer?.families.some((one) => one.family === ROUTE_TARGET);
    if (!constrains || !CONSTRAINED.has(family)) return undefined;
    return routeTargetsOf(this.#around.family(ROUTE_TARGET).table, this.#number);
  }

  /** RFC 4684 §6: until the peer has said what it wants, nobody can say that it has got everything. */
  #conclude(): void {
    this.#cancelPatience();
    if (this.#concluded) return;
    this.#concluded = true;
    for (const [family, { rib, groupKey: key }] of this.#families) {
      if (this.#interestIn(family)) rib.groups.get(key)?.conclude(this.#number, encodeEndOfRib(family));
    }
    this.#around.wake();
  }

  /** What decides about routes on their way in has changed. */
  reimport(): void {
    if (this.#peer === undefined) return;
    for (const { routes, rib } of this.#families.values()) {
      routes.reimport(new Importer(this.#around.parts, this.#peer));
      rib.tidy(this.#number, routes);
    }
  }

  forget(): void {
    for (const [family, routes] of this.#routes) this.#expire(family, routes);
  }

  /** Calls of a session that is over do nothing. */
  #session(outlet: Outlet): RibSession {
    const whileUp =
      <A extends unknown[]>(action: (...args: A) => void) =>
      (...args: A) => {
        if (this.#outlet !== outlet) return;
        action(...args);
        this.#around.wake();
      };
    return {
      update: whileUp((update) => this.#update(update)),
      endOfRib: whileUp((family) => {
        this.#endRefresh(family);
        if (family === ROUTE_TARGET) this.#conclude();
      }),
      refresh: whileUp((family, enhanced) => this.#refresh(family, enhanced)),
      beginRefresh: whileUp((family) => this.#beginRefresh(family)),
      endRefresh: whileUp((family) => this.#endRefresh(family)),
      drained: whileUp(() => {
        outlet.blocked = false;
      }),
      configure: whileUp((policy, reflectorClient) => this.#configure(policy, reflectorClient)),
      down: whileUp((retention) => this.#down(retention)),
    };
  }

  #begin(peer: RibPeer, settings: PeerFamily, outlet: Outlet): void {
    const { parts } = this.#around;
    const { family } = settings;
    const rib = this.#around.family(family);
    const importer = new Importer(parts, peer);
    let routes = this.#routes.get(family);
    if (routes === undefined) {
      routes = new AdjRibIn(rib.table, parts, this.#number, importer);
      this.#routes.set(family, routes);
      rib.incoming.set(this.#number, routes);
    } else {
      routes.reimport(importer);
      rib.tidy(this.#number, routes);
    }
    const interest = this.#interestIn(family);
    const key = groupKey(peer, settings, interest);
    this.#families.set(family, { settings, rib, routes, groupKey: key, mark: 'none' });
    const closing = interest === undefined ? encodeEndOfRib(family) : undefined;
    rib.group(key, peer, settings, interest).join(this.#number, outlet, closing);
  }

  #update(update: UpdateRoutes): void {
    for (const range of update.withdrawn) {
      const state = this.#families.get(range.family);
      if (state) withdrawRange(update.message, range, state);
    }
    if (update.announced.length > 0) this.#announceAll(update);
    if (update.withdrawn.some(ofTargets) || update.announced.some(ofTargets)) this.reinterest();
  }

  #announceAll(update: UpdateRoutes): void {
    this.#reader?.read(update);
    const { overflowed } = this.#read.block;
    for (const range of update.announced) {
      const state = this.#families.get(range.family);
      if (state === undefined) continue;
      if (overflowed) withdrawRange(update.message, range, state);
      else {
        announceRange(update.message, range, state, this.#read);
        this.#checkLimit(state);
      }
    }
  }

  #checkLimit(state: FamilyState): void {
    const limits = this.#peer?.policy.prefixLimit;
    if (limits === undefined) return;
    const count = state.routes.received;
    const warning = (limits.limit * limits.warningPercent) / 100;
    const mark = count > limits.limit ? 'exceeded' : count >= warning ? 'warning' : 'none';
    const rank = { none: 0, warning: 1, exceeded: 2 };
    if (mark !== 'none' && rank[mark] > rank[state.mark]) {
      this.#outlet?.sink.prefixLimit(state.settings.family, count, mark);
    }
    state.mark = mark;
  }

  #refresh(family: AfiSafi, enhanced: boolean): void {
    const state = this.#families.get(family);
    const group = state?.rib.groups.get(state.groupKey);
    const member = group?.members.get(this.#number);
    if (!group || !member) return;
    group.oweAll(member);
    if (!enhanced) return;
    this.#write(encodeMessage({ type: 'ROUTE-REFRESH', family, subtype: REFRESH_BEGIN }));
    const end = encodeMessage({ type: 'ROUTE-REFRESH', family, subtype: REFRESH_END });
    member.closing = member.closing ? Buffer.concat([member.closing, end]) : end;
  }

  #beginRefresh(family: AfiSafi): void {
    const state = this.#families.get(family);
    if (state === undefined) return;
    state.routes.age(true);
    state.rib.tidy(this.#number, state.routes);
    this.#expireAfter(family, state.routes, STALE_TIME);
  }

  #endRefresh(family: AfiSafi): void {
    const routes = this.#routes.get(family);
    if (routes?.hasStale) this.#expire(family, routes);
  }

  #configure(policy: RibPeer['policy'], reflectorClient = this.#peer?.reflectorClient): void {
    if (this.#peer === undefined || this.#outlet === undefined) return;
    const before = this.#peer;
    const peer = { ...before, policy, reflectorClient: reflectorClient ?? false };
    this.#peer = peer;
    this.#around.parts.peers.set(peer);
    if (before.reflectorClient !== peer.reflectorClient) this.#reconsider();
    this.reimport();
    for (const state of this.#families.values()) {
      this.#regroup(peer, state, this.#outlet);
      this.#checkLimit(state);
    }
  }

  /** Who may be told what this peer says has changed. */
  #reconsider(): void {
    this.#around.parts.store.touch();
    for (const { rib } of this.#families.values())
      for (const group of rib.groups.values()) group.reconsider();
  }

  /** The peer moves to the group that its new policy makes it like; what it was told before is compared there. */
  #regroup(peer: RibPeer, state: FamilyState, outlet: Outlet): void {
    const interest = this.#interestIn(state.settings.family);
    const key = groupKey(peer, state.settings, interest);
    if (key === state.groupKey) return;
    const { rib } = state;
    const old = rib.groups.get(state.groupKey);
    const closing = old?.members.get(this.#number)?.closing;
    old?.leave(this.#number);
    rib.group(key, peer, state.settings, interest).join(this.#number, outlet, closing, old?.sent);
    rib.drop(state.groupKey);
    state.groupKey = key;
  }

  #down(retention: Retention): void {
    const kept = retention.kind === 'stale' ? retention.families : [];
    for (const [family, { rib, groupKey: key, routes }] of this.#families) {
      rib.groups.get(key)?.leave(this.#number);
      rib.drop(key);
      const stale = kept.find((one) => one.family === family);
      routes.age(stale !== undefined);
      rib.tidy(this.#number, routes);
      if (stale) this.#retain(family, routes, stale.restartTime, stale.longLivedStaleTime);
      else routes.expire();
    }
    this.#cancelPatience();
    this.#families.clear();
    this.#outlet = undefined;
    this.#reader = undefined;
  }

  #retain(family: AfiSafi, routes: AdjRibIn, restartTime: number, longLivedStaleTime: number): void {
    if (longLivedStaleTime === 0) {
      this.#expireAfter(family, routes, restartTime);
      return;
    }
    routes.cancelTimer?.();
    routes.cancelTimer = this.#around.clock.after(restartTime * 1000, () => {
      routes.beginLongLived();
      this.#around.family(family).tidy(this.#number, routes);
      this.#expireAfter(family, routes, longLivedStaleTime);
      this.#around.wake();
    });
  }

  #expireAfter(family: AfiSafi, routes: AdjRibIn, seconds: number): void {
    routes.cancelTimer?.();
    routes.cancelTimer = this.#around.clock.after(seconds * 1000, () => this.#expire(family, routes));
  }

  #expire(family: AfiSafi, routes: AdjRibIn): void {
    routes.expire();
    if (routes.received > 0) this.#around.family(family).tidy(this.#number, routes);
    this.#around.wake();
  }

  #write(bytes: Uint8Array): void {
    if (this.#outlet && !this.#outlet.sink.write(bytes)) this.#outlet.blocked = true;
  }
}
