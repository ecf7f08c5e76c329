import { formatIP, isIPv4 } from '../../address/ip.ts';
import { CompiledFilters } from '../policy/compiledFilters.ts';
import type { Verdict } from '../policy/policyRoute.ts';
import { occurrences } from './asPath.ts';
import { type AttributeEdit, editOf, setU32 } from './attributeEdit.ts';
import { type AttributeStore, GRACEFUL_SHUTDOWN, readU32 } from './attributeStore.ts';
import { AS_PATH, type AttributeBlock, CLUSTER_LIST, eachAttribute, LOCAL_PREF } from './pathAttributes.ts';
import type { RibPeer } from './peer.ts';
import { rewrite } from './rewrite.ts';
import type { RibParts, RouterIdentity } from './ribParts.ts';
import type { RouteTable } from './routeTable.ts';
import type { RouteView } from './routeView.ts';

/** What a route is asked on its way in. */
export interface Entrance {
  /** The attributes under which a route enters, 0 if it does not. Not yet held. */
  accept(table: RouteTable, destination: number, received: number): number;
  /** The line that decides, in words. */
  explain(table: RouteTable, destination: number, received: number): string;
}

/** The node's own routes enter as they are. */
export const OPEN_ENTRANCE: Entrance = {
  accept: (_table, _destination, received) => received,
  explain: () => 'own route',
};

/** The way in from one peer: loops, next hops, filters, and what filters change. */
export class Importer implements Entrance {
  readonly #store: AttributeStore;
  readonly #view: RouteView;
  readonly #peer: RibPeer;
  readonly #router: RouterIdentity;
  readonly #filters: CompiledFilters;
  readonly #scratch: AttributeBlock;
  /** The set of attributes asked about last, and what is wrong with it: neighbouring routes share both. */
  #lastReceived = 0;
  #generation = 0;
  #lastFault: string | undefined;
  #lastVerdict: Verdict | undefined;
  #lastAccepted = 0;

  constructor({ store, view, scratch, state }: RibParts, peer: RibPeer) {
    this.#store = store;
    this.#view = view;
    this.#scratch = scratch;
    this.#peer = peer;
    this.#router = state.router;
    this.#filters = new CompiledFilters(peer.policy.filters, 'import', peer.type);
  }

  accept(table: RouteTable, destination: number, received: number): number {
    if (received !== this.#lastReceived || this.#generation !== this.#store.generation) {
      this.#generation = this.#store.generation;
      this.#lastReceived = received;
      this.#lastFault = this.#fault(received);
      this.#lastVerdict = undefined;
    }
    if (this.#lastFault !== undefined) return 0;
    const verdict = this.#judge(table, destination, received);
    if (verdict?.accept === false) return 0;
    if (this.#lastVerdict !== verdict || verdict === undefined) {
      this.#lastVerdict = verdict;
      this.#lastAccepted = this.#changed(received, verdict);
    }
    return this.#lastAccepted;
  }

  explain(table: RouteTable, destination: number, received: number): string {
    return this.#fault(received) ?? this.#judge(table, destination, received)?.line ?? 'no filter';
  }

  #judge(table: RouteTable, destination: number, received: number): Verdict | undefined {
    if (this.#filters.isEmpty || !this.#view.see(table, destination)) return undefined;
    return this.#filters.judge(this.#view.with(received, true, this.#peer.interface));
  }

  /** What makes a route unusable whatever filters say; it is no error of the session (RFC 4271 §6.3, §9.1.2). */
  #fault(received: number): string | undefined {
    return this.#loop(received) ?? this.#nextHopFault(received);
  }

  /** NEXT_HOP itself was looked at with the other attributes; the next hop of MP_REACH_NLRI was not. */
  #nextHopFault(received: number): string | undefined {
    if (this.#store.nextHopLength[received] === 0) return undefined;
    const { localAddress, localAddress4, localAddress6 } = this.#peer;
    const address = this.#store.nextHops.address(this.#store.nextHop[received] as number);
    if ([localAddress, localAddress4, localAddress6].includes(address)) return 'next hop: this router itself';
    const isHost = isIPv4(address) ? address !== 0 : address > 1n && address >> 120n !== 0xffn;
    return isHost ? undefined : `next hop: ${formatIP(address)} is not the address of a host`;
  }

  #loop(received: number): string | undefined {
    const block = this.#store.block(received);
    let loop: string | undefined;
    if (this.#store.originatorId[received] === this.#router.identifier)
      return 'loop: own identifier as originator';
    eachAttribute(block, 0, block.length, (type, _flags, start, end) => {
      if (type === AS_PATH) {
        const count = occurrences(this.#peer.localAs, block, start, end);
        if (count > this.#peer.policy.allowedOwnAs) loop = `loop: own AS ${this.#peer.localAs} in the path`;
      }
      if (type !== CLUSTER_LIST) return;
      for (let at = start; at + 4 <= end; at += 4) {
        if (readU32(block, at) === this.#router.clusterId) loop = 'loop: own cluster in the list';
      }
    });
    return loop;
  }

  #changed(received: number, verdict: Verdict | undefined): number {
    const edits: AttributeEdit[] = (verdict?.operations ?? []).map(editOf);
    // RFC 8326 §4: the neighbour is about to go, so whatever else there is comes first.
    const leaving = ((this.#store.flags[received] as number) & GRACEFUL_SHUTDOWN) !== 0;
    if (leaving && this.#peer.type === 'ebgp') edits.push(setU32(LOCAL_PREF, 0));
    if (edits.length === 0) return received;
    return rewrite(this.#store, this.#scratch, received, { edits, leaving: false });
  }
}
