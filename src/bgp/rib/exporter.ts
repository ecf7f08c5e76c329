import { bytesOf, type IP, isIPv4 } from '../../address/ip.ts';
import { CompiledFilters } from '../policy/compiledFilters.ts';
import type { Verdict } from '../policy/policyRoute.ts';
import { AFI_IPV4, type AfiSafi, afiOf, ROUTE_TARGET, safiOf } from '../wire/family.ts';
import {
  type AttributeEdit,
  addCommunity,
  defaultU32,
  dropped,
  editOf,
  prependAsPath,
  prependU32,
  setU32,
} from './attributeEdit.ts';
import {
  type AttributeStore,
  DEFAULT_LOCAL_PREFERENCE,
  LLGR_STALE,
  NO_ADVERTISE,
  NO_EXPORT,
  NO_EXPORT_SUBCONFED,
} from './attributeStore.ts';
import {
  type AttributeBlock,
  CLUSTER_LIST,
  COMMUNITIES,
  EXTENDED_COMMUNITIES,
  LARGE_COMMUNITIES,
  LOCAL_PREF,
  MULTI_EXIT_DISC,
  ORIGINATOR_ID,
} from './pathAttributes.ts';
import type { PeerFamily, RibPeer } from './peer.ts';
import { LOCAL, type Peers } from './peers.ts';
import { rewrite } from './rewrite.ts';
import type { ExportState, RibParts } from './ribParts.ts';
import type { RouteTable } from './routeTable.ts';
import type { RouteTargets } from './routeTargets.ts';
import { isUnicast, type RouteView } from './routeView.ts';

const COMMUNITY_GRACEFUL_SHUTDOWN = 0xffff0000;

/** Attributes to send, 0 for nothing, and why. */
export interface ExportResult {
  readonly sent: number;
  readonly because: string;
}

/** What a verdict without filters amounts to. */
const NO_FILTER: Verdict = { accept: true, operations: [], line: 'no filter' };

/** The way out to all peers of one update group, which are alike in everything that matters here. */
export class Exporter {
  readonly #store: AttributeStore;
  readonly #view: RouteView;
  readonly #peers: Peers;
  readonly #peer: RibPeer;
  readonly #family: AfiSafi;
  readonly #state: ExportState;
  readonly #filters: CompiledFilters;
  readonly #selfNextHop: Uint8Array | undefined;
  readonly #extendedNextHop: boolean;
  readonly #interest: RouteTargets | undefined;
  /**
   * Clients of a reflector hear of a route target also if they were the ones who asked for it: that somebody else wants its
   * routes as well is not to be seen otherwise (RFC 4684 §3.2).
   */
  readonly tellsSource: boolean;
  readonly #scratch: AttributeBlock;
  /** What became of attributes from a peer under a verdict. */
  #made = new Map<Verdict, Map<number, number>>();
  #lastKey = -1;
  #generation = 0;
  #lastVerdict: Verdict | undefined;
  #lastSent = 0;

  /** `peer` stands for all of the group. */
  constructor(
    { store, view, scratch, peers, state }: RibParts,
    peer: RibPeer,
    family: PeerFamily,
    interest: RouteTargets | undefined,
  ) {
    this.#interest = interest;
    this.tellsSource = family.family === ROUTE_TARGET && peer.reflectorClient;
    this.#store = store;
    this.#view = view;
    this.#scratch = scratch;
    this.#peers = peers;
    this.#peer = peer;
    this.#family = family.family;
    this.#state = state;
    this.#filters = new CompiledFilters(peer.policy.filters, 'export', peer.type);
    this.#extendedNextHop = family.extendedNextHop;
    this.#selfNextHop = selfNextHop(peer, family);
  }

  /** The attributes under which a path leaves, 0 if it does not. Not yet held. */
  send(table: RouteTable, path: number): number {
    const accepted = table.accepted[path] as number;
    const from = table.peer[path] as number;
    const verdict = this.#judge(table, path);
    if (!verdict.accept) return 0;
    if (this.#generation !== this.#store.generation) this.#forget();
    const key = accepted * 0x10000 + from;
    if (key === this.#lastKey && verdict === this.#lastVerdict) return this.#lastSent;
    const made = this.#madeUnder(verdict);
    let sent = made.get(key);
    if (sent === undefined) {
      sent = this.#refusal(accepted, from) === undefined ? this.#changed(accepted, from, verdict) : 0;
      made.set(key, sent);
    }
    this.#lastKey = key;
    this.#lastVerdict = verdict;
    this.#lastSent = sent;
    return sent;
  }

  #madeUnder(verdict: Verdict): Map<number, number> {
    const known = this.#made.get(verdict);
    if (known) return known;
    const made = new Map<number, number>();
    this.#made.set(verdict, made);
    return made;
  }

  /** As {@link send}, in words. */
  explain(table: RouteTable, path: number): ExportResult {
    const sent = this.send(table, path);
    const refusal = this.#refusal(table.accepted[path] as number, table.peer[path] as number);
    const verdict = this.#judge(table, path);
    if (sent !== 0 || !verdict.accept) return { sent, because: verdict.line };
    return { sent, because: refusal ?? 'no next hop that this peer could use' };
  }

  /** Attribute numbers may have been given to others. */
  #forget(): void {
    this.#generation = this.#store.generation;
    this.#made = new Map();
    this.#lastKey = -1;
  }

