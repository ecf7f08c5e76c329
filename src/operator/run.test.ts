import assert from 'node:assert/strict';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { silentLog } from '../log.ts';
import { openDirectoryStore } from '../store/directory/directory.ts';
import type { NodeNetwork } from '../store/kinds/nodeNetwork.ts';
import type { Store } from '../store/store.ts';
import { runOperator } from './run.ts';

async function withOperators(count: number, body: (store: Store) => Promise<void>): Promise<void> {
  const directory = mkdtempSync(join(tmpdir(), 'tombolo-operator-'));
  const stop = new AbortController();
  const stores = Array.from({ length: count + 1 }, () => openDirectoryStore(directory));
  const [mine, ...theirs] = stores;
  assert.ok(mine);
  const running = theirs.map((store) =>
    runOperator({ store, log: silentLog, leaseDuration: 900, interval: 100 }, stop.signal),
  );
  try {
    await body(mine);
  } finally {
    stop.abort();
    await Promise.all(running);
    await Promise.all(stores.map((store) => store.close()));
    rmSync(directory, { recursive: true });
  }
}

async function until<T>(what: string, look: () => Promise<T | undefined>): Promise<T> {
  for (const end = performance.now() + 10_000; performance.now() < end; await sleep(20)) {
    const found = await look();
    if (found !== undefined) return found;
  }
  throw new Error(`${what} did not come about within ten seconds`);
}

function activeOf(network: NodeNetwork): string[] {
  return (network.spec.segments ?? []).flatMap(({ cidr, state }) => (state === 'active' ? [cidr] : []));
}

async function createPool(store: Store): Promise<void> {
  await store.create({
    apiVersion: 'network.tombolo.dev/v1alpha1',
    kind: 'IPPool',
    metadata: { name: 'default' },
    spec: { cidr: '10.0.0.0/24', blockSize: 28 },
  });
}

async function createNode(store: Store, name: string): Promise<void> {
  await store.create({ apiVersion: 'v1', kind: 'Node', metadata: { name } });
}

function segmentsOf(store: Store, name: string): Promise<string[] | undefined> {
  return store.get('NodeNetwork', { name }).then(
    (network) => (activeOf(network).length > 0 ? activeOf(network) : undefined),
    () => undefined,
  );
}

test('nodes that join get segments of their own, with two operators running', () =>
  withOperators(2, async (store) => {
    await createPool(store);
    await Promise.all(['a', 'b', 'c'].map((name) => createNode(store, name)));
    const held = await Promise.all(
      ['a', 'b', 'c'].map((name) => until(`a segment for ${name}`, () => segmentsOf(store, name))),
    );
    assert.equal(new Set(held.flat()).size, 3);
  }));

test('a node that ran dry has a second segment within a second', () =>
  withOperators(1, async (store) => {
    await createPool(store);
    await createNode(store, 'a');
    await until('the first segment', () => segmentsOf(store, 'a'));
    const network = await store.get('NodeNetwork', { name: 'a' });
    const [first] = network.spec.segments ?? [];
    assert.ok(first?.generation);
    const began = performance.now();
    await store.updateStatus({
      ...network,
      status: {
        segments: [{ cidr: first.cidr, generation: first.generation, used: 16 }],
        requests: [{ family: 4, addresses: 1 }],
      },
    });
    await until('the second segment', async () => {
      const segments = await segmentsOf(store, 'a');
      return segments?.length === 2 ? segments : undefined;
    });
    assert.ok(performance.now() - began < 1000);
  }));

test('a pool that is changed by hand under its blocks keeps its meaning, and says so until that is over', () =>
  withOperators(1, async (store) => {
    await createPool(store);
    await createNode(store, 'a');
    await until('the first segment', () => segmentsOf(store, 'a'));
    const accepted = (status: string) =>
      until(`Accepted ${status}`, async () => {
        const pool = await store.get('IPPool', { name: 'default' });
        return pool.status?.conditions?.some((one) => one.type === 'Accepted' && one.status === status)
          ? pool
          : undefined;
      });
    const pool = await accepted('True');
    // Whoever writes a file by hand leaves out the status.
    const { status: _, ...written } = pool;
    await store.update({ ...written, spec: { cidr: '10.0.0.128/25', blockSize: 27 } });
    const refused = await accepted('False');
    assert.deepEqual(refused.status?.inForce, { cidr: '10.0.0.0/24', blockSize: 28 });
    assert.match(
      refused.status?.conditions?.[0]?.message ?? '',
      /cannot become 27: 1 node \(a\).* Instead: make/,
    );
    await createNode(store, 'b');
    assert.deepEqual(await until('a segment of the old mask', () => segmentsOf(store, 'b')), [
      '10.0.0.16/28',
    ]);
    const events = (await store.list('Event')).items;
    assert.ok(
      events.some(
        ({ reason, involvedObject }) => reason === 'PoolChangeRefused' && involvedObject.name === 'default',
      ),
    );
    await until('the way back', async () => {
      const current = await store.get('IPPool', { name: 'default' });
      return store.update({ ...current, spec: pool.spec }).catch(() => undefined);
    });
    await accepted('True');
  }));

test('a pool that is deleted by hand gives out nothing more, and its blocks stay with who uses them', () =>
  withOperators(1, async (store) => {
    await createPool(store);
    await createNode(store, 'a');
    await until('the first segment', () => segmentsOf(store, 'a'));
    await store.delete('IPPool', { name: 'default' });
    await until('the event', async () => {
      const { items } = await store.list('Event');
      return items.find(({ message }) =>
        message?.includes('it was deleted, and 1 node (a) hold 1 block of it'),
      );
    });
    await createNode(store, 'b');
    await sleep(500);
    assert.deepEqual(await segmentsOf(store, 'a'), ['10.0.0.0/28']);
    assert.equal(await segmentsOf(store, 'b'), undefined);
  }));
