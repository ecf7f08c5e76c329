import assert from 'node:assert/strict';
import { formatIP } from '../../address/ip.ts';
import { formatPrefix } from '../../address/prefix.ts';
import type { ReleasePolicy } from '../../ipam/claim.ts';
import type { IPPool } from '../../store/kinds/ipPool.ts';
import type { NodeNetwork } from '../../store/kinds/nodeNetwork.ts';
import type { ObjectOf } from '../../store/kinds/registry.ts';
import { MemoryStore } from '../../store/memory.rig.ts';
import { isStoreError } from '../../store/store.ts';
import type { NamedPod } from './claimedPods.rig.ts';
import type { Fault } from './gatedStore.rig.ts';
import { expectBlocks, expectOneOwner } from './invariants.rig.ts';
import { Machine } from './machine.rig.ts';
import { OperatorProcess } from './operatorProcess.rig.ts';
import { POOL } from './pool.rig.ts';
import { drain, VirtualClock } from './virtualClock.rig.ts';

const NAMESPACE = 'shop';
const SET = 'db';

/** An agent of this long silence would be a dead one; see {@link Cluster.wait}. */
const ATTENTION_MS = 10_000;

/** A cluster whose every part is the real one, and whose time, store, disks and processes do as they are told. */
export class Cluster {
  readonly clock = new VirtualClock();
  readonly store = new MemoryStore();
  readonly machines: ReadonlyMap<string, Machine>;
  readonly operators: readonly [OperatorProcess, OperatorProcess];
  /** Where pods that have names are to run. */
  readonly #scheduled = new Map<string, { readonly node: string; readonly pod: NamedPod }>();
  /** How many ADDs were answered, by how they came by their addresses. */
  readonly answered = new Map<string, number>();
  #attended = 0;
  #containers = 0;

  constructor(names: readonly string[]) {
    const { store, clock } = this;
    this.machines = new Map(names.map((name) => [name, this.#newMachine(name)]));
    this.operators = [new OperatorProcess(store, clock), new OperatorProcess(store, clock)];
  }

  #newMachine(name: string): Machine {
    const { store, clock } = this;
    const containerID = () => `${name}${++this.#containers}`;
    const answered = (how: string) => void this.answered.set(how, (this.answered.get(how) ?? 0) + 1);
    return new Machine(name, { store, clock, containerID, answered });
  }

  async start(): Promise<void> {
    await this.store.create(POOL);
    await this.scale(2);
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
    (this.machines as Map<string, Machine>).set(name, this.#newMachine(name));
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

  /** So many pods `db-0`, `db-1` … are wanted. */
  async scale(replicas: number): Promise<void> {
    const metadata = { namespace: NAMESPACE, name: SET };
    const set = { apiVersion: 'apps/v1', kind: 'StatefulSet', metadata, spec: { replicas } } as const;
    await unless('AlreadyExists', this.store.create(set));
    const stored = await this.store.get('StatefulSet', metadata);
    await this.store.update({ ...stored, spec: { replicas } });
  }

  /** A pod comes to a node, whatever its predecessor does: somebody may have deleted that by force. */
  async schedule(name: string, node: string, policy: ReleasePolicy, ttlSeconds?: number): Promise<void> {
    const metadata = { namespace: NAMESPACE, name };
    await this.unschedule(name);
    const created = await this.store.create<ObjectOf<'Pod'>>({ apiVersion: 'v1', kind: 'Pod', metadata });
    const { uid = '' } = created.metadata;
    const set = await this.store.get('StatefulSet', { namespace: NAMESPACE, name: SET });
    const controller = { kind: 'StatefulSet', name: SET, uid: set.metadata.uid };
    const owner = policy === 'Pod' ? { kind: 'Pod', name, uid } : controller;
    const pod = { ...metadata, uid, wish: { policy, owner, ttlSeconds } };
    this.#scheduled.set(name, { node, pod });
    await this.machine(node).schedule(pod);
  }

  /** Pods come to a node until it has to borrow for the last one; every agent deals with that. */
  async borrow(node: string, count: number, fault: Fault, order: number): Promise<void> {
    const borrower = this.machine(node);
    for (let n = 0; n < count; n++) await borrower.borrow();
    for (let turn = 0; turn < 4; turn++) {
      const lenders = [...this.machines.values()].filter((machine) => machine !== borrower);
      await borrower.deal(20, 6, turn === 1 ? fault : 'none', order);
      for (const lender of lenders) await lender.deal(20, 6, turn === 2 ? fault : 'none', order);
    }
  }

  /** A pod ends, if gently, and another one of its name comes up on a node; every agent deals with that. */
  async move(
    name: string,
    to: string,
    { policy, gently, fault, order }: { policy: ReleasePolicy; gently: boolean; fault: Fault; order: number },
  ): Promise<void> {
    const machines = [...this.machines.values()];
    if (gently) for (const machine of machines) await machine.endUnwanted((pod) => pod.name !== name);
    for (const machine of machines) {
      await machine.bury();
      machine.announce();
      await machine.deal(20, 12, fault, order);
    }
    await this.schedule(name, to, policy);
    for (const machine of [this.machine(to), ...machines, this.machine(to)])
      await machine.deal(20, 8, fault, order);
  }

  async unschedule(name: string): Promise<void> {
    this.#scheduled.delete(name);
    await unless('NotFound', this.store.delete('Pod', { namespace: NAMESPACE, name }));
  }

  /** Somebody deletes a claim. */
  async disclaim(name: string): Promise<void> {
    await unless('NotFound', this.store.delete('IPClaim', { namespace: NAMESPACE, name }));
  }

  /** What the claims that are left are kept for. */
  async claims(): Promise<string[]> {
    const { items } = await this.store.list('IPClaim');
    return items.map(({ metadata, spec }) => `${metadata.name} ${spec.releasePolicy}`);
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
      await machine.deal(Number.POSITIVE_INFINITY, 40);
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
    const networks = (await this.store.list('NodeNetwork')).items;
    const claims = (await this.store.list('IPClaim')).items;
    for (const machine of this.machines.values()) machine.check();
    expectOneOwner([...this.machines.values()], networks, claims);
    expectBlocks(networks);
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
        await machine.endUnwanted(({ name, uid }) => {
          const wanted = this.#scheduled.get(name);
          return wanted?.node === machine.name && wanted.pod.uid === uid;
        });
        await machine.bury();
        await machine.settle();
        await machine.tell('none');
        machine.announce();
        await machine.deal(Number.POSITIVE_INFINITY, 40);
      }
      for (const { node, pod } of this.#scheduled.values()) {
        const machine = this.machine(node);
        if (!machine.runs(pod.name)) await machine.schedule(pod);
      }
      await this.wait(1_000);
      await this.check();
    }
  }

  /** Every pod that is wanted runs, and packets that are sent to the block of its address get to it. */
  async expectReached(): Promise<void> {
    for (const { node, pod } of this.#scheduled.values()) {
      const machine = this.machine(node);
      assert.equal(machine.runs(pod.name), true, `${pod.name} runs on ${node}`);
      for (const address of machine.addressesOf(pod.name)) {
        const owner = [...this.machines.values()].find(({ ipam }) => ipam?.owns(address));
        if (!owner || owner === machine) continue;
        const way = owner.passages.find((passage) => passage.address === address);
        assert.equal(way?.node, node, `the way of ${formatIP(address)} from ${owner.name}`);
      }
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
