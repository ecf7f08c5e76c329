import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { Capture } from './capture.ts';
import { nextHopsOf } from './fabric.ts';
import { leafAddress } from './plan.ts';
import { NODES, type Pod, World } from './world.ts';

let world: World;
let a: Pod;
let b: Pod;
before(async () => {
  world = await World.start('racksacross');
  [a, b] = [await world.pod('a1', 'web'), await world.pod('b1', 'web')];
});
after(() => world.close());

test('pods of different racks see each other, as they are and without encapsulation', async () => {
  const { spine } = world.fabric;
  const capture = await Capture.start(spine.router.namespace, 'any', 'ip and not tcp port 179');
  assert.ok(a.namespace.pings(b.address));
  const seen = await capture.stop();
  assert.ok(
    seen.some((line) => line.includes(`${a.address} > ${b.address}: ICMP echo request`)),
    seen.join('\n'),
  );
  assert.ok(
    seen.every((line) => line.includes('ICMP')),
    seen.join('\n'),
  );
});

test('the way to the other rack leads through the leaf, as does the one default route', async () => {
  for (const name of NODES) {
    const { namespace, leaf } = world.nodes[name];
    const [other] = world.fabric.leaves.filter(({ rack }) => rack !== leaf.rack);
    const far = NODES.filter((one) => world.nodes[one].leaf === other);
    for (const one of far) {
      for (const segment of await world.segments(one)) {
        assert.deepEqual(
          nextHopsOf(namespace, segment, '111'),
          [leafAddress(leaf.rack)],
          `${segment} on ${name}`,
        );
      }
    }
    assert.deepEqual(
      nextHopsOf(namespace, 'default'),
      [leafAddress(leaf.rack)],
      `the default route of ${name}`,
    );
  }
});

test('a node reaches a pod of the other rack, and the pod sees the node', async () => {
  const { namespace, address } = world.nodes.a2;
  const capture = await Capture.start(b.namespace, 'eth0', 'icmp');
  assert.ok(namespace.pings(b.address));
  const seen = await capture.stop();
  assert.ok(
    seen.some((line) => line.includes(`${address} > ${b.address}: ICMP echo request`)),
    seen.join('\n'),
  );
});

test('the outside reaches a pod by its own address', () => {
  assert.ok(world.fabric.outside.pings(b.address));
});
