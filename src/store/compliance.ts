import assert from 'node:assert/strict';
import { test } from 'node:test';
import { type Change, follow } from './follow.ts';
import type { ObjectOf } from './kinds/registry.ts';
import { narrowed } from './selection.ts';
import { isStoreError, type Selection, type Store, type StoreReason } from './store.ts';

/** Two clients of one empty store, as two processes would have, and what tidies up after them. */
export interface Rig {
  readonly store: Store;
  readonly other: Store;
  dispose(): Promise<void>;
}

/** What every implementation of the store must do, as tests. */
export function storeCompliance(name: string, open: () => Promise<Rig>): void {
  const complies = (claim: string, run: (rig: Rig) => Promise<void>) =>
    test(`${name}: ${claim}`, async () => {
      const rig = await open();
      try {
        await run(rig);
      } finally {
        await rig.dispose();
      }
    });

  complies('what is created is got and listed by every client', async ({ store, other }) => {
    const created = await store.create(service('web'));
    assert.ok(created.metadata.uid);
    assert.ok(created.metadata.resourceVersion);
    const got = await other.get('Service', { namespace: 'default', name: 'web' });
    assert.deepEqual(got.spec, service('web').spec);
    assert.equal(got.metadata.uid, created.metadata.uid);
    assert.equal(got.metadata.resourceVersion, created.metadata.resourceVersion);
    assert.deepEqual(await names(other), ['web']);
  });

  complies('a list is of one namespace where one is asked for', async ({ store }) => {
    await store.create(service('a', 'blue'));
    await store.create(service('b', 'green'));
    const { items } = await store.list('Service', { namespace: 'green' });
    assert.deepEqual(
      items.map(({ metadata }) => metadata.name),
      ['b'],
    );
  });

  complies('a list is of the objects whose fields are as asked for', async ({ store, other }) => {
    for (const [name, node] of [
      ['a', 'node-1'],
      ['b', 'node-2'],
      ['c', undefined],
      ['d', 'node-1'],
      ['e', 'node-1'],
      ['f', 'node-1'],
    ] as const) {
      await store.create(pod(name, node));
    }
    await store.create(pod('g', 'node-1', 'green'));
    const listed = async (selection: Selection) => {
      const { items } = await other.list('Pod', selection);
      return items.map(({ metadata }) => metadata.name).join(' ');
    };
    assert.equal(await listed({ fields: { 'spec.nodeName': 'node-1' } }), 'a d e f g');
    assert.equal(await listed({ namespace: 'default', fields: { 'spec.nodeName': 'node-1' } }), 'a d e f');
    assert.equal(await listed({ fields: { 'spec.nodeName': '' } }), 'c');
    assert.equal(await listed({ fields: { 'metadata.name': 'b' } }), 'b');
    assert.equal(await listed({ fields: { 'metadata.name': 'b', 'spec.nodeName': 'node-1' } }), '');
  });

  complies('a field that the kind cannot be selected by is refused, with those that it can', async (rig) => {
    const { store } = rig;
    const fields = { 'spec.hostname': 'a' };
    await assert.rejects(
      store.list('Pod', { fields }),
      /Cannot select Pod: .*spec\.nodeName.*spec\.hostname/,
    );
    await refused('Invalid', store.list('Pod', { fields }));
    await assert.rejects(async () => {
      for await (const _ of store.watch('Pod', '1', AbortSignal.timeout(5_000), { fields })) return;
    }, /Cannot select Pod/);
  });

  complies('a name is taken once', async ({ store, other }) => {
    await store.create(service('web'));
    await refused('AlreadyExists', other.create(service('web', 'default', 81)));
    const { spec } = await store.get('Service', { namespace: 'default', name: 'web' });
    assert.equal(spec.ports?.[0]?.port, 80);
  });

  complies('what is not there is not found, not updated and not deleted', async ({ store }) => {
    const key = { namespace: 'default', name: 'none' };
    await refused('NotFound', store.get('Service', key));
    await refused('NotFound', store.delete('Service', key));
    const created = await store.create(service('none'));
    await store.delete('Service', key);
    await refused('NotFound', store.update(created));
  });

  complies(
    'an update changes the version, and a second one of the old version is a conflict',
    async (rig) => {
      const { store, other } = rig;
      const first = await store.create(service('web'));
      const second = await other.update(withPort(first, 8080));
      assert.notEqual(second.metadata.resourceVersion, first.metadata.resourceVersion);
      assert.equal(second.metadata.uid, first.metadata.uid);
      assert.ok((second.metadata.generation ?? 0) >= (first.metadata.generation ?? 0));
      await refused('Conflict', store.update(withPort(first, 9090)));
      const { spec } = await store.get('Service', { namespace: 'default', name: 'web' });
      assert.equal(spec.ports?.[0]?.port, 8080);
    },
  );

  complies('of updates from one version exactly one wins', async ({ store, other }) => {
    const first = await store.create(service('web'));
    const attempts = await Promise.allSettled(
      Array.from({ length: 16 }, (_, index) =>
        (index % 2 ? store : other).update(withPort(first, 1000 + index)),
      ),
    );
    const won = attempts.flatMap((attempt) => (attempt.status === 'fulfilled' ? [attempt.value] : []));
    assert.equal(won.length, 1);
    for (const attempt of attempts) {
      if (attempt.status === 'rejected') assert.ok(isStoreError(attempt.reason, 'Conflict'), attempt.reason);
    }
    const { spec } = await store.get('Service', { namespace: 'default', name: 'web' });
    assert.deepEqual(spec.ports, won[0]?.spec.ports);
  });

  complies('read, change, update, and again after a conflict, loses no change', async ({ store, other }) => {
    await store.create(service('counter', 'default', 1));
    const key = { namespace: 'default', name: 'counter' };
    const increment = async (client: Store): Promise<void> => {
      const read = await client.get('Service', key);
      try {
        await client.update(withPort(read, (read.spec.ports?.[0]?.port ?? 0) + 1));
      } catch (error) {
        if (!isStoreError(error, 'Conflict')) throw error;
        await increment(client);
      }
    };
    await Promise.all([store, other, store, other, store, other].map(increment));
    const { spec } = await store.get('Service', key);
    assert.equal(spec.ports?.[0]?.port, 7);
  });

  complies('a status is written without touching the rest', async ({ store, other }) => {
    const created = await store.create(nodeNetwork('node-1'));
    const status = { nodeIPs: ['192.0.2.1'], ready: true };
    const updated = await other.updateStatus({ ...created, spec: {}, status });
    assert.deepEqual(updated.status, status);
    assert.deepEqual(updated.spec, created.spec);
    await refused('Conflict', store.updateStatus({ ...created, status: {} }));
  });

  complies('an invalid object is refused, by field and value, and changes nothing', async ({ store }) => {
    const bad = service('web', 'default', 70_000);
    await assert.rejects(
      store.create(bad),
      /Service default\/web: spec\.ports\[0\]\.port: .*65535 \(value 70000\)/,
    );
    await refused('Invalid', store.create(bad));
    assert.deepEqual(await names(store), []);
  });

  complies('a deletion under a condition happens only while it holds', async ({ store, other }) => {
    const first = await store.create(service('web'));
    const key = { namespace: 'default', name: 'web' };
    const second = await other.update(withPort(first, 8080));
    const version = (object: ObjectOf<'Service'>) => ({
      resourceVersion: object.metadata.resourceVersion ?? '',
    });
    await refused('Conflict', store.delete('Service', key, version(first)));
    await refused('Conflict', store.delete('Service', key, { uid: 'another' }));
    await store.delete('Service', key, version(second));
    assert.deepEqual(await names(other), []);
  });

  complies('what a finalizer holds on to is marked, and goes with the last one', async ({ store, other }) => {
    const web = service('web');
    const protect: ObjectOf<'Service'> = {
      ...web,
      metadata: { ...web.metadata, finalizers: ['example.org/one', 'example.org/two'] },
    };
    await store.create<ObjectOf<'Service'>>(protect);
    const key = { namespace: 'default', name: 'web' };
    await store.delete('Service', key);
    await store.delete('Service', key);
    const left = await other.get('Service', key);
    assert.equal(typeof left.metadata.deletionTimestamp, 'string');
    const resourceVersion = left.metadata.resourceVersion ?? '';
    const one = await other.update({
      ...left,
      metadata: { ...protect.metadata, resourceVersion, finalizers: ['example.org/two'] },
    });
    assert.equal(one.metadata.deletionTimestamp, left.metadata.deletionTimestamp, 'there is no way back');
    await store.update({ ...one, metadata: { ...one.metadata, finalizers: [] } });
    assert.deepEqual(await names(other), []);
  });

  complies(
    'a watch tells what happened since the list, in order, whoever did it',
    async ({ store, other }) => {
      const first = await store.create(service('web'));
      const { resourceVersion } = await other.list('Service');
      const second = await store.update(withPort(first, 8080));
      await store.create(service('api'));
      await store.delete('Service', { namespace: 'default', name: 'web' });
      const seen: string[] = [];
      const stop = new AbortController();
      for await (const event of other.watch('Service', resourceVersion, within(stop))) {
        if (event.type === 'bookmark' || event.type === 'expired') continue;
        seen.push(`${event.type} ${event.object.metadata.name}`);
        if (event.type === 'modified') assert.deepEqual(event.object.spec, second.spec);
        if (settled(seen)) stop.abort();
      }
      assert.ok(settled(seen), seen.join(', '));
    },
  );

  complies('a watch of a selection tells who enters and who leaves it, and of nobody else', async (rig) => {
    const { store, other } = rig;
    await store.create(pod('moving', undefined));
    const selection = { fields: { 'spec.nodeName': 'node-1' } };
    const { items, resourceVersion } = await other.list('Pod', selection);
    assert.deepEqual(items, []);
    const stop = new AbortController();
    const seen: string[] = [];
    const watching = (async () => {
      for await (const event of other.watch('Pod', resourceVersion, within(stop), selection)) {
        if (event.type === 'bookmark' || event.type === 'expired') continue;
        const { metadata, spec, status } = event.object;
        seen.push([event.type, metadata.name, spec?.nodeName, status?.phase].join(' ').trim());
      }
    })();
    const key = { namespace: 'default', name: 'moving' };
    const step = async (nodeName: string, expected: number) => {
      const before = await store.get('Pod', key);
      await store.update({ ...before, spec: { ...before.spec, nodeName } });
      await store.create(pod(`other-${nodeName}-${expected}`, 'node-3'));
      // A client that looks only now and then would see two steps as one.
      await eventually(() => assert.equal(seen.length, expected));
    };
    await step('node-1', 1);
    await store.updateStatus({ ...(await store.get('Pod', key)), status: { phase: 'Running' } });
    await eventually(() => assert.equal(seen.length, 2));
    await step('node-2', 3);
    await step('node-1', 4);
    await store.delete('Pod', key);
    await eventually(() => assert.equal(seen.length, 5));
    stop.abort();
    await watching;
    assert.deepEqual(
      seen.map((line) => line.split(' ').slice(0, 2).join(' ')),
      ['added moving', 'modified moving', 'deleted moving', 'added moving', 'deleted moving'],
    );
    assert.equal(seen[1], 'modified moving node-1 Running');
  });

  complies('a follower of a selection knows the selected objects, and no others', async (rig) => {
    const { store, other } = rig;
    await store.create(pod('mine', 'node-1'));
    const known = new Set<string>();
    const stop = new AbortController();
    const own = narrowed(other, { fields: { 'spec.nodeName': 'node-1' } });
    const take = (change: Change<ObjectOf<'Pod'>>) => {
      if (change.type === 'interrupted') throw change.error;
      if (change.type === 'replaced') for (const { metadata } of change.objects) known.add(metadata.name);
      else if (change.type === 'applied') known.add(change.object.metadata.name);
      else known.delete(change.object.metadata.name);
    };
    const done = follow(own, 'Pod', take, stop.signal);
    await store.create(pod('theirs', 'node-2'));
    await store.create(pod('mine-too', 'node-1'));
    await eventually(() => assert.deepEqual([...known].sort(), ['mine', 'mine-too']));
    stop.abort();
    await done;
  });

  complies('a watch from a version nobody knows has expired', async ({ store }) => {
    await store.create(service('web'));
    const stop = new AbortController();
    for await (const event of store.watch('Service', '1', within(stop))) {
      if (event.type === 'expired') return;
    }
    assert.fail('the watch went on from a version that is not of this store');
  });

  complies('a follower ends with what is stored, however fast it changes', async ({ store, other }) => {
    const known = new Map<string, number | undefined>();
    const stop = new AbortController();
    const done = follow(other, 'Service', (change) => record(known, change), stop.signal);
    const expected = new Map<string, number | undefined>();
    for (let round = 0; round < 40; round++) {
      const name = `s${round % 5}`;
      const key = { namespace: 'default', name };
      const before = await store.get('Service', key).catch(() => undefined);
      if (!before) await store.create(service(name, 'default', 1000 + round));
      else if (round % 7 === 0) await store.delete('Service', key);
      else await store.update(withPort(before, 1000 + round));
      if (before && round % 7 === 0) expected.delete(name);
      else expected.set(name, 1000 + round);
    }
    await eventually(() => assert.deepEqual(sorted(known), sorted(expected)));
    stop.abort();
    await done;
  });
}

