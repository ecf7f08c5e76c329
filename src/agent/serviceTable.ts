import { setImmediate } from 'node:timers/promises';
import type { ServingNode } from '../datapath/backendSet.ts';
import type { Endpoint } from '../datapath/maps/endpoint.ts';
import { inTurns, type Portions } from '../datapath/portions.ts';
import type { ProgrammedSet } from '../datapath/programmedSet.ts';
import type { ServiceMaps } from '../datapath/serviceMaps.ts';
import { type Plan, partsOf } from '../datapath/servicePlan.ts';
import { type ServiceChange, ServicePlanner } from '../datapath/services.ts';
import { type ServiceView, viewService } from '../datapath/serviceView.ts';
import { messageOf } from '../errors.ts';
import type { ServiceInput } from './serviceFeed.ts';

/** Services planned and written at once, at some 50 µs each. */
const PORTION = 200;

/** Milliseconds of one turn at taking over what is there. */
const TURN_MS = 10;

/** Entries written in one portion of mending what is there. */
const MENDED = 2000;

export interface ServiceTableOptions {
  readonly maps: Pick<ServiceMaps, 'apply' | 'programmed' | 'backendLimit' | 'ringLimit'>;
  readonly node: ServingNode;
  /** Seconds on a clock that does not go back. */
  readonly now: () => number;
  /** Told of places that serve no longer, so that flows to them can be let go. */
  readonly retired: (places: readonly Endpoint[]) => void;
}

/** The services in the kernel's maps, kept as the store has them. */
export class ServiceTable {
  readonly #options: ServiceTableOptions;
  #planner: ServicePlanner;
  readonly #problems = new Map<string, readonly string[]>();
  #adopted: Promise<void> | undefined;
  #reconciled = false;
  #closed = false;

  /** Begins to take over what an earlier run has left in the maps: it serves on, whatever the store says later. */
  constructor(options: ServiceTableOptions) {
    this.#options = options;
    this.#planner = this.#newPlanner();
    // Whoever brings the first services hears of a failure, and tries again.
    this.adopted().catch(() => {});
  }

  /**
   * Resolves when that is done: with 100,000 services some seconds, which others get as much of.
   *
   * @throws {Error} If the maps cannot be read or mended; the next call tries again.
   */
  adopted(): Promise<void> {
    this.#adopted ??= this.#adopt().catch((error: unknown) => {
      this.#adopted = undefined;
      throw error;
    });
    return this.#adopted;
  }

  /** To be called before the maps are closed. */
  async close(): Promise<void> {
    this.#closed = true;
    await this.#adopted?.catch(() => {});
  }

  async #adopt(): Promise<void> {
    this.#planner = this.#newPlanner();
    await inTurns(this.#adopting(), TURN_MS);
  }

  *#adopting(): Portions<void> {
    const plan = yield* this.#whileOpen(this.#planner.adopting(this.#options.maps.programmed));
    for (const part of partsOf(plan, MENDED)) {
      this.#carryOut(part);
      yield;
    }
  }

  *#whileOpen<T>(work: Portions<T>): Portions<T> {
    for (;;) {
      if (this.#closed) throw new Error('Cannot take over services: the agent stops');
      const { done, value } = work.next();
      if (done) return value;
      yield;
    }
  }

  #newPlanner(): ServicePlanner {
    const { maps, now } = this.#options;
    return new ServicePlanner({ backendLimit: maps.backendLimit, ringLimit: maps.ringLimit, now });
  }

  /**
   * Brings services up to date, in portions that let others have their turn. One that cannot be programmed keeps
   * none of the others from it.
   *
   * @returns Those that failed, to be tried again.
   */
  async update(inputs: readonly ServiceInput[]): Promise<ServiceInput[]> {
    await this.adopted();
    const failed: ServiceInput[] = [];
    for (let start = 0; start < inputs.length; start += PORTION) {
      failed.push(...this.#program(inputs.slice(start, start + PORTION)));
      await setImmediate();
    }
    return failed;
  }

  #program(inputs: readonly ServiceInput[]): ServiceInput[] {
    const changes = inputs.map((input) => ({ input, change: this.#changeOf(input) }));
    try {
      this.#carryOut(this.#planner.plan(changes.map(({ change }) => change)));
      return [];
    } catch {
      return changes.flatMap(({ input, change }) => (this.#attempt(change) ? [] : [input]));
    }
  }

  /** Removes what nobody has asked for since the start, once: call it when every service has been seen. */
  async reconcile(): Promise<void> {
    while (!this.#reconciled) {
      const plan = this.#planner.reconcile(PORTION);
      if (plan) this.#carryOut(plan);
      else this.#reconciled = true;
      await setImmediate();
    }
  }

  sets(): Iterable<ProgrammedSet> {
    return this.#planner.sets();
  }

  /** What cannot be served, a line each: `default/web: …`. */
  problems(): string[] {
    const noted = [...this.#problems].flatMap(([key, texts]) => texts.map((text) => `${key}: ${text}`));
    return [...noted, ...this.#planner.clashes().map(({ set, text }) => `${serviceOf(set)}: ${text}`)];
  }

  #changeOf({ key, service, slices }: ServiceInput): ServiceChange {
    const view = service && viewService(service, slices, this.#options.node);
    this.#note(key, view);
    return { key, view };
  }

  #attempt(change: ServiceChange): boolean {
    try {
      this.#carryOut(this.#planner.plan([change]));
      return true;
    } catch (error) {
      this.#problems.set(change.key, [messageOf(error)]);
      return false;
    }
  }

  #carryOut(plan: Plan): void {
    try {
      this.#options.maps.apply(plan);
    } catch (error) {
      this.#planner.rollback();
      throw error;
    }
    for (const { set, text } of plan.problems) {
      const key = serviceOf(set);
      this.#problems.set(key, [...(this.#problems.get(key) ?? []), text]);
    }
    if (plan.retired.length > 0) this.#options.retired(plan.retired);
  }

  #note(key: string, view: ServiceView | undefined): void {
    if (view === undefined || view.problems.length === 0) this.#problems.delete(key);
    else this.#problems.set(key, view.problems);
  }
}

/** Of a set's key, `namespace/name:80/TCP/4`. */
function serviceOf(set: string): string {
  return set.replace(/:.*$/, '');
}
