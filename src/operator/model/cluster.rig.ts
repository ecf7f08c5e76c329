import assert from 'node:assert/strict';
import { formatIP, type IP } from '../../address/ip.ts';
import { contains, formatPrefix, overlaps, type Prefix, parsePrefix } from '../../address/prefix.ts';
import { silentLog } from '../../log.ts';
import type { IPPool } from '../../store/kinds/ipPool.ts';
import type { NodeNetwork } from '../../store/kinds/nodeNetwork.ts';
import { MemoryStore } from '../../store/memory.rig.ts';
import { isStoreError } from '../../store/store.ts';
import { FreeBlocks } from '../blocks.ts';
import { runOperator } from '../run.ts';
import { type Fault, GatedStore } from './gatedStore.rig.ts';
import { Machine } from './machine.rig.ts';
import { drain, VirtualClock } from './virtualClock.rig.ts';

const POOL: IPPool = {
  apiVersion: 'network.tombolo.dev/v1alpha1',
  kind: 'IPPool',
  metadata: { name: 'default' },
  spec: {
    cidr: '10.0.0.0/26',
    blockSize: 30,
    reserved: ['10.0.0.8/31'],
    cooldownSeconds: 30,
    expansion: { low: 1, high: 3 },
  },
};
const CIDR = parsePrefix(POOL.spec.cidr);
const RESERVED = parsePrefix('10.0.0.8/31');

const LEASE_MS = 3_000;
/** An agent of this long silence would be a dead one; see {@link Cluster.wait}. */
const ATTENTION_MS = 10_000;

/** The operator's process, with everything it does held up at the store's door. */
class OperatorProcess {
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

/** A cluster whose every part is the real one, and whose time, store, disks and processes do as they are told. */
export class Cluster {
  readonly clock = new VirtualClock();
  readonly store = new MemoryStore();
  readonly machines: ReadonlyMap<string, Machine>;
  readonly operators: readonly [OperatorProcess, OperatorProcess];
  #attended = 0;

  constructor(names: readonly string[]) {
    const { store, clock } = this;
    this.machines = new Map(names.map((name) => [name, new Machine(name, store, clock)]));
    this.operators = [new OperatorProcess(store, clock), new OperatorProcess(store, clock)];
  }

  async start(): Promise<void> {
    await this.store.create(POOL);
    for (const operator of this.operators) await operator.start();
  }

  stop(): void {
    for (const operator of this.operators) operator.kill();
    for (const machine of this.machines.values()) machine.kill();
  }

  machine(name: string): Machine {
    const machine = this.machines.get(name);
    assert.ok(machine);
    return machine;
  }

  /** Lets calls of an operator through, the first one with a fault; where it makes none, a moment passes. */
  async operate(which: 0 | 1, calls: number, fault: Fault, order: number): Promise<void> {
    const { gate } = this.operators[which];
    for (let n = 0; n < calls; n++) {
      if (gate.waiting === 0) await this.wait(60);
      else await gate.pass(order * n, n === 0 ? fault : 'none');
    }
  }

  /** A node says what it has, the operator answers, and the node takes note of that. */
  async serve(name: string, which: 0 | 1, fault: Fault): Promise<void> {
    const machine = this.machine(name);
    await machine.tell(fault);
    await this.operate(which, 24, fault, 0);
    await machine.hear(Number.POSITIVE_INFINITY);
  }

  async join(name: string): Promise<void> {
    await unless('AlreadyExists', this.store.create({ apiVersion: 'v1', kind: 'Node', metadata: { name } }));
    await this.machine(name).start();
  }

  /** The machine burns down, and the `Node` goes; one of the same name may come with an empty disk. */
  async burn(name: string): Promise<void> {
    const machine = this.machine(name);
    machine.kill();
    machine.endAll();
    (this.machines as Map<string, Machine>).set(name, new Machine(name, this.store, this.clock));
    await this.forget(name);
  }

  /** The machine is switched off, and the `Node` goes; it comes back as it was. */
  async switchOff(name: string): Promise<void> {
    this.machine(name).reboot('all');
    await this.forget(name);
  }

  /** Somebody deletes the `Node` of a machine that runs on. */
  async forget(name: string): Promise<void> {
    await unless('NotFound', this.store.delete('Node', { name }));
  }

  /** Somebody deletes the object that says which segments a node has; its agent lives, hears of that, and says what it uses. */
  async lose(name: string): Promise<void> {
    const machine = this.machine(name);
    if (!machine.ipam) return;
    machine.disk.mend();
    await machine.settle();
    await unless('NotFound', this.store.delete('NodeNetwork', { name }));
    await drain();
    await machine.hear(Number.POSITIVE_INFINITY);
    for (let attempt = 0; attempt < 3; attempt++) await machine.tell('none');
  }

  async change(spec: Partial<IPPool['spec']> | 'deleted'): Promise<void> {
    const { name } = POOL.metadata;
    if (spec === 'deleted') return unless('NotFound', this.store.delete('IPPool', { name }));
    await unless('AlreadyExists', this.store.create(POOL));
    const pool = await this.store.get('IPPool', { name });
    await this.store.update({ ...pool, spec: { ...POOL.spec, ...spec } });
  }

