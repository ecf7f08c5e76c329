// Addresses that leave their block in the overlay: three agents and the operator, as they are built, over one store.
import assert from 'node:assert/strict';
import { mkdirSync, rmSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { eventually } from '../../src/eventually.rig.ts';
import { type TestNamespace, TestNamespaces } from './namespaces.ts';
import { NodesRig } from './nodesRig.ts';
import { TestOperator } from './operatorRig.ts';

const namespaces = new TestNamespaces('lending');

const API: Record<string, string> = { Pod: 'v1', StatefulSet: 'apps/v1' };

describe('three nodes in the overlay, and blocks for two of them', () => {
  let rig: NodesRig;
  let operator: TestOperator;
  /** Numbers of nodes: the last one has no block. */
  let order: number[];

  const drop = (kind: string, metadata: { name: string; namespace?: string } & object, body: object = {}) => {
    const { name, namespace = '' } = metadata;
    const path = join(rig.store, kind, namespace, `${name}.yaml`);
    mkdirSync(dirname(path), { recursive: true });
    const apiVersion = API[kind] ?? 'network.tombolo.dev/v1alpha1';
    writeFileSync(path, JSON.stringify({ apiVersion, kind, metadata, ...body }));
  };

  const add = async (number: number, container: string, netns: TestNamespace, pod: string, uid = 'u') => {
    const args = `IgnoreUnknown=1;K8S_POD_NAMESPACE=shop;K8S_POD_NAME=${pod};K8S_POD_UID=${uid}`;
    const { body } = await rig.node(number).rig.verb('ADD', container, netns.path, {}, args);
    const { msg, ips } = JSON.parse(body);
    assert.notEqual(ips, undefined, msg);
    return String(ips[0].address).replace(/\/.*/, '');
  };

  const blocksOf = async (number: number): Promise<{ cidr: string; state: string }[]> =>
    (await rig.node(number).rig.json('/v1/status')).segments;

  before(async () => {
    rig = new NodesRig(
      namespaces,
      'lend',
      Array.from({ length: 3 }, () => ({ routing: 'overlay' as const, config: { segments: [] } })),
    );
    drop(
      'IPPool',
      { name: 'default' },
      { spec: { cidr: '10.82.0.0/28', blockSize: 29, expansion: { low: 1 } } },
    );
    operator = await TestOperator.start(rig.store);
    await Promise.all(rig.nodes.map(({ rig: agent }) => agent.start()));
    await eventually(async () => {
      const blocks = await Promise.all([1, 2, 3].map(blocksOf));
      const held = blocks.map((each) => each.filter(({ state }) => state === 'active').length);
      assert.deepEqual(held.toSorted(), [0, 1, 1]);
      order = [1, 2, 3].toSorted((a, b) => (held[b - 1] ?? 0) - (held[a - 1] ?? 0));
    }, 60_000);
  });

  after(async () => {
    await operator?.end('SIGKILL');
    await rig?.remove();
    rmSync(rig?.store ?? '', { recursive: true, force: true });
    namespaces.close();
  });

  test('a pod on the node without a block borrows an address, and all nodes tunnel to it there', async () => {
    const [one = 0, two = 0, dry = 0] = order;
    const [a, b, c] = ['a', 'b', 'c'].map((name) => namespaces.create(name)) as [
      TestNamespace,
      TestNamespace,
      TestNamespace,
    ];
    const first = await add(one, 'first', a, 'web-1');
    const second = await add(two, 'second', b, 'web-2');
    const lent = await add(dry, 'third', c, 'web-3');
    assert.match(lent, /^10\.82\.0\./);
    for (const [from, address] of [
      [a, lent],
      [b, lent],
      [c, first],
      [c, second],
    ] as const) {
      await eventually(
        () => assert.equal(from.pings(address), true, `${from.name} reaches ${address}`),
        10_000,
      );
    }
    const { allocations } = await rig.node(dry).rig.json('/v1/ipam');
    const mine = allocations.find(({ pod }: { pod: string }) => pod === 'shop/web-3');
    assert.equal(mine?.borrowed, true);
    const { status } = await rig.node(dry).rig.verb('DEL', 'third', c.path);
    assert.equal(status, 200);
    await eventually(async () => {
      for (const number of [one, two]) {
        const { kept } = await rig.node(number).rig.json('/v1/ipam');
        assert.deepEqual(kept, [], 'the lender has it back');
      }
    }, 60_000);
  });

  test('a StatefulSet pod takes its address along to another node', async () => {
    const [one = 0, two = 0] = order;
    const [old, next, other] = ['old', 'next', 'other'].map((name) => namespaces.create(name)) as [
      TestNamespace,
      TestNamespace,
      TestNamespace,
    ];
    const neighbour = await add(one, 'other', other, 'web-4');
    const annotations = { 'network.tombolo.dev/release-policy': 'immutable' };
    const ownerReferences = [{ kind: 'StatefulSet', name: 'db', uid: 'set-1' }];
    drop('StatefulSet', { namespace: 'shop', name: 'db', ...{ uid: 'set-1' } }, { spec: { replicas: 1 } });
    const place = (uid: string) =>
      drop('Pod', { namespace: 'shop', name: 'db-0', ...{ uid, annotations, ownerReferences } });
    place('pod-1');
    const address = await add(one, 'old', old, 'db-0', 'pod-1');
    place('pod-2');
    await rig.node(one).rig.verb('DEL', 'old', old.path);
    assert.equal(await add(two, 'next', next, 'db-0', 'pod-2'), address);
    await eventually(() => assert.equal(other.pings(address), true, 'from the node of its block'), 10_000);
    assert.equal(next.pings(neighbour), true);
  });
});
