import type { Kind, ObjectOf } from '../../store/kinds/registry.ts';
import { type Key, type Preconditions, type Store, StoreError } from '../../store/store.ts';
import { drain } from './virtualClock.rig.ts';

/**
 * What becomes of a call: `lost` never arrives; `committed` arrives, but its answer does not; `late` arrives long after
 * its sender has given up; `slow` is carried out now and answered at the next turn.
 */
export const FAULTS = ['none', 'lost', 'committed', 'late', 'slow'] as const;
export type Fault = (typeof FAULTS)[number];

interface Call {
  readonly what: string;
  readonly write: boolean;
  /** Carries it out; what it gives back delivers the answer. */
  readonly run: () => Promise<() => void>;
  readonly fail: (error: unknown) => void;
}

/** A process's way to the store: each call waits until the model lets it through. */
export class GatedStore implements Store {
  readonly location = 'gated';
  readonly #store: Store;
  readonly #isAlive: () => boolean;
  #pending: Call[] = [];
  #late: Call[] = [];

  /** @param isAlive Whether the process still makes calls. */
  constructor(store: Store, isAlive: () => boolean = () => true) {
    this.#store = store;
    this.#isAlive = isAlive;
  }

  get waiting(): number {
    return this.#pending.length;
  }

  /** Lets one call through. */
  async pass(index: number, fault: Fault): Promise<void> {
    const [call] = this.#pending.splice(index % Math.max(1, this.#pending.length), 1);
    if (!call) return;
    const lost = new StoreError('Unavailable', `Cannot ${call.what}: connection reset`);
    if (fault === 'lost' || (fault === 'late' && !call.write)) call.fail(lost);
    else if (fault === 'late') {
      this.#late.push(call);
      call.fail(lost);
    } else {
      const answer = await call.run();
      if (fault === 'committed') call.fail(lost);
      else if (fault === 'slow') {
        this.#pending.push({ ...call, write: false, run: async () => answer, fail: call.fail });
      } else answer();
    }
    await drain();
  }

  /** What was sent long ago arrives. */
  async landLate(): Promise<void> {
    const late = this.#late;
    this.#late = [];
    for (const call of late) await call.run();
  }

  /** Nobody waits for answers any more; what has been sent may still arrive. */
  abandon(): void {
    this.#late.push(...this.#pending.filter(({ write }) => write));
    this.#pending = [];
  }

  list<K extends Kind>(kind: K) {
    return this.#call(`list ${kind}`, false, () => this.#store.list(kind));
  }

  watch<K extends Kind>(kind: K, resourceVersion: string, signal: AbortSignal) {
    return this.#store.watch(kind, resourceVersion, signal);
  }

  get<K extends Kind>(kind: K, key: Key) {
    return this.#call(`get ${kind}`, false, () => this.#store.get(kind, key));
  }

  create<T extends ObjectOf<Kind>>(object: T): Promise<T> {
    return this.#call(`create ${object.kind}`, true, () => this.#store.create(object));
  }

  update<T extends ObjectOf<Kind>>(object: T): Promise<T> {
    return this.#call(`update ${object.kind}`, true, () => this.#store.update(object));
  }

  updateStatus<T extends ObjectOf<Kind>>(object: T): Promise<T> {
    return this.#call(`update ${object.kind}`, true, () => this.#store.updateStatus(object));
  }

  delete(kind: Kind, key: Key, preconditions?: Preconditions): Promise<void> {
    return this.#call(`delete ${kind}`, true, () => this.#store.delete(kind, key, preconditions));
  }

  problems(kind?: Kind): readonly string[] {
    return this.#store.problems(kind);
  }

  async close(): Promise<void> {}

  #call<T>(what: string, write: boolean, work: () => Promise<T>): Promise<T> {
    return new Promise<T>((resolve, reject) => {
      const run = () =>
        work().then(
          (value) => () => resolve(value),
          (error: unknown) => () => reject(error),
        );
      if (this.#isAlive()) this.#pending.push({ what, write, run, fail: reject });
    });
  }
}
