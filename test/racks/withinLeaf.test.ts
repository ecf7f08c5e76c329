import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { Capture } from './capture.ts';
import { nextHopsOf, portOf } from './fabric.ts';
import { type Pod, World } from './world.ts';

let world: World;
let first: Pod;
let second: Pod;
before(async () => {
  world = await World.start('rackswithin');
  [first, second] = [await world.pod('a1', 'web'), await world.pod('a2', 'web')];
});
after(() => world.close());

test('the next hop to a segment of the same rack is the node that has it', async () => {
  const { a1, a2 } = world.nodes;
  for (const [here, there] of [
    [a1, a2],
    [a2, a1],
  ] as const) {
    for (const segment of await world.segments(there.name)) {
      assert.deepEqual(nextHopsOf(here.namespace, segment, '111'), [there.address]);
    }
  }
});

test('the leaf switches what goes between its nodes, and routes none of it', async () => {
  const [leaf] = world.fabric.leaves;
  const between = `icmp and host ${first.address} and host ${second.address}`;
  const port = await Capture.start(leaf.router.namespace, portOf(1), between);
  const routing = await Capture.start(leaf.router.namespace, 'lan', between);
  assert.ok(first.namespace.pings(second.address));
  assert.deepEqual(await routing.stop(), [], 'what the leaf routed');
  const frames = await port.stop();
  const { address: mac } = world.nodes.a2.namespace.ip('link show up0')[0];
  const request = frames.find((line) =>
    line.includes(`${first.address} > ${second.address}: ICMP echo request`),
  );
  assert.match(request ?? '', new RegExp(`> ${mac}`), 'the frame is for the other node');
});

test('a node reaches a pod of its neighbour without the leaf, too', async () => {
  const [leaf] = world.fabric.leaves;
  const routing = await Capture.start(leaf.router.namespace, 'lan', `icmp and host ${second.address}`);
  assert.ok(world.nodes.a1.namespace.pings(second.address));
  assert.deepEqual(await routing.stop(), []);
});
