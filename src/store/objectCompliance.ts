import assert from 'node:assert/strict';
import type { Complies } from './compliance.rig.ts';
import type { ObjectOf } from './kinds/registry.ts';
import { nodeNetwork, pod, service, withPort } from './samples.rig.ts';
import { isStoreError, type Selection, type Store, type StoreReason } from './store.ts';

/** What becomes of objects: who may change them, and what is found of them. */
export function objectCompliance(complies: Complies): void {
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
}

async function refused(reason: StoreReason, attempt: Promise<unknown>): Promise<void> {
  await assert.rejects(attempt, (error) => isStoreError(error, reason));
}

async function names(store: Store): Promise<string[]> {
  return (await store.list('Service')).items.map(({ metadata }) => metadata.name);
}
