import assert from 'node:assert/strict';
import { test } from 'node:test';
import { silentLog } from '../log.ts';
import type { Kind, ObjectOf } from '../store/kinds/registry.ts';
import { MemoryStore } from '../store/memory.rig.ts';
import { StoreError } from '../store/store.ts';
import { Operator } from './operator.ts';

/** A store that fails where it is told to. */
class FailingStore extends MemoryStore {
  failing: Kind | undefined;
  /** Creations of this name are carried out, or not, and their answers get lost. */
  lost: { name: string; committed: boolean } | undefined;
  unreadable: string[] = [];

  override async list<K extends Kind>(kind: K) {
    if (kind === this.failing) throw new StoreError('Unavailable', `Cannot list ${kind}: connection reset`);
    return super.list(kind);
  }

  override async create<T extends ObjectOf<Kind>>(object: T): Promise<T> {
    if (object.metadata.name !== this.lost?.name) return super.create(object);
    if (this.lost.committed) await super.create(object);
    throw new StoreError('Unavailable', 'Cannot create: connection reset');
  }

  override problems(kind?: Kind): string[] {
    return kind === 'NodeNetwork' ? this.unreadable : [];
  }
}

async function clusterOf(...nodes: string[]): Promise<FailingStore> {
  const store = new FailingStore();
  await store.create({
    apiVersion: 'network.tombolo.dev/v1alpha1',
    kind: 'IPPool',
    metadata: { name: 'default' },
    spec: { cidr: '10.0.0.0/24', blockSize: 28 },
  });
  for (const name of nodes) await store.create({ apiVersion: 'v1', kind: 'Node', metadata: { name } });
  return store;
}

async function held(store: MemoryStore): Promise<string[]> {
  const { items } = await store.list('NodeNetwork');
  return items.flatMap(({ metadata, spec }) =>
    (spec.segments ?? []).map(({ cidr, state }) => `${metadata.name} ${cidr} ${state}`),
  );
}

const always = () => true;

test('a new leader plans when it has read everything, and not before', async () => {
  for (const kind of ['IPPool', 'Node', 'NodeNetwork', 'IPAMConfiguration', 'IPClaim'] as const) {
    const store = await clusterOf('a');
    const operator = new Operator({ store, now: Date.now, log: silentLog });
    store.failing = kind;
    await assert.rejects(operator.round(always), /connection reset/);
    store.failing = undefined;
    assert.deepEqual(await held(store), []);
    await operator.round(always);
    assert.deepEqual(await held(store), ['a 10.0.0.0/28 claimed']);
  }
});

test('a NodeNetwork that is deleted stays until its segments are free, whatever becomes of the Node', async () => {
  const store = await clusterOf('a');
  let now = 1_000_000;
  const operator = new Operator({ store, now: () => now, log: silentLog });
  const rounds = async (count: number) => {
    for (let left = count; left > 0; left--) await operator.round(always);
  };
  await rounds(2);
  assert.deepEqual(await held(store), ['a 10.0.0.0/28 active']);
  await store.delete('NodeNetwork', { name: 'a' });
  await store.delete('Node', { name: 'a' });
  await store.create({ apiVersion: 'v1', kind: 'Node', metadata: { name: 'b' } });
  await rounds(3);
  assert.deepEqual(await held(store), ['a 10.0.0.0/28 cooling', 'b 10.0.0.16/28 active']);
  now += 60_000;
  await rounds(1);
  assert.deepEqual(
    (await store.list('NodeNetwork')).items.map(({ metadata }) => metadata.name),
    ['b'],
  );
});

test('segments that somebody wrote by hand are protected, too, and an object without any is not', async () => {
  const store = await clusterOf('a');
  const { apiVersion, kind } = { apiVersion: 'network.tombolo.dev/v1alpha1', kind: 'NodeNetwork' } as const;
  const spec = { segments: [{ cidr: '10.1.0.0/24' }] };
  await store.create({ apiVersion, kind, metadata: { name: 'a', finalizers: ['other'] }, spec });
  const pool = await store.get('IPPool', { name: 'default' });
  await store.update({ ...pool, spec: { ...pool.spec, disabled: true } });
  const operator = new Operator({ store, now: Date.now, log: silentLog });
  const finalizers = async () => (await store.get('NodeNetwork', { name: 'a' })).metadata.finalizers;
  await operator.round(always);
  assert.deepEqual(await finalizers(), ['other', 'network.tombolo.dev/segment-protection']);
  await store.update({ ...(await store.get('NodeNetwork', { name: 'a' })), spec: {} });
  await operator.round(always);
  assert.deepEqual(await finalizers(), ['other']);
});

test('while one NodeNetwork cannot be read no block is given to anybody', async () => {
  const store = await clusterOf('a');
  const operator = new Operator({ store, now: Date.now, log: silentLog });
  store.unreadable = ['Cannot accept NodeNetwork/b.yaml: spec.segments[0].cidr'];
  const { shortages } = await operator.round(always);
  assert.match(
    shortages[0]?.reason ?? '',
    /nobody knows which blocks are free: Cannot accept NodeNetwork\/b/,
  );
  assert.deepEqual(await held(store), []);
  store.unreadable = [];
  await operator.round(always);
  assert.deepEqual(await held(store), ['a 10.0.0.0/28 claimed']);
});

test("the range of a write whose answer got lost is nobody else's until it has been read again", async () => {
  for (const committed of [true, false]) {
    const store = await clusterOf('a');
    const operator = new Operator({ store, now: Date.now, log: silentLog });
    store.lost = { name: 'a', committed };
    assert.equal((await operator.round(always)).failed, 1);
    store.lost = undefined;
    await store.create({ apiVersion: 'v1', kind: 'Node', metadata: { name: '0' } });
    await operator.round(always);
    const [late = ''] = (await held(store)).filter((line) => line.startsWith('0'));
    assert.match(late, /10\.0\.0\.(16|32)\/28 claimed/, `committed: ${committed}`);
  }
});

test('who no longer leads writes nothing more of the plan', async () => {
  const store = await clusterOf('a', 'b', 'c');
  const operator = new Operator({ store, now: Date.now, log: silentLog });
  let writes = 0;
  await operator.round(() => writes++ < 2);
  assert.equal((await held(store)).length, 2);
});
