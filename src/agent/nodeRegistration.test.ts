import assert from 'node:assert/strict';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { type IP, parseIP } from '../address/ip.ts';
import { createLog } from '../log.ts';
import { internalIPs } from '../store/kinds/node.ts';
import { openStore } from '../store/open.ts';
import type { Store } from '../store/store.ts';
import { registerNode } from './nodeRegistration.ts';

const directory = mkdtempSync(join(tmpdir(), 'tombolo-nodes-'));
const [first, second, third] = ['192.0.2.1', '192.0.2.2', '192.0.2.3'].map(parseIP) as [IP, IP, IP];
let store: Store;
before(async () => {
  store = await openStore(`directory:${directory}`, { create: true });
});
after(async () => {
  await store.close();
  rmSync(directory, { recursive: true, force: true });
});

const log = createLog(() => {});
const said = async (name: string) => internalIPs(await store.get('Node', { name }));
const register = (name: string, ip: IP, former?: IP) =>
  registerNode(store, { name, ips: [ip] }, log, former === undefined ? [] : [former]);

test('a node that nobody has described is described, and follows its addresses', async () => {
  await register('a', first);
  assert.deepEqual(await said('a'), ['192.0.2.1']);
  await register('a', second, first);
  assert.deepEqual(await said('a'), ['192.0.2.2']);
});

test('a node that lacks addresses is given them, and keeps its labels', async () => {
  const labels = { rack: 'a' };
  await store.create({ apiVersion: 'v1', kind: 'Node', metadata: { name: 'b', labels } });
  await register('b', first);
  assert.deepEqual(await said('b'), ['192.0.2.1']);
  assert.deepEqual((await store.get('Node', { name: 'b' })).metadata.labels, labels);
});

test('what somebody else has said of a node stays', async () => {
  const addresses = [{ type: 'InternalIP', address: '192.0.2.3' }];
  await store.create({ apiVersion: 'v1', kind: 'Node', metadata: { name: 'c' }, status: { addresses } });
  await register('c', first);
  await register('c', second, first);
  assert.deepEqual(await said('c'), ['192.0.2.3']);
  await register('c', second, third);
  assert.deepEqual(await said('c'), ['192.0.2.2'], 'unless the node had it until now');
});
