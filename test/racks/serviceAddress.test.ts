import { after, before, test } from 'node:test';
import { eventually } from '../interop/waiting.ts';
import { nextHopsOf } from './fabric.ts';
import { RACKS, VIPS } from './plan.ts';
import { type Pod, World } from './world.ts';

const VIP = '10.222.0.7';

let world: World;
const pods: Pod[] = [];
before(async () => {
  world = await World.start('racksvip');
  for (const node of ['a1', 'a2', 'b1'] as const) pods.push(await world.pod(node, 'web'));
});
after(() => world.close());

const [rackA, rackB] = RACKS;
const hops = (router: { namespace: Pod['namespace'] }, ...wanted: string[]) => to(VIP, router, wanted);
const to = (prefix: string, router: { namespace: Pod['namespace'] }, wanted: string[]) =>
  eventually(`${prefix} via ${wanted}`, () => nextHopsOf(router.namespace, prefix).join() === wanted.join());

test('a service with policy Local is announced from the nodes with a backend, and leaf and spine share its flows', async () => {
  const { leaves, spine } = world.fabric;
  world.service('web', VIP, pods, { externalTrafficPolicy: 'Local' });
  await hops(leaves[0].router, world.nodes.a1.address, world.nodes.a2.address);
  await hops(leaves[1].router, world.nodes.b1.address);
  await hops(spine.router, rackA.uplink.leaf, rackB.uplink.leaf);
});

test('a node whose last backend goes is left out, and only it', async () => {
  const { leaves, spine } = world.fabric;
  world.service('web', VIP, pods.slice(1), { externalTrafficPolicy: 'Local' });
  await hops(leaves[0].router, world.nodes.a2.address);
  await hops(spine.router, rackA.uplink.leaf, rackB.uplink.leaf);
});

test('with policy Cluster it is the whole range that every node announces', async () => {
  const { leaves } = world.fabric;
  const { a1, a2, b1, b2 } = world.nodes;
  world.service('web', VIP, pods, {});
  for (const { router } of leaves) await hops(router);
  await to(VIPS, leaves[0].router, [a1.address, a2.address]);
  await to(VIPS, leaves[1].router, [b1.address, b2.address]);
});