  /** A machine without a `Node` has the cool-down of its segments to object: what never speaks counts as dead. */
  async wait(ms: number): Promise<void> {
    for (let left = ms; left > 0; left -= ATTENTION_MS) {
      if (this.clock.monotonic() - this.#attended >= ATTENTION_MS) await this.#attend();
      await this.clock.advance(Math.min(left, ATTENTION_MS));
    }
  }

  async #attend(): Promise<void> {
    this.#attended = this.clock.monotonic();
    const nodes = (await this.store.list('Node')).items.map(({ metadata }) => metadata.name);
    for (const machine of this.machines.values()) {
      if (nodes.includes(machine.name)) continue;
      if (!machine.ipam && machine.pods.size > 0) await machine.start();
      await machine.settle();
      await machine.hear(Number.POSITIVE_INFINITY);
      for (let attempt = 0; machine.pods.size > 0 && (await this.#unheard(machine)); attempt++) {
        assert.ok(attempt < 5, `${machine.name} cannot say what it has`);
        await machine.tell('none');
      }
    }
  }

  async #unheard(machine: Machine): Promise<boolean> {
    const network = await this.#network(machine.name);
    const usage = machine.ipam?.usage() ?? [];
    return usage.some(
      ({ segment, used }) =>
        used > 0 &&
        !network?.status?.segments?.some(
          (report) =>
            report.cidr === formatPrefix(segment.prefix) &&
            report.generation === segment.generation &&
            (report.used ?? 0) > 0,
        ),
    );
  }

  async #network(name: string): Promise<NodeNetwork | undefined> {
    const { items } = await this.store.list('NodeNetwork');
    return items.find(({ metadata }) => metadata.name === name);
  }

  /** What must hold at any moment. */
  async check(): Promise<void> {
    const { items } = await this.store.list('NodeNetwork');
    const networks = new Map(items.map((network) => [network.metadata.name, network]));
    const owners = new Map<IP, string>();
    for (const [name, machine] of this.machines) {
      machine.check();
      for (const [id, addresses] of machine.pods) {
        for (const address of addresses) {
          assert.equal(owners.get(address), undefined, `${formatIP(address)} has two owners, one is ${id}`);
          owners.set(address, id);
          this.#expectHome(name, address, networks.get(name));
        }
      }
    }
    this.#expectSum(items);
  }

  #expectHome(name: string, address: IP, network: NodeNetwork | undefined): void {
    const segments = network?.spec.segments ?? [];
    const home = segments.find(({ cidr }) => contains(parsePrefix(cidr), address));
    const reported = network?.status?.segments?.find(
      ({ cidr, used = 0 }) => used > 0 && contains(parsePrefix(cidr), address),
    );
    const state = home?.state ?? (reported ? 'active' : 'no segment');
    const allowed = ['active', 'releasing', 'cooling'];
    assert.ok(allowed.includes(state), `${formatIP(address)} of a pod of ${name} lies in ${state}`);
    assert.ok(!home || !overlaps(parsePrefix(home.cidr), RESERVED), `${formatIP(address)} is reserved`);
  }

  /** Claims aside, each block is held once, free, or reserved. */
  #expectSum(networks: readonly NodeNetwork[]): void {
    const held = networks.flatMap(({ spec }) =>
      (spec.segments ?? []).flatMap(({ cidr, state }) => (state === 'claimed' ? [] : [parsePrefix(cidr)])),
    );
    const free = new FreeBlocks(CIDR, POOL.spec.blockSize ?? 0, [...held, RESERVED] satisfies Prefix[]);
    assert.equal(held.length + Number(free.count) + 1, 16, 'blocks held, free and reserved');
  }

  /** Everything works again, and has the time it needs. */
  async heal(seconds: number): Promise<void> {
    for (const machine of this.machines.values()) {
      machine.disk.mend();
      await machine.landLate();
    }
    for (const { gate } of this.operators) await gate.landLate();
    for (let second = 0; second < seconds; second++) {
      for (const operator of this.operators) {
        for (let n = 0; n < 40 && operator.gate.waiting > 0; n++) await operator.gate.pass(0, 'none');
      }
      for (const machine of this.machines.values()) {
        await machine.start();
        await machine.settle();
        await machine.hear(Number.POSITIVE_INFINITY);
        await machine.bury();
        await machine.settle();
        await machine.tell('none');
      }
      await this.wait(1_000);
      await this.check();
    }
  }

  /** The states of all segments, by node. */
  async segments(): Promise<{ node: string; state: string }[]> {
    const { items } = await this.store.list('NodeNetwork');
    return items.flatMap(({ metadata, spec }) =>
      (spec.segments ?? []).map(({ state = 'active' }) => ({ node: metadata.name, state })),
    );
  }
}

async function unless(reason: 'AlreadyExists' | 'NotFound', work: Promise<unknown>): Promise<void> {
  try {
    await work;
  } catch (error) {
    if (!isStoreError(error, reason)) throw error;
  }
}
