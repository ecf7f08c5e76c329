import { silentLog } from '../../src/log.ts';
import { Operator } from '../../src/operator/operator.ts';
import type { NodeNetwork } from '../../src/store/kinds/nodeNetwork.ts';
import { MemoryStore } from '../../src/store/memory.rig.ts';

/** So many addresses a block has. */
const BLOCK = 32;

/** What the rounds of one phase came to. */
export interface Phase {
  rounds: number;
  milliseconds: number;
  longest: number;
}

/**
 * A cluster of simulated nodes on a store in memory, and a real operator. Only the operator's rounds are timed: listing,
 * planning and writing, with the validation of every object that a real API server would do on its side.
 */
export class SimulatedCluster {
  readonly #store = new MemoryStore();
  readonly #operator: Operator;
  readonly #names: readonly string[];
  #now = 1_000_000_000_000;

  constructor(nodes: number) {
    this.#names = Array.from({ length: nodes }, (_, index) => `node-${index}`);
    this.#operator = new Operator({ store: this.#store, now: () => this.#now, log: silentLog });
  }

  async start(): Promise<void> {
    await this.#store.create({
      apiVersion: 'network.tombolo.dev/v1alpha1',
      kind: 'IPPool',
      metadata: { name: 'default' },
      spec: { cidr: '10.0.0.0/8', blockSize: 27 },
    });
    for (const name of this.#names) {
      await this.#store.create({ apiVersion: 'v1', kind: 'Node', metadata: { name } });
    }
  }

  /** Every node gets pods, step by step, and the operator keeps up until each has an address. */
  async fill(pods: number, step: number): Promise<Phase> {
    const phase = { rounds: 0, milliseconds: 0, longest: 0 };
    for (let now = 0; now < pods; ) {
      now = Math.min(pods, now + step);
      await this.#settle(this.#names, now, phase);
    }
    return phase;
  }

  /** So many nodes at a time lose their pods and get them back. */
  async restart(batch: number, pods: number): Promise<Phase> {
    const phase = { rounds: 0, milliseconds: 0, longest: 0 };
    for (let first = 0; first < this.#names.length; first += batch) {
      const names = this.#names.slice(first, first + batch);
      for (const count of [0, pods]) await this.#settle(names, count, phase);
    }
    return phase;
  }

  async blocks(): Promise<number> {
    const { items } = await this.#store.list('NodeNetwork');
    return items.flatMap(({ spec }) => spec.segments ?? []).length;
  }

  /** Nodes say what they use, and what they lack, until none lacks anything and nothing is written any more. */
  async #settle(names: readonly string[], pods: number, phase: Phase): Promise<void> {
    for (let quiet = false; !quiet; ) {
      for (const name of names) await this.#tell(name, pods);
      this.#now += 1_000;
      const began = performance.now();
      const { written, failed, conflicted } = await this.#operator.round(() => true);
      const took = performance.now() - began;
      phase.rounds++;
      phase.milliseconds += took;
      phase.longest = Math.max(phase.longest, took);
      if (failed + conflicted > 0) throw new Error(`${failed} writes failed, ${conflicted} conflicted`);
      quiet = written === 0;
    }
  }

  async #tell(name: string, pods: number): Promise<void> {
    const network = await this.#network(name);
    if (network === undefined) return;
    let left = pods;
    const segments = (network.spec.segments ?? []).map(({ cidr, state, generation = 1 }) => {
      const used = state === 'active' ? Math.min(left, BLOCK) : 0;
      left -= used;
      return { cidr, generation, used, drained: state === 'releasing', pinned: false };
    });
    const requests = left > 0 ? [{ family: 4, addresses: left }] : [];
    await this.#store.updateStatus({ ...network, status: { ...network.status, segments, requests } });
  }

  async #network(name: string): Promise<NodeNetwork | undefined> {
    return this.#store.get('NodeNetwork', { name }).catch(() => undefined);
  }
}
