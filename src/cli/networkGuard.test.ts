import assert from 'node:assert/strict';
import { test } from 'node:test';
import { MemoryStore } from '../store/memory.rig.ts';
import { guardNetwork } from './networkGuard.ts';

test('the segments of a node cannot be deleted while there is the node', async () => {
  const store = new MemoryStore();
  await guardNetwork(store, 'a');
  await store.create({ apiVersion: 'v1', kind: 'Node', metadata: { name: 'a' } });
  const network = await store.create({
    apiVersion: 'network.tombolo.dev/v1alpha1',
    kind: 'NodeNetwork',
    metadata: { name: 'a' },
    spec: {},
  });
  await guardNetwork(store, 'a');
  await store.update({ ...network, spec: { segments: [{ cidr: '10.0.0.0/26', state: 'active' }] } });
  await assert.rejects(
    guardNetwork(store, 'a'),
    /node a is there.*\(value 10\.0\.0\.0\/26\)\. Instead: delete/,
  );
  await store.delete('Node', { name: 'a' });
  await guardNetwork(store, 'a');
});
