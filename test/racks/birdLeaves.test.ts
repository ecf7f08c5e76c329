import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { Bird } from '../interop/bird.ts';
import { eventually } from '../interop/waiting.ts';
import { type Leaf, nextHopsOf } from './fabric.ts';
import { leafAddress, OUTSIDE, RACKS, SERVICE_PORT } from './plan.ts';
import { echo, lossOf, Stream } from './stream.ts';
import { ask, serve, tally } from './web.ts';
import { NODES, type NodeName, type Pod, World } from './world.ts';

const VIPS = ['10.222.0.7', 'fd22::7'] as const;
const MANY = 80;
/** Of the sessions between leaf and node, and leaf and spine. */
const HOLD_MS = 9000;

let world: World;
const pods = {} as Record<NodeName, Pod>;
before(async () => {
  world = await World.start('racksbirds', { make: 'bird', dualStack: true });
  for (const name of NODES) pods[name] = await world.pod(name, 'web');
  await Promise.all(NODES.map((name) => serve(pods[name].namespace, name)));
  for (const name of ['a2', 'b1'] as const) await echo(pods[name].namespace);
});
after(() => world.close());

function birdOf({ speaker }: Leaf): Bird {
  assert.equal(speaker instanceof Bird, true);
  return speaker as Bird;
}

test('BIRD has found its nodes by their range, and was told of none', () => {
  for (const leaf of world.fabric.leaves) {
    const sessions =
      birdOf(leaf)
        .birdc('show', 'protocols')
        .match(/^node\d+ .*Established/gm) ?? [];
    assert.equal(sessions.length, 2, leaf.rack.name);
  }
});

test('segments of both families lead to the neighbour in the rack, to the leaf for the other', async () => {
  const { a1, a2 } = world.nodes;
  for (const segment of await world.segments('a2')) {
    const [hop] = nextHopsOf(a1.namespace, segment, '111');
    assert.equal(hop, segment.includes(':') ? 'fd20:1::12' : a2.address, segment);
  }
  for (const segment of await world.segments('b1')) {
    const [hop] = nextHopsOf(a1.namespace, segment, '111');
    assert.equal(hop, segment.includes(':') ? 'fd20:1::1' : leafAddress(RACKS[0]), segment);
  }
  for (const from of NODES) {
    for (const address of NODES.flatMap((to) => pods[to].addresses))
      assert.equal(pods[from].namespace.pings(address), true, `${from} to ${address}`);
  }
});

test('service addresses of both families are shared and answered by all, from outside', async (t) => {
  const { leaves, spine, outside } = world.fabric;
  world.service('web', VIPS, [pods.a1, pods.a2, pods.b1], { externalTrafficPolicy: 'Local' });
  for (const vip of VIPS) {
    for (const { namespace } of [leaves[0].router, spine.router])
      await eventually(`two ways to ${vip}`, () => nextHopsOf(namespace, vip).length === 2);
    const answers = ask(outside, 'tcp', vip, SERVICE_PORT, MANY);
    t.diagnostic(`${vip}: ${JSON.stringify(tally(answers))} of ${MANY}, none lost`);
    assert.deepEqual(Object.keys(tally(answers)), ['a1', 'a2', 'b1']);
  }
  assert.equal(ask(outside, 'udp', VIPS[0], SERVICE_PORT)[0]?.peer, OUTSIDE.client);
});

test('an agent that is killed and comes back costs no packet', async (t) => {
  const { rig } = world.nodes.b1;
  const across = await Stream.start(pods.a1.namespace, pods.b1.address);
  await rig.end('SIGKILL');
  await sleep(1500);
  await rig.start();
  await world.established('b1');
  await sleep(1500);
  const report = await across.stop();
  t.diagnostic(lossOf(report));
  assert.equal(report.lost.length, 0);
});

test('a leaf that is killed and recovers leads to its nodes again as soon as they are back', async (t) => {
  const [, leaf] = world.fabric.leaves;
  const bird = birdOf(leaf);
  const within = await Stream.start(pods.b2.namespace, pods.b1.address);
  const across = await Stream.start(pods.a1.namespace, pods.b1.address);
  await bird.daemon.kill();
  await sleep(1500);
  bird.restart();
  for (const name of ['b1', 'b2'] as const) await world.established(name);
  await sleep(6000);
  const [inside, outside] = [await within.stop(), await across.stop()];
  t.diagnostic(`in the rack: ${lossOf(inside)}`);
  t.diagnostic(`to the other: ${lossOf(outside)}`);
  // BIRD ends its recovery without nodes that it knows no address of (docs/leaf.md); they dial once a second.
  for (const { longestGap } of [inside, outside])
    assert.equal(longestGap < HOLD_MS, true, `${longestGap} ms`);
});
