import assert from 'node:assert/strict';
import { test } from 'node:test';
import { eventually } from '../eventually.rig.ts';
import { silentLog } from '../log.ts';
import type { Kind } from '../store/kinds/registry.ts';
import { MemoryStore } from '../store/memory.rig.ts';
import type { Selection } from '../store/store.ts';
import { followBgpObjects } from './bgpObjects.ts';
import { StoreState } from './storeState.ts';

/** Knows what has been listed. */
class ListedStore extends MemoryStore {
  readonly listed: string[] = [];

  override list<K extends Kind>(kind: K, selection: Selection = {}) {
    this.listed.push([kind, ...Object.values(selection.fields ?? {})].join(' '));
    return super.list(kind, selection);
  }
}

const own = 'network.tombolo.dev/v1alpha1';

async function clusterOf(nodes: number): Promise<ListedStore> {
  const store = new ListedStore();
  for (let index = 0; index < nodes; index++) {
    await store.create({ apiVersion: 'v1', kind: 'Node', metadata: { name: `node-${index}` } });
  }
  return store;
}

function configuration(nodeToNodeMeshEnabled: boolean, name = 'default') {
  return { apiVersion: own, kind: 'BGPConfiguration', metadata: { name }, spec: { nodeToNodeMeshEnabled } };
}

async function following(
  store: ListedStore,
  run: (seen: () => string, changes: () => number) => Promise<void>,
) {
  const state = new StoreState(store, silentLog);
  let changes = 0;
  const objects = followBgpObjects(state, 'node-0', () => changes++);
  const seen = () =>
    objects.nodes.listed
      ? objects.nodes
          .all()
          .map(({ metadata }) => metadata.name)
          .join(' ')
      : 'nothing yet';
  try {
    await run(seen, () => changes);
  } finally {
    await state.stop();
  }
}

async function beat(store: ListedStore, name: string): Promise<void> {
  const node = await store.get('Node', { name });
  await store.updateStatus({
    ...node,
    status: { addresses: [{ type: 'InternalIP', address: '192.0.2.9' }] },
  });
}

test('an agent whose peers are no nodes follows its own Node and no other', async () => {
  const store = await clusterOf(3);
  await store.create(configuration(false));
  await following(store, async (seen, changes) => {
    await eventually(() => assert.equal(seen(), 'node-0'));
    const before = changes();
    await beat(store, 'node-1');
    await beat(store, 'node-0');
    await eventually(() => assert.equal(changes(), before + 1));
    assert.deepEqual(store.listed.filter((line) => line.startsWith('Node')).sort(), [
      'Node node-0',
      'NodeNetwork',
    ]);
  });
});

test('in a mesh, which is what there is where nobody says otherwise, it follows all of them', async () => {
  const store = await clusterOf(3);
  await following(store, async (seen) => {
    await eventually(() => assert.equal(seen(), 'node-0 node-1 node-2'));
  });
  await store.create(configuration(false));
  await store.create(configuration(true, 'node.node-0'));
  await following(store, async (seen) => {
    await eventually(() => assert.equal(seen(), 'node-0 node-1 node-2'));
  });
});

test('the first peer that is chosen by its labels makes it follow all, and it does not forget them after that', async () => {
  const store = await clusterOf(3);
  await store.create(configuration(false));
  await following(store, async (seen) => {
    await eventually(() => assert.equal(seen(), 'node-0'));
    const spec = { nodeSelector: 'all()', peerSelector: "route-reflector == 'true'" };
    await store.create({ apiVersion: own, kind: 'BGPPeer', metadata: { name: 'reflectors' }, spec });
    await eventually(() => assert.equal(seen(), 'node-0 node-1 node-2'));
    await store.delete('BGPPeer', { name: 'reflectors' });
    await store.create({ apiVersion: 'v1', kind: 'Node', metadata: { name: 'node-3' } });
    await eventually(() => assert.equal(seen(), 'node-0 node-1 node-2 node-3'));
  });
});