export function service(name: string, namespace = 'default', port = 80): ObjectOf<'Service'> {
  return {
    apiVersion: 'v1',
    kind: 'Service',
    metadata: { name, namespace },
    spec: { type: 'ClusterIP', clusterIP: '10.96.0.10', ports: [{ name: 'main', port }] },
  };
}

function pod(name: string, nodeName: string | undefined, namespace = 'default'): ObjectOf<'Pod'> {
  const spec = nodeName === undefined ? {} : { nodeName };
  return { apiVersion: 'v1', kind: 'Pod', metadata: { name, namespace }, spec };
}

function nodeNetwork(name: string): ObjectOf<'NodeNetwork'> {
  return {
    apiVersion: 'network.tombolo.dev/v1alpha1',
    kind: 'NodeNetwork',
    metadata: { name },
    spec: { segments: [{ cidr: '10.0.0.0/26', generation: 1 }] },
  };
}

export function withPort(object: ObjectOf<'Service'>, port: number): ObjectOf<'Service'> {
  return { ...object, spec: { ...object.spec, ports: [{ name: 'main', port }] } };
}

async function refused(reason: StoreReason, attempt: Promise<unknown>): Promise<void> {
  await assert.rejects(attempt, (error) => isStoreError(error, reason));
}

async function names(store: Store): Promise<string[]> {
  return (await store.list('Service')).items.map(({ metadata }) => metadata.name);
}

