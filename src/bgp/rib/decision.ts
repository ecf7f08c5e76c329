import { type AttributeStore, HAS_MED, LLGR_STALE } from './attributeStore.ts';
import { UNREACHABLE } from './nextHops.ts';
import type { Peers } from './peers.ts';
import { LONG_LIVED, type RouteTable } from './routeTable.ts';

export interface DecisionOptions {
  /** Compare MED between routes of different neighbouring ASes too. */
  readonly alwaysCompareMed: boolean;
  /** The most paths of one multipath set; 1 turns ECMP off. */
  readonly maximumPaths: number;
  /** Paths of one multipath set may come through different neighbouring ASes, as long as they are equally long. */
  readonly relaxedMultipath: boolean;
}

/** Why a path is not the best one: the first step of RFC 4271 §9.1 (and what RFC 9494 and 4456 add) that it lost. */
export type Reason =
  | 'refused by policy'
  | 'next hop unreachable'
  | 'long-lived stale'
  | 'local preference'
  | 'not of this node'
  | 'AS path length'
  | 'origin'
  | 'MED'
  | 'iBGP after eBGP'
  | 'IGP metric'
  | 'router identifier'
  | 'cluster list length'
  | 'peer address'
  | 'path identifier';

/** Hears of each path that drops out, and why. */
export type Witness = (path: number, reason: Reason) => void;

/**
 * Chooses among the paths of a destination. One instance serves all decisions of a RIB: where there is one path
 * only, as in most of a large table, deciding makes no garbage.
 */
export class Decision {
  readonly #attributes: AttributeStore;
  readonly #peers: Peers;
  readonly #options: DecisionOptions;
  /** The paths still in the race. */
  #paths: number[] = [];
  /** After {@link run}: the best path, 0 for none. */
  best = 0;
  /** The only path there is, for which no lists are made; 0 where there are several. */
  #single = 0;
  #multipathSet: readonly number[] = [];
  #equal: readonly number[] = [];
  #candidates: readonly number[] = [];

  constructor(attributes: AttributeStore, peers: Peers, options: DecisionOptions) {
    this.#attributes = attributes;
    this.#peers = peers;
    this.#options = options;
  }

  /** After {@link run}: the best path and those that are as good up to the IGP's metric. */
  get multipath(): readonly number[] {
    return this.#single !== 0 ? [this.#single] : this.#multipathSet;
  }

  /**
   * After {@link run}: the paths as good as the best one before this router's own distance to the next hops
   * counts. What a reflector sends to add-path clients: they stand elsewhere, and an anycast address must keep
   * all its nodes.
   */
  get equal(): readonly number[] {
    return this.#single !== 0 ? [this.#single] : this.#equal;
  }

  /** After {@link run}: every path that could be used at all. */
  get candidates(): readonly number[] {
    return this.#single !== 0 ? [this.#single] : this.#candidates;
  }

  run(table: RouteTable, destination: number, witness?: Witness): void {
    const first = table.first[destination] as number;
    if (first !== 0 && table.next[first] === 0 && witness === undefined) {
      this.#only(table, first);
      return;
    }
    this.#enter(table, first, witness);
    this.#keepLeast('long-lived stale', (path) => (this.#longLived(table, path) ? 1 : 0), witness);
    const { localPreference, pathLength, origin } = this.#attributes;
    const of = table.accepted;
    this.#keepLeast('local preference', (path) => -(localPreference[of[path] as number] as number), witness);
    this.#keepLeast('not of this node', (path) => (table.peer[path] === 0 ? 0 : 1), witness);
    this.#keepLeast('AS path length', (path) => pathLength[of[path] as number] as number, witness);
    this.#keepLeast('origin', (path) => origin[of[path] as number] as number, witness);
    this.#compareMed(table, witness);
    this.#keepLeast(
      'iBGP after eBGP',
      (path) => (this.#peers.isInternal(table.peer[path] as number) ? 1 : 0),
      witness,
    );
    this.#equal = this.#paths;
    const { metric } = this.#attributes.nextHops;
    this.#keepLeast(
      'IGP metric',
      (path) => metric[this.#attributes.nextHop[of[path] as number] as number] as number,
      witness,
    );
    const tied = this.#paths;
    this.#keepLeast('router identifier', (path) => this.#identifier(table, path), witness);
    const { clusterLength } = this.#attributes;
    this.#keepLeast('cluster list length', (path) => clusterLength[of[path] as number] as number, witness);
    this.#keepLeast('peer address', (path) => this.#peers.rank(table.peer[path] as number), witness);
    this.#keepLeast('path identifier', (path) => table.pathId[path] as number, witness);
    this.best = this.#paths[0] ?? 0;
    this.#multipathSet = this.#multipath(table, tied);
  }

