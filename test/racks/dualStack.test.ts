import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { eventually } from '../interop/waiting.ts';
import { Capture } from './capture.ts';
import { bgpObject } from './cluster.ts';
import { nextHopsOf, portOf } from './fabric.ts';
import {
  CLUSTER_IP,
  CLUSTER_IP6,
  CLUSTER_IPS,
  leafAddress6,
  nodeAddress6,
  OUTSIDE,
  OUTSIDE6,
  RACKS,
  SERVICE_PORT,
} from './plan.ts';
import { ask, serve, tally } from './web.ts';
import { NODES, type NodeName, type Pod, World } from './world.ts';

const VIPS = ['10.222.0.7', 'fd22::7'];
const [, VIP] = VIPS as [string, string];
const MANY = 80;

let world: World;
const pods = {} as Record<NodeName, Pod>;
before(async () => {
  world = await World.start('racksdual', { dualStack: true });
  for (const name of NODES) pods[name] = await world.pod(name, 'web');
  await Promise.all(NODES.map((name) => serve(pods[name].namespace, name)));
});
after(() => world.close());

const isIPv6 = (text: string) => text.includes(':');
const own = (name: NodeName) => pods[name].addresses.find(isIPv6) ?? '';
const numberOf = (name: NodeName) => Number(name.slice(1));
const address6 = (name: NodeName) => nodeAddress6(world.nodes[name].leaf.rack, numberOf(name));
const hops = (place: Pod['namespace'], prefix: string) => nextHopsOf(place, prefix, '111');

test('a pod has an address of each family, and its node a segment of each', async () => {
  for (const name of NODES) {
    assert.deepEqual(pods[name].addresses.map(isIPv6), [false, true], name);
    assert.deepEqual((await world.segments(name)).map(isIPv6).sort(), [false, true], name);
  }
});

test('a session over IPv4 tells the way to IPv6: the neighbour itself in the rack, the leaf to the other', async () => {
  for (const here of NODES) {
    const { leaf, namespace } = world.nodes[here];
    for (const there of NODES.filter((name) => name !== here)) {
      const via = world.nodes[there].leaf === leaf ? address6(there) : leafAddress6(leaf.rack);
      for (const segment of (await world.segments(there)).filter(isIPv6))
        assert.deepEqual(hops(namespace, segment), [via], `${segment} of ${there} on ${here}`);
    }
  }
});

test('pods reach pods by IPv6, in the rack and across, as they are', async () => {
  const capture = await Capture.start(world.fabric.spine.router.namespace, 'any', 'icmp6 and ip6[40] == 128');
  for (const from of NODES) {
    for (const to of NODES) assert.equal(pods[from].namespace.pings(own(to)), true, `${from} to ${to}`);
  }
  const seen = (await capture.stop()).join('\n');
  assert.match(seen, new RegExp(`${own('a1')} > ${own('b1')}: ICMP6, echo request`));
  assert.equal(
    seen.includes(`${own('a1')} > ${own('a2')}:`),
    false,
    'what stays in the rack is not on the spine',
  );
});

test('a node and the outside reach a pod by IPv6', () => {
  assert.equal(world.nodes.a2.namespace.pings(own('b1')), true);
  assert.equal(world.fabric.outside.pings(own('b1')), true);
});

test('a service address of IPv6 is shared by leaf and spine, asked from outside, and answered by all who see the client', async (t) => {
  const { leaves, spine, outside } = world.fabric;
  world.service('web', VIPS, [pods.a1, pods.a2, pods.b1], { externalTrafficPolicy: 'Local' });
  const count = (place: { namespace: Pod['namespace'] }) => nextHopsOf(place.namespace, `${VIP}/128`).length;
  await eventually('two ways on the leaf', () => count(leaves[0].router) === 2);
  await eventually('two ways on the spine', () => count(spine.router) === RACKS.length);
  const capture = await Capture.start(leaves[0].router.namespace, portOf(1), `host ${OUTSIDE6.client}`);
  for (const protocol of ['tcp', 'udp'] as const) {
    const answers = ask(outside, protocol, VIP, SERVICE_PORT, MANY);
    t.diagnostic(`${protocol}: ${JSON.stringify(tally(answers))} of ${MANY}, none lost`);
    assert.deepEqual(Object.keys(tally(answers)), ['a1', 'a2', 'b1'], protocol);
    assert.deepEqual([...new Set(answers.map(({ peer }) => peer))], [OUTSIDE6.client], protocol);
  }
  const seen = (await capture.stop()).filter((line) => !line.includes('ICMP6'));
  assert.match(seen.join('\n'), new RegExp(`${OUTSIDE6.client}\\.\\d+ > ${VIP}\\.80:`));
  assert.equal(seen.join('\n').includes(own('a1')), false, 'no pod on the wire');
});

test('a cluster IP leads nowhere before it is announced, and is then shared and answered by all who see the client, in both families', async (t) => {
  const { leaves, spine, outside } = world.fabric;
  world.service('web', VIPS, [pods.a1, pods.a2, pods.b1], {});
  for (const address of [CLUSTER_IP, CLUSTER_IP6])
    assert.throws(() => ask(outside, 'tcp', address, SERVICE_PORT), /Cannot ask/);
  world.write(bgpObject({ serviceClusterIPs: CLUSTER_IPS.map((cidr) => ({ cidr })) }));
  for (const range of CLUSTER_IPS) {
    for (const { namespace } of [leaves[0].router, spine.router])
      await eventually(`two ways to ${range}`, () => nextHopsOf(namespace, range).length === 2);
  }
  for (const address of [CLUSTER_IP, CLUSTER_IP6]) {
    const client = isIPv6(address) ? OUTSIDE6.client : OUTSIDE.client;
    for (const protocol of ['tcp', 'udp'] as const) {
      const answers = ask(outside, protocol, address, SERVICE_PORT, MANY);
      t.diagnostic(`${address} ${protocol}: ${JSON.stringify(tally(answers))} of ${MANY}, none lost`);
      assert.deepEqual(Object.keys(tally(answers)), ['a1', 'a2', 'b1'], protocol);
      assert.deepEqual([...new Set(answers.map(({ peer }) => peer))], [client], protocol);
    }
  }
});

for (const policy of ['internalTrafficPolicy', 'externalTrafficPolicy'] as const) {
  test(`with ${policy} Local the leaf leads to the nodes with a backend, by the address itself`, async () => {
    const { leaves, spine, outside } = world.fabric;
    world.service('web', VIPS, [pods.a2, pods.b1], { [policy]: 'Local' });
    for (const [address, own] of [
      [CLUSTER_IP, world.nodes.a2.address],
      [CLUSTER_IP6, address6('a2')],
    ] as const) {
      const prefix = `${address}/${isIPv6(address) ? 128 : 32}`;
      await eventually(
        `${prefix} by a2`,
        () => nextHopsOf(leaves[0].router.namespace, prefix).join() === own,
      );
      await eventually(
        'both racks',
        () => nextHopsOf(spine.router.namespace, prefix).length === RACKS.length,
      );
      await eventually(
        'only those answer',
        () => Object.keys(tally(ask(outside, 'tcp', address, SERVICE_PORT, MANY))).join() === 'a2,b1',
      );
    }
    world.service('web', VIPS, [pods.a1, pods.a2, pods.b1], {});
  });
}
