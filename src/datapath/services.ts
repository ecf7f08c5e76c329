import { type Prefix, samePrefix } from '../address/prefix.ts';
import { compareMaps, isAdopted, type Programmed, readSets } from './adoption.ts';
import type { BackendSetView } from './backendSet.ts';
import { Frontends } from './frontends.ts';
import type { Backend } from './maps/backends.ts';
import { PROTOCOLS } from './maps/endpoint.ts';
import type { Slot } from './maps/services.ts';
import { NumberPool } from './numbers.ts';
import { type Draft, Places } from './places.ts';
import { atOnce, each, type Portions } from './portions.ts';
import {
  nameOf,
  type ProgrammedBackend,
  type ProgrammedSet,
  rangeKeyOf,
  ringOf,
  sameNumbers,
} from './programmedSet.ts';
import { noChanges, type Plan, PlanBuilder, type Problem } from './servicePlan.ts';
import type { ServiceView } from './serviceView.ts';
import { UndoLog } from './undoLog.ts';

const SETS_PER_PORTION = 64;

/** A service that is to be as `view` says, or to be gone. */
export interface ServiceChange {
  /** `namespace/name`. */
  readonly key: string;
  readonly view: ServiceView | undefined;
}

export interface PlannerOptions {
  /** Entries of `tb_backends`. */
  readonly backendLimit: number;
  /** Entries of `tb_maglev`. */
  readonly ringLimit: number;
  /** Seconds on any clock that does not go back. */
  readonly now: () => number;
}

/**
 * Decides what to write into the service maps so that they say what is wanted. It knows what is programmed and
 * computes differences: a change costs the size of the services it is about, whatever else is there.
 *
 * Pure but for its own state: every call returns a {@link Plan} and expects it to be carried out. If that
 * fails, and has been undone in the maps, {@link rollback} undoes it here.
 */
export class ServicePlanner {
  readonly #sets = new Map<string, ProgrammedSet>();
  readonly #setsOfService = new Map<string, readonly string[]>();
  readonly #frontends = new Frontends(this.#sets);
  readonly #places = new Places();
  readonly #backendNumbers: NumberPool;
  readonly #ringLimit: number;
  /** The sets that have a ring, or will with their first backend. */
  readonly #rings = new Map<string, true>();
  #nextService = 1;
  #undo = new UndoLog();
  /** Backend numbers that the latest plan sets free. */
  #freed: number[] = [];

  constructor({ backendLimit, ringLimit, now }: PlannerOptions) {
    this.#ringLimit = ringLimit;
    this.#backendNumbers = new NumberPool(backendLimit, now);
  }

  /** What is programmed once the latest plan is carried out. */
  sets(): Iterable<ProgrammedSet> {
    return this.#sets.values();
  }

  /** Sets that are not served, or not at all their addresses, because another one has been there first. */
  clashes(): Problem[] {
    return this.#frontends.clashes();
  }

