import { silentLog } from '../../log.ts';
import type { MemoryStore } from '../../store/memory.rig.ts';
import { runOperator } from '../run.ts';
import { GatedStore } from './gatedStore.rig.ts';
import { drain, type VirtualClock } from './virtualClock.rig.ts';

const LEASE_MS = 3_000;

/** The operator's process, with everything it does held up at the store's door. */
export class OperatorProcess {
  readonly #store: MemoryStore;
  readonly #clock: VirtualClock;
  #gate: GatedStore;
  #stop = new AbortController();

  constructor(store: MemoryStore, clock: VirtualClock) {
    this.#store = store;
    this.#clock = clock;
    this.#gate = new GatedStore(store);
  }

  get gate(): GatedStore {
    return this.#gate;
  }

  async start(): Promise<void> {
    this.#gate = new GatedStore(this.#store);
    this.#stop = new AbortController();
    const options = { store: this.#gate, log: silentLog, leaseDuration: LEASE_MS, clock: this.#clock };
    void runOperator(options, this.#stop.signal);
    await drain();
  }

  /** What it has sent may still arrive; nothing it waits for is ever answered. */
  kill(): void {
    this.#stop.abort();
  }
}
