import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { Frr } from '../interop/frr.ts';
import { eventually } from '../interop/waiting.ts';
import { nextHopsOf } from './fabric.ts';
import { leafAddress, OUTSIDE, PODS } from './plan.ts';
import { NODES, World } from './world.ts';

/** Somebody else's network, and one that would take packets to the leaf away from it. */
const FOREIGN = ['203.0.113.0/24', '10.220.0.0/16'];

let world: World;
before(async () => {
  world = await World.start('racksimport', { leaf: { networks: FOREIGN, defaultRoute: true } });
});
after(() => world.close());

test('a host takes the ranges of the cluster and the default route, whatever its leaf says', async () => {
  for (const name of NODES) {
    const { namespace, leaf, address } = world.nodes[name];
    const { speaker, rack } = leaf;
    assert.ok(speaker instanceof Frr);
    const told = Object.keys(
      speaker.json(`show bgp ipv4 unicast neighbors ${address} advertised-routes`).advertisedRoutes,
    );
    for (const network of [...FOREIGN, OUTSIDE.lan]) assert.ok(told.includes(network), `${network} was said`);
    await eventually('the default route', () => nextHopsOf(namespace, 'default', '111').length === 1);
    assert.deepEqual(nextHopsOf(namespace, 'default', '111'), [leafAddress(rack)]);
    for (const { dst } of namespace.ip('route show proto 111')) {
      assert.ok(dst === 'default' || dst.startsWith(PODS.slice(0, 7)), `${dst} on ${name}`);
    }
  }
});

test('a leaf takes from its nodes nothing but segments', async () => {
  const segments = (await Promise.all(NODES.map((name) => world.segments(name)))).flat();
  const { router } = world.fabric.spine;
  const pods = router.namespace.ip('route show root 10.221.0.0/16').map(({ dst }: { dst: string }) => dst);
  assert.deepEqual(pods.sort(), segments.sort());
});
