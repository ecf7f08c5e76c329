import type { Backend } from './maps/backends.ts';
import type { Endpoint } from './maps/endpoint.ts';
import type { RangeKey } from './maps/ranges.ts';
import type { Service, Slot } from './maps/services.ts';

/** One entry of a map before and after; `undefined`: not there. */
export interface Change<K, V> {
  readonly key: K;
  readonly value: V | undefined;
  readonly was: V | undefined;
}

/** The backends of a Maglev ring: their numbers, and the names they are hashed by. */
export type Ring = readonly { readonly number: number; readonly name: string }[];

/** Changes of one map; all of them write entries, or all of them delete. */
export type Step =
  | { readonly map: 'tb_services'; readonly changes: readonly Change<Endpoint, Service>[] }
  | { readonly map: 'tb_slots'; readonly changes: readonly Change<Slot, number>[] }
  | { readonly map: 'tb_backends'; readonly changes: readonly Change<number, Backend>[] }
  | { readonly map: 'tb_endpoints'; readonly changes: readonly Change<Endpoint, number>[] }
  | { readonly map: 'tb_maglev'; readonly changes: readonly Change<number, Ring>[] }
  | { readonly map: 'tb_ranges'; readonly changes: readonly Change<RangeKey, number>[] };

/** What cannot be served as it was asked for. */
export interface Problem {
  /** Of the backend set: `namespace/name:80/TCP/4`. */
  readonly set: string;
  readonly text: string;
}

export interface Plan {
  /** To be done in this order: after each single change, every look-up finds the old set or the new one. */
  readonly steps: readonly Step[];
  /** Places that are no backend of any service any more. */
  readonly retired: readonly Endpoint[];
  readonly problems: readonly Problem[];
}

/** The same plan in parts of at most so many entries, to be carried out one after the other; a ring weighs many. */
export function* partsOf({ steps, retired, problems }: Plan, entries: number): Generator<Plan> {
  for (const step of steps) {
    const size = step.map === 'tb_maglev' ? Math.ceil(entries / RING_WEIGHT) : entries;
    for (let start = 0; start < step.changes.length; start += size) {
      const changes = step.changes.slice(start, start + size);
      yield { steps: [{ ...step, changes } as Step], retired: [], problems: [] };
    }
  }
  yield { steps: [], retired, problems };
}

/** What a ring costs to build and write, in entries of other maps. */
const RING_WEIGHT = 200;

/** The steps that undo `steps`, from the last to the first. */
export function inverseOf(steps: readonly Step[]): Step[] {
  const swapped = <K, V>(changes: readonly Change<K, V>[]): Change<K, V>[] =>
    changes.map(({ key, value, was }) => ({ key, value: was, was: value })).reverse();
  return steps
    .map((step) => ({ ...step, changes: swapped<never, never>(step.changes as never) }) as Step)
    .reverse();
}

/** Where changes go while a plan is made. */
export interface Changes {
  service(id: string, change: Change<Endpoint, Service>): void;
  endpoint(id: string, change: Change<Endpoint, number>): void;
  backend(change: Change<number, Backend>): void;
  ring(change: Change<number, Ring>): void;
  /** Slots are written once: a changed set has a generation of its own. */
  slot(change: Change<Slot, number>): void;
  range(change: Change<RangeKey, number>): void;
  problem(set: string, text: string): void;
}

/** For bookkeeping alone. */
export const noChanges: Changes = {
  service() {},
  endpoint() {},
  backend() {},
  ring() {},
  slot() {},
  range() {},
  problem() {},
};

/** Collects the changes of one plan. Of several changes to one entry the last counts. */
export class PlanBuilder implements Changes {
  readonly #exact = new Entries<Endpoint, Service>();
  readonly #wildcards = new Entries<Endpoint, Service>();
  readonly #endpoints = new Entries<Endpoint, number>();
  readonly #backends = new Entries<number, Backend>();
  readonly #rings = new Entries<number, Ring>();
  readonly #slots: Change<Slot, number>[] = [];
  readonly #ranges: Change<RangeKey, number>[] = [];
  readonly #problems: Problem[] = [];

  service(id: string, change: Change<Endpoint, Service>): void {
    (change.key.port === 0 ? this.#wildcards : this.#exact).put(id, change);
  }

  endpoint(id: string, change: Change<Endpoint, number>): void {
    this.#endpoints.put(id, change);
  }

  backend(change: Change<number, Backend>): void {
    this.#backends.put(change.key, change);
  }

  ring(change: Change<number, Ring>): void {
    this.#rings.put(change.key, change);
  }

  slot(change: Change<Slot, number>): void {
    this.#slots.push(change);
  }

  range(change: Change<RangeKey, number>): void {
    this.#ranges.push(change);
  }

  problem(set: string, text: string): void {
    this.#problems.push({ set, text });
  }

  /**
   * First what nobody looks at yet: backends, slots, rings. Then the service entries, each of which moves its
   * frontend over; an address as such, which is looked up first, comes after its ports and goes before them.
   * Then what nobody looks at any more.
   */
  finish(): Plan {
    const backends = this.#backends.all();
    const endpoints = this.#endpoints.all();
    const steps: Step[] = [
      { map: 'tb_backends', changes: backends.filter(({ value }) => value?.state === 'active') },
      { map: 'tb_endpoints', changes: written(endpoints) },
      { map: 'tb_slots', changes: written(this.#slots) },
      { map: 'tb_maglev', changes: written(this.#rings.all()) },
      { map: 'tb_ranges', changes: written(this.#ranges) },
      { map: 'tb_services', changes: written(this.#exact.all()) },
      { map: 'tb_services', changes: written(this.#wildcards.all()) },
      { map: 'tb_services', changes: deleted(this.#wildcards.all()) },
      { map: 'tb_services', changes: deleted(this.#exact.all()) },
      { map: 'tb_slots', changes: deleted(this.#slots) },
      { map: 'tb_maglev', changes: deleted(this.#rings.all()) },
      { map: 'tb_ranges', changes: deleted(this.#ranges) },
      { map: 'tb_endpoints', changes: deleted(endpoints) },
      { map: 'tb_backends', changes: backends.filter(({ value }) => value?.state !== 'active') },
    ];
    return {
      steps: steps.filter(({ changes }) => changes.length > 0),
      retired: deleted(endpoints)
        .map(({ key }) => key)
        .filter(({ port }) => port !== 0),
      problems: this.#problems,
    };
  }
}

class Entries<K, V> {
  readonly #changes = new Map<string | number, Change<K, V>>();

  put(id: string | number, change: Change<K, V>): void {
    const earlier = this.#changes.get(id);
    this.#changes.set(id, earlier === undefined ? change : { ...change, was: earlier.was });
  }

  all(): Change<K, V>[] {
    return [...this.#changes.values()];
  }
}

function written<K, V>(changes: readonly Change<K, V>[]): Change<K, V>[] {
  return changes.filter(({ value }) => value !== undefined);
}

/** Without those that were not there in the first place. */
function deleted<K, V>(changes: readonly Change<K, V>[]): Change<K, V>[] {
  return changes.filter(({ value, was }) => value === undefined && was !== undefined);
}
