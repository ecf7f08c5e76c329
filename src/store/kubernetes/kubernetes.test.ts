import assert from 'node:assert/strict';
import { test } from 'node:test';
import { eventually } from '../../eventually.rig.ts';
import { storeCompliance } from '../compliance.ts';
import { follow } from '../follow.ts';
import { service, withPort } from '../samples.rig.ts';
import { isStoreError, type Store } from '../store.ts';
import type { Connection } from './kubeconfig.ts';
import { openKubernetesStore } from './kubernetes.ts';
import { StrictApiServer } from './strictApiServer.ts';

function connectionTo(server: URL): Connection {
  const nothing = { ca: undefined, certificate: undefined, key: undefined, serverName: undefined };
  return { server, ...nothing, token: () => 'secret', verify: true };
}

storeCompliance('kubernetes', async () => {
  const server = await StrictApiServer.start();
  const store = openKubernetesStore(connectionTo(server.url));
  const other = openKubernetesStore(connectionTo(server.url));
  return {
    store,
    other,
    async dispose() {
      await Promise.all([store.close(), other.close()]);
      await server.stop();
    },
  };
});

function withServer(claim: string, run: (server: StrictApiServer, store: Store) => Promise<void>): void {
  test(claim, async () => {
    const server = await StrictApiServer.start();
    const store = openKubernetesStore(connectionTo(server.url));
    try {
      await run(server, store);
    } finally {
      await Promise.all([...followers].map((end) => end()));
      await store.close();
      await server.stop();
    }
  });
}

/** Ends of what still follows; a test that fails does not come to its own. */
const followers = new Set<() => Promise<void>>();

/** Follows services, and tells what is known and what has been told. */
function following(store: Store) {
  const known = new Map<string, number | undefined>();
  const told: string[] = [];
  const stop = new AbortController();
  const noPause = () => new Promise<void>((resolve) => setTimeout(resolve, 5));
  const done = follow(
    store,
    'Service',
    (change) => {
      told.push(change.type);
      if (change.type === 'replaced') {
        known.clear();
        for (const { metadata, spec } of change.objects) known.set(metadata.name, spec.ports?.[0]?.port);
      } else if (change.type === 'applied') {
        known.set(change.object.metadata.name, change.object.spec.ports?.[0]?.port);
      } else if (change.type === 'deleted') known.delete(change.object.metadata.name);
    },
    stop.signal,
    noPause,
  );
  const end = async () => {
    stop.abort();
    followers.delete(end);
    await done;
  };
  followers.add(end);
  return { known, told, end };
}

withServer('a list longer than a page is whole', async (_, store) => {
  for (let index = 0; index < 8; index++) await store.create(service(`s${index}`));
  assert.equal((await store.list('Service')).items.length, 8);
});

withServer('a watch that is cut goes on where it was, without a new list', async (server, store) => {
  const created = await store.create(service('web'));
  const { known, told, end } = following(store);
  await eventually(() => assert.deepEqual([known.get('web'), server.watches], [80, 1]));
  server.cut();
  await store.update(withPort(created, 81));
  await eventually(() => assert.equal(known.get('web'), 81));
  assert.deepEqual(told, ['replaced', 'applied']);
  await end();
});

withServer('a watch whose history is gone lists again', async (server, store) => {
  const created = await store.create(service('web'));
  await store.create(service('old'));
  const { known, told, end } = following(store);
  await eventually(() => assert.deepEqual([known.size, server.watches], [2, 1]));
  server.failNext({ kind: 'drop', matches: ({ method }) => method === 'GET' });
  server.cut();
  await store.update(withPort(created, 81));
  await store.delete('Service', { namespace: 'default', name: 'old' });
  server.compact();
  await eventually(() => assert.deepEqual([...known], [['web', 81]]));
  assert.equal(told.at(-1), 'replaced');
  await end();
});

withServer('a write whose answer is lost is unknown, and reading tells', async (server, store) => {
  server.failNext({ kind: 'lose', matches: ({ method }) => method === 'POST' });
  await assert.rejects(store.create(service('web')), (error) => isStoreError(error, 'Unavailable'));
  await assert.rejects(store.create(service('web')), (error) => isStoreError(error, 'AlreadyExists'));
});

withServer('a server that cannot be reached is named', async (server, store) => {
  await server.stop();
  await assert.rejects(store.list('Service'), /Cannot reach http:\/\/127\.0\.0\.1:\d+: .*ECONNREFUSED/);
});
