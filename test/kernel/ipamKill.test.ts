// Two agents and two operators, as they are built, over one directory store, and SIGKILL at any moment.
import assert from 'node:assert/strict';
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { after, test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { eventually } from '../../src/eventually.rig.ts';
import { AgentRig } from './agentRig.ts';
import { type TestNamespace, TestNamespaces } from './namespaces.ts';
import { TestOperator } from './operatorRig.ts';

/** `TOMBOLO_KILL_SEED` repeats a run as far as the machine allows; `TOMBOLO_KILL_STEPS` makes it longer. */
const SEED = Number(process.env.TOMBOLO_KILL_SEED ?? Date.now() % 100_000);
const STEPS = Number(process.env.TOMBOLO_KILL_STEPS ?? 30);

const POOL = {
  apiVersion: 'network.tombolo.dev/v1alpha1',
  kind: 'IPPool',
  metadata: { name: 'default' },
  spec: { cidr: '10.81.0.0/26', blockSize: 30, cooldownSeconds: 1, expansion: { low: 1, high: 3 } },
};

const namespaces = new TestNamespaces('ipamkill');
const store = mkdtempSync('/run/tbipamkill-');
mkdirSync(join(store, 'IPPool'));
writeFileSync(join(store, 'IPPool/default.yaml'), JSON.stringify(POOL));

/** A node, and its containers as its runtime knows them. */
class KillNode {
  readonly name: string;
  readonly rig: AgentRig;
  /** By container: the address that its ADD was answered with. */
  readonly live = new Map<string, string>();
  readonly #pods = new Map<string, TestNamespace>();
  /** Containers whose DEL has not been answered. */
  readonly #dead = new Set<string>();
  #count = 0;

  constructor(name: string) {
    this.name = name;
    this.rig = new AgentRig(namespaces, name, { segments: [], store: `directory:${store}` });
  }

  async add(): Promise<void> {
    const id = `${this.name}-${++this.#count}`;
    const pod = namespaces.create(id);
    this.#pods.set(id, pod);
    try {
      const { status, body } = await this.rig.verb('ADD', id, pod.path);
      if (status !== 200) throw new Error(body);
      this.live.set(id, JSON.parse(body).ips[0].address);
    } catch {
      this.#dead.add(id);
    }
  }

  /** The oldest container ends; what could not be taken down before is tried again. */
  async remove(): Promise<void> {
    const [oldest] = this.live.keys();
    if (oldest !== undefined) {
      this.live.delete(oldest);
      this.#dead.add(oldest);
    }
    await Promise.all([...this.#dead].map((id) => this.#bury(id)));
  }

  /** @returns Whether every dead container has been taken down. */
  async buried(): Promise<boolean> {
    await this.remove();
    return this.#dead.size === 0 && this.live.size === 0;
  }

  async #bury(id: string): Promise<void> {
    const pod = this.#pods.get(id);
    if (!pod) return;
    const reply = await this.rig.verb('DEL', id, pod.path).catch(() => undefined);
    if (reply?.status !== 200 || !this.#dead.delete(id)) return;
    this.#pods.delete(id);
    pod.remove();
  }
}

const nodes = [new KillNode('ka'), new KillNode('kb')];
const operators: TestOperator[] = [];

/** mulberry32: small, and the same everywhere. */
function randomFrom(seed: number): () => number {
  let state = seed;
  return () => {
    state = (state + 0x6d2b79f5) | 0;
    let mixed = Math.imul(state ^ (state >>> 15), 1 | state);
    mixed = (mixed + Math.imul(mixed ^ (mixed >>> 7), 61 | mixed)) ^ mixed;
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32;
  };
}

async function startOperator(index: number): Promise<void> {
  operators[index] = await TestOperator.start(store, '--lease-duration', '1', '--shrink-after', '1');
}

function expectNoDuplicates(): void {
  const owners = new Map<string, string>();
  for (const { live } of nodes) {
    for (const [id, address] of live) {
      assert.equal(owners.get(address), undefined, `${address} is ${id}'s and somebody else's`);
      owners.set(address, id);
    }
  }
}

after(async () => {
  for (const operator of operators) await operator.end('SIGKILL');
  for (const { rig } of nodes) await rig.remove();
  namespaces.close();
  rmSync(store, { recursive: true });
});

test(`no address is given out twice, and none is lost, whoever is killed (seed ${SEED})`, async () => {
  const random = randomFrom(SEED);
  const pick = (count: number) => Math.floor(random() * count);
  await Promise.all([startOperator(0), startOperator(1), ...nodes.map(({ rig }) => rig.start())]);
  let [kills, answered] = [0, 0];
  for (let step = 0; step < STEPS; step++) {
    const node = nodes[pick(2)] ?? nodes[0];
    assert.ok(node);
    const before = node.live.size;
    const adding = random() < (before > 8 ? 0.3 : 0.7);
    const work = Array.from({ length: 1 + pick(3) }, () => (adding ? node.add() : node.remove()));
    const fate = random();
    if (fate < 0.4) {
      await sleep(pick(30));
      await node.rig.end('SIGKILL');
      await Promise.all(work);
      await node.rig.start();
      kills++;
    } else if (fate < 0.55) {
      const which = pick(2);
      await operators[which]?.end('SIGKILL');
      await Promise.all(work);
      await startOperator(which);
      kills++;
    } else await Promise.all(work);
    answered += Math.max(0, node.live.size - before);
    expectNoDuplicates();
  }
  assert.ok(kills > STEPS / 4 && answered > STEPS / 4, `${kills} kills, ${answered} pods`);

  for (const { rig } of nodes) {
    await eventually(async () => {
      const { stdout } = await rig.cli(['ipam', 'check', '-o', 'json']);
      assert.deepEqual(JSON.parse(stdout), []);
    }, 20_000);
  }
  for (const node of nodes) await eventually(async () => assert.ok(await node.buried()), 20_000);
  await eventually(async () => {
    const { stdout } = await (nodes[0] as KillNode).rig.cli(['get', 'nodenetwork', '-o', 'json']);
    const items: { spec: { segments?: { state: string }[] } }[] = JSON.parse(stdout).items;
    const states = items.flatMap(({ spec }) => (spec.segments ?? []).map(({ state }) => state));
    assert.deepEqual(states, ['active', 'active'], 'what was grown has been given back');
  }, 60_000);
  for (const { rig } of nodes) {
    const { stdout } = await rig.cli(['ipam', 'check', '-o', 'json']);
    assert.deepEqual(JSON.parse(stdout), []);
  }
});