  /** The best path of a destination that has been decided, where {@link RouteTable.promote} put it; 0 for none. */
  bestOf(table: RouteTable, destination: number): number {
    const path = table.first[destination] as number;
    return path !== 0 && this.#eligible(table, path) ? path : 0;
  }

  #only(table: RouteTable, path: number): void {
    this.best = this.#eligible(table, path) ? path : 0;
    this.#single = this.best;
    if (this.best !== 0) return;
    this.#multipathSet = [];
    this.#equal = [];
    this.#candidates = [];
  }

  #enter(table: RouteTable, first: number, witness: Witness | undefined): void {
    const paths: number[] = [];
    for (let path = first; path !== 0; path = table.next[path] as number) {
      if (this.#eligible(table, path)) paths.push(path);
      else witness?.(path, table.accepted[path] === 0 ? 'refused by policy' : 'next hop unreachable');
    }
    this.#paths = paths;
    this.#candidates = paths;
    this.#single = 0;
  }

  #eligible(table: RouteTable, path: number): boolean {
    const attributes = table.accepted[path] as number;
    if (attributes === 0) return false;
    return this.#attributes.nextHops.metric[this.#attributes.nextHop[attributes] as number] !== UNREACHABLE;
  }

  #longLived(table: RouteTable, path: number): boolean {
    return (
      ((table.flags[path] as number) & LONG_LIVED) !== 0 ||
      ((this.#attributes.flags[table.accepted[path] as number] as number) & LLGR_STALE) !== 0
    );
  }

  /** RFC 4456 §9: the originator's identifier stands in for that of the reflector. */
  #identifier(table: RouteTable, path: number): number {
    const originator = this.#attributes.originatorId[table.accepted[path] as number] as number;
    return originator !== 0 ? originator : this.#peers.identifier(table.peer[path] as number);
  }

  #keepLeast(reason: Reason, measure: (path: number) => number, witness: Witness | undefined): void {
    const paths = this.#paths;
    if (paths.length < 2) return;
    const measures = paths.map(measure);
    const least = measures.reduce((a, b) => (a < b ? a : b));
    const kept = paths.filter((path, index) => {
      if (measures[index] === least) return true;
      witness?.(path, reason);
      return false;
    });
    this.#paths = kept;
  }

  /**
   * RFC 4271 §9.1.2.2 c: of the routes through one neighbouring AS those with the lowest MED stay, whatever the
   * order in which they came ("deterministic").
   */
  #compareMed(table: RouteTable, witness: Witness | undefined): void {
    const { med, neighbourAs, flags } = this.#attributes;
    const of = table.accepted;
    if (!this.#paths.some((path) => ((flags[of[path] as number] as number) & HAS_MED) !== 0)) return;
    const least = new Map<number, number>();
    const group = (path: number) =>
      this.#options.alwaysCompareMed ? 0 : (neighbourAs[of[path] as number] as number);
    for (const path of this.#paths) {
      const value = med[of[path] as number] as number;
      least.set(group(path), Math.min(value, least.get(group(path)) ?? value));
    }
    this.#paths = this.#paths.filter((path) => {
      if (med[of[path] as number] === least.get(group(path))) return true;
      witness?.(path, 'MED');
      return false;
    });
  }

  #multipath(table: RouteTable, tied: readonly number[]): readonly number[] {
    if (this.best === 0) return [];
    const { maximumPaths, relaxedMultipath } = this.#options;
    const { neighbourAs } = this.#attributes;
    const through = (path: number) => neighbourAs[table.accepted[path] as number];
    const others = tied.filter(
      (path) => path !== this.best && (relaxedMultipath || through(path) === through(this.best)),
    );
    return [this.best, ...others].slice(0, maximumPaths);
  }
}