  /**
   * Plans any number of services at once.
   *
   * @throws {Error} If `tb_backends` is full; nothing has changed then.
   */
  plan(changes: readonly ServiceChange[]): Plan {
    return this.#planning((draft) => {
      for (const { key, view } of changes) this.#changeService(draft, key, view?.sets ?? []);
    });
  }

  /**
   * Takes over what an earlier run has programmed, before the first plan. Sets are recognised by their
   * frontends when a service asks for them; those nobody has asked for serve on until {@link reconcile}.
   *
   * @returns A plan that mends what a run that was cut short has left behind.
   */
  adopt(programmed: Programmed): Plan {
    return atOnce(this.adopting(programmed));
  }

  /** Like {@link adopt}, in portions: nothing may be planned or written before the last of them. */
  *adopting(programmed: Programmed): Portions<Plan> {
    const plan = new PlanBuilder();
    const adoption = yield* readSets(programmed, plan);
    const { sets, highest } = adoption;
    const draft = { plan: noChanges, undo: new UndoLog(false) };
    const inUse = new Uint8Array(highest.backend + 1);
    yield* each(sets, SETS_PER_PORTION, (set) => {
      this.#sets.set(set.key, set);
      if (set.maglev) this.#rings.set(set.key, true);
      this.#write(draft, set.key, undefined, set);
      for (const { number } of set.backends) inUse[number] = 1;
    });
    this.#backendNumbers.adopt((number) => inUse[number] === 1, highest.backend);
    this.#nextService = highest.service + 1;
    yield* compareMaps(programmed, adoption, { frontends: this.#frontends, places: this.#places }, plan);
    return plan.finish();
  }

  /**
   * Removes up to `most` of the adopted sets that no service has asked for: only once all services and endpoints are
   * known. `undefined`: there is none left.
   */
  reconcile(most = Number.POSITIVE_INFINITY): Plan | undefined {
    const orphans = [...this.#sets.keys()].filter(isAdopted).slice(0, most);
    if (orphans.length === 0) return undefined;
    return this.#planning((draft) => {
      for (const key of orphans) this.#changeSet(draft, key, undefined);
    });
  }

  /** Takes back the latest plan. */
  rollback(): void {
    this.#undo.rollback();
    this.#freed = [];
  }

  #planning(body: (draft: Draft) => void): Plan {
    for (const number of this.#freed) this.#backendNumbers.give(number);
    this.#freed = [];
    this.#undo = new UndoLog();
    const plan = new PlanBuilder();
    try {
      body({ plan, undo: this.#undo });
    } catch (error) {
      this.rollback();
      throw error;
    }
    return plan.finish();
  }

  #changeService(draft: Draft, service: string, views: readonly BackendSetView[]): void {
    const keys = views.map(({ key }) => key);
    for (const key of this.#setsOfService.get(service) ?? []) {
      if (!keys.includes(key)) this.#changeSet(draft, key, undefined);
    }
    for (const view of views) this.#changeSet(draft, view.key, view);
    draft.undo.set(this.#setsOfService, service, keys.length > 0 ? keys : undefined);
  }

  #changeSet(draft: Draft, key: string, view: BackendSetView | undefined): void {
    const before = this.#sets.get(key) ?? (view && this.#recognise(draft, view));
    if (before === undefined && view === undefined) return;
    const after = view && this.#arrange(draft, view, before);
    draft.undo.set(this.#sets, key, after);
    draft.undo.set(this.#rings, key, after?.maglev || undefined);
    this.#write(draft, key, before, after);
  }

  /** The adopted set that has one of these frontends, now under its proper key. */
  #recognise(draft: Draft, view: BackendSetView): ProgrammedSet | undefined {
    const { key, protocol, port, frontends, scope } = view;
    for (const { address } of frontends) {
      const owner = this.#frontends.ownerOf({ address, port, protocol: PROTOCOLS[protocol], scope });
      const set = owner !== undefined && isAdopted(owner) ? this.#sets.get(owner) : undefined;
      if (set === undefined) continue;
      draft.undo.set(this.#sets, set.key, undefined);
      draft.undo.set(this.#rings, set.key, undefined);
      this.#frontends.rename(draft, set, key);
      return { ...set, key };
    }
    return undefined;
  }

  /** The set as it shall be: known backends keep their numbers, other slots take another generation. */
  #arrange(draft: Draft, view: BackendSetView, before: ProgrammedSet | undefined): ProgrammedSet {
    const known = new Map(before?.backends.map((backend) => [nameOf(backend), backend.number]));
    const backends = view.backends
      .map(({ address, port, state }) => {
        const number = known.get(nameOf({ address, port })) ?? this.#takeBackend(draft, view.key);
        return { number, address, port, state };
      })
      .sort((a, b) => a.number - b.number);
    const slots = backends.filter(({ state }) => state === 'active').map(({ number }) => number);
    const same = before !== undefined && sameNumbers(before.slots, slots);
    return {
      key: view.key,
      number: before?.number ?? this.#nextService++,
      generation: ((before?.generation ?? 0) + (same ? 0 : 1)) >>> 0,
      protocol: PROTOCOLS[view.protocol],
      port: view.port,
      frontends: view.frontends,
      backends,
      slots,
      affinitySeconds: view.affinitySeconds,
      maglev: this.#hasRing(draft, view, before),
      scope: view.scope ?? 'inside',
      ranges: view.ranges ?? [],
      direct: view.direct ?? false,
    };
  }

  /** Without a ring a service is served all the same. */
  #hasRing({ plan }: Draft, { key, balance }: BackendSetView, before: ProgrammedSet | undefined): boolean {
    if (balance === 'random') return false;
    const room = balance === 'maglev' ? this.#ringLimit : this.#ringLimit / 2;
    if (before?.maglev || this.#rings.size < room) return true;
    plan.problem(
      key,
      `its backends are chosen at random: ${this.#rings.size} services have a Maglev ring already`,
    );
    return false;
  }

  #takeBackend({ undo }: Draft, set: string): number {
    const number = this.#backendNumbers.take();
    if (number === undefined) throw new Error(`Cannot number the backends of ${set}: tb_backends is full`);
    undo.onRollback(() => this.#backendNumbers.give(number));
    return number;
  }

  #write(
    draft: Draft,
    key: string,
    before: ProgrammedSet | undefined,
    after: ProgrammedSet | undefined,
  ): void {
    const set = after ?? before;
    if (set === undefined) throw new Error(`Cannot write ${key}: there is no such set, before or after`);
    this.#writeBackends(draft, set, before?.backends ?? [], after?.backends ?? []);
    if (before?.generation !== after?.generation) writeSlots(draft, before, after);
    writeRing(draft, set.number, before, after);
    writeRanges(draft, set.number, before?.ranges ?? [], after?.ranges ?? []);
    this.#frontends.change(draft, before, after);
  }

  #writeBackends(
    draft: Draft,
    set: ProgrammedSet,
    before: readonly ProgrammedBackend[],
    after: readonly ProgrammedBackend[],
  ): void {
    const old = new Map(before.map((backend) => [backend.number, backend]));
    for (const backend of after) {
      const was = old.get(backend.number);
      old.delete(backend.number);
      if (was?.state === backend.state) continue;
      const value = backendEntry(set, backend);
      draft.plan.backend({ key: backend.number, value, was: was && backendEntry(set, was) });
      if (was === undefined) this.#places.enter(draft, backend, set.protocol);
    }
    for (const gone of old.values()) {
      const was = backendEntry(set, gone);
      draft.plan.backend({ key: gone.number, value: { ...was, state: 'none' }, was });
      this.#places.leave(draft, gone, set.protocol);
      this.#freed.push(gone.number);
    }
  }
}

function backendEntry(set: ProgrammedSet, { address, port, state }: ProgrammedBackend): Backend {
  return { address, port, protocol: set.protocol, state, service: set.number };
}

function writeSlots(
  { plan }: Draft,
  before: ProgrammedSet | undefined,
  after: ProgrammedSet | undefined,
): void {
  const keyOf = ({ number, generation }: ProgrammedSet, index: number): Slot => ({
    service: number,
    generation,
    index,
  });
  after?.slots.forEach((value, index) => {
    plan.slot({ key: keyOf(after, index), value, was: undefined });
  });
  before?.slots.forEach((was, index) => {
    plan.slot({ key: keyOf(before, index), value: undefined, was });
  });
}

function writeRing(
  { plan }: Draft,
  key: number,
  before: ProgrammedSet | undefined,
  after: ProgrammedSet | undefined,
): void {
  const was = before && ringOf(before);
  const value = after && ringOf(after);
  const numbers = (ring: typeof was) => ring?.map(({ number }) => number) ?? [];
  if (!sameNumbers(numbers(was), numbers(value))) plan.ring({ key, value, was });
}

function writeRanges(
  { plan }: Draft,
  service: number,
  before: readonly Prefix[],
  after: readonly Prefix[],
): void {
  const without = (ranges: readonly Prefix[], others: readonly Prefix[]) =>
    ranges.filter((range) => !others.some((other) => samePrefix(range, other)));
  for (const range of without(after, before)) {
    plan.range({ key: rangeKeyOf(service, range), value: 1, was: undefined });
  }
  for (const range of without(before, after)) {
    plan.range({ key: rangeKeyOf(service, range), value: undefined, was: 1 });
  }
}