/** Steps between two looks may be seen as one, but the end is the same. */
function settled(seen: string[]): boolean {
  return seen.includes('added api') && seen.includes('deleted web');
}

function record(known: Map<string, number | undefined>, change: Change<ObjectOf<'Service'>>): void {
  const put = ({ metadata, spec }: ObjectOf<'Service'>) => known.set(metadata.name, spec.ports?.[0]?.port);
  if (change.type === 'interrupted') throw change.error;
  if (change.type === 'replaced') {
    known.clear();
    for (const object of change.objects) put(object);
  } else if (change.type === 'applied') put(change.object);
  else known.delete(change.object.metadata.name);
}

function sorted(map: Map<string, number | undefined>): [string, number | undefined][] {
  return [...map].sort(([a], [b]) => (a < b ? -1 : 1));
}

function within(stop: AbortController): AbortSignal {
  return AbortSignal.any([stop.signal, AbortSignal.timeout(10_000)]);
}

/** Tries until it holds, or fails as it last failed. */
export async function eventually(holds: () => void | Promise<void>, ms = 60_000): Promise<void> {
  for (const deadline = performance.now() + ms; ; ) {
    try {
      await holds();
      return;
    } catch (error) {
      if (performance.now() > deadline) throw error;
      await new Promise((resolve) => setTimeout(resolve, 5));
    }
  }
}