  /** Filters first, then the guard, so that no filter can open what the guard closes. */
  #judge(table: RouteTable, path: number): Verdict {
    const { guard } = this.#state;
    if ((this.#filters.isEmpty && guard === undefined) || !isUnicast(this.#family)) return NO_FILTER;
    const from = table.peer[path] as number;
    this.#view.see(table, table.destination[path] as number);
    this.#view.with(table.accepted[path] as number, from !== LOCAL, this.#peers.get(from)?.interface);
    const verdict = this.#filters.isEmpty ? NO_FILTER : this.#filters.judge(this.#view);
    const { family, words, length } = this.#view;
    return verdict.accept && guard?.allows(family, words, length) === false ? OUTSIDE_GUARD : verdict;
  }

  /** What the protocol itself forbids, whatever is configured. */
  #refusal(accepted: number, from: number): string | undefined {
    const flags = this.#store.flags[accepted] as number;
    const source = this.#peers.get(from);
    if ((flags & NO_ADVERTISE) !== 0) return 'community no-advertise';
    if (this.#peer.type === 'ebgp' && (flags & (NO_EXPORT | NO_EXPORT_SUBCONFED)) !== 0)
      return 'community no-export';
    if (this.#peer.type === 'ibgp' && source?.type === 'ibgp') {
      const reflects = source.reflectorClient || this.#peer.reflectorClient;
      if (!reflects) return 'learned by iBGP, and neither peer is a reflector client';
    }
    if (this.#interest?.wants(this.#store.block(accepted)) === false) {
      return 'none of its route targets is one that the peer has asked for';
    }
    if ((flags & LLGR_STALE) !== 0 && !this.#peer.longLivedGracefulRestart) {
      return 'long-lived stale, which the peer does not understand';
    }
    return undefined;
  }

  #changed(accepted: number, from: number, verdict: Verdict): number {
    const nextHop = this.#nextHop(accepted, from);
    if (nextHop === undefined) return 0;
    const edits = this.#edits(from, verdict);
    return rewrite(this.#store, this.#scratch, accepted, { edits, leaving: true, nextHop });
  }

  /** Filters' operations come first, then what the peer's sort asks for. */
  #edits(from: number, verdict: Verdict): AttributeEdit[] {
    const { policy } = this.#peer;
    const edits: AttributeEdit[] = [];
    if (policy.stripCommunities) {
      edits.push(...[COMMUNITIES, EXTENDED_COMMUNITIES, LARGE_COMMUNITIES].map(dropped));
    }
    edits.push(...verdict.operations.map(editOf));
    for (const community of policy.addCommunities ?? []) {
      edits.push(
        typeof community === 'number'
          ? addCommunity(community)
          : editOf({ kind: 'addLargeCommunity', community }),
      );
    }
    if (this.#state.draining) edits.push(addCommunity(COMMUNITY_GRACEFUL_SHUTDOWN));
    edits.push(...(this.#peer.type === 'ebgp' ? this.#externalEdits(from) : this.#internalEdits(from)));
    return edits;
  }

  /** RFC 4271 §5.1.2, §5.1.4 and §5.1.5: MED goes no further than the neighbouring AS. */
  #externalEdits(from: number): AttributeEdit[] {
    const edits = [
      prependAsPath([this.#peer.localAs]),
      ...[LOCAL_PREF, ORIGINATOR_ID, CLUSTER_LIST].map(dropped),
    ];
    if (from !== LOCAL) edits.push(dropped(MULTI_EXIT_DISC));
    return edits;
  }

  #internalEdits(from: number): AttributeEdit[] {
    const source = this.#peers.get(from);
    const edits = this.#state.draining
      ? [setU32(LOCAL_PREF, 0)]
      : [defaultU32(LOCAL_PREF, DEFAULT_LOCAL_PREFERENCE)];
    if (source?.type === 'ibgp') {
      const { identifier } = this.#state.router;
      edits.push(
        this.tellsSource ? setU32(ORIGINATOR_ID, identifier) : defaultU32(ORIGINATOR_ID, source.identifier),
      );
      edits.push(prependU32(CLUSTER_LIST, this.#state.router.clusterId));
    }
    return edits;
  }

  #nextHop(accepted: number, from: number): Uint8Array | undefined {
    const own = this.#store.nextHopBytes(accepted);
    const reflected = this.#peer.type === 'ibgp' && this.#peers.get(from)?.type === 'ibgp';
    const mode = this.#peer.policy.nextHop;
    const keeps =
      reflected ||
      mode === 'keep' ||
      (mode === 'auto' && this.#peer.type === 'ibgp') ||
      !isUnicast(this.#family);
    if (!keeps || own.length === 0 || this.tellsSource) return this.#selfNextHop;
    const isForeign = isUnicast(this.#family) && afiOf(this.#family) === AFI_IPV4 && own.length !== 4;
    return isForeign && !this.#extendedNextHop ? undefined : own;
  }
}

const OUTSIDE_GUARD: Verdict = {
  accept: false,
  operations: [],
  line: 'export guard: outside all pools and service ranges',
};

/** This node as the next hop, in the form that the family and the peer take. */
function selfNextHop(peer: RibPeer, { family, extendedNextHop }: PeerFamily): Uint8Array | undefined {
  const candidates = [peer.localAddress, peer.localAddress4, peer.localAddress6];
  const of = (wants4: boolean): IP | undefined =>
    candidates.find((address) => address !== undefined && isIPv4(address) === wants4);
  const wants4 = afiOf(family) === AFI_IPV4 || !isUnicast(family);
  const address = of(wants4) ?? (wants4 && (extendedNextHop || !isUnicast(family)) ? of(false) : undefined);
  if (address === undefined) return undefined;
  const bytes = bytesOf(address);
  return safiOf(family) === 128 ? Buffer.concat([Buffer.alloc(8), bytes]) : bytes;
}
