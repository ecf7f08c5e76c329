import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { eventually } from '../interop/waiting.ts';
import { Capture } from './capture.ts';
import { bgpObject } from './cluster.ts';
import { nextHopsOf, portOf } from './fabric.ts';
import { NODE_PORT, OUTSIDE, RACKS, SERVICE_PORT, VIPS } from './plan.ts';
import { ask, serve, tally } from './web.ts';
import { NODES, type NodeName, type Pod, World } from './world.ts';

const VIP = '10.222.0.7';
/** So many that one of four equal ways that nobody takes is no accident: 0.75^80 is 1 in ten thousand million. */
const MANY = 80;

const HEALTH_PORT = 30990;
const LOCAL = { externalTrafficPolicy: 'Local', healthCheckNodePort: HEALTH_PORT };

let world: World;
const pods: Pod[] = [];
before(async () => {
  world = await World.start('racksvip');
  for (const node of ['a1', 'a2', 'b1'] as const) pods.push(await world.pod(node, 'web'));
  await Promise.all(pods.map(({ namespace, node }) => serve(namespace, node.name)));
});
after(() => world.close());

const [rackA, rackB] = RACKS;
type Place = { namespace: Pod['namespace'] };
const hops = (router: Place, ...wanted: string[]) => to(VIP, router, wanted);
const to = (prefix: string, router: Place, wanted: string[]) =>
  eventually(`${prefix} via ${wanted}`, () => nextHopsOf(router.namespace, prefix).join() === wanted.join());

/** What a load balancer outside is answered: the status, and how many backends are here. */
function healthOf(name: NodeName): string {
  const script = `fetch('http://${world.nodes[name].address}:${HEALTH_PORT}/healthz').then(async (answer) =>
    console.log(answer.status + ' ' + (await answer.json()).localEndpoints), ({ cause }) => console.log(cause.code));`;
  return world.fabric.outside.run('env', '-i', process.execPath, '-e', script).trim();
}

/** What passes the node's port of its leaf while the outside asks. */
async function captured(node: NodeName, filter: string, body: () => void): Promise<string[]> {
  const { leaf } = world.nodes[node];
  const capture = await Capture.start(leaf.router.namespace, portOf(Number(node.slice(1))), filter);
  body();
  return capture.stop();
}

test('a service with policy Local is announced from the nodes with a backend, and leaf and spine share its flows', async () => {
  const { leaves, spine } = world.fabric;
  world.service('web', VIP, pods, LOCAL);
  await hops(leaves[0].router, world.nodes.a1.address, world.nodes.a2.address);
  await hops(leaves[1].router, world.nodes.b1.address);
  await hops(spine.router, rackA.uplink.leaf, rackB.uplink.leaf);
});

for (const protocol of ['tcp', 'udp'] as const) {
  test(`the outside is answered at the address by all nodes with a backend, which see the client (${protocol})`, (t) => {
    const { outside } = world.fabric;
    const answers = ask(outside, protocol, VIP, SERVICE_PORT, MANY);
    const counts = tally(answers);
    t.diagnostic(`${protocol}: ${JSON.stringify(counts)} of ${MANY}, none lost`);
    assert.deepEqual(Object.keys(counts), ['a1', 'a2', 'b1']);
    assert.deepEqual([...new Set(answers.map(({ peer }) => peer))], [OUTSIDE.client]);
  });
}

test('on the wire there are the client and the service address, and no pod', async () => {
  const seen = await captured('a1', `host ${OUTSIDE.client}`, () =>
    ask(world.fabric.outside, 'tcp', VIP, SERVICE_PORT, MANY),
  );
  const [requests, answers] = [`${OUTSIDE.client}.\\d+ > ${VIP}.80:`, `${VIP}.80 > ${OUTSIDE.client}.\\d+:`];
  for (const direction of [requests, answers]) assert.match(seen.join('\n'), new RegExp(direction));
  const others = seen.filter((line) => !new RegExp(`${requests}|${answers}`).test(line));
  assert.deepEqual(others, []);
});

test('a node port is served on the addresses of nodes with a backend, which see the client', (t) => {
  const { outside } = world.fabric;
  for (const protocol of ['tcp', 'udp'] as const) {
    for (const { node } of pods) {
      const answers = ask(outside, protocol, node.address, NODE_PORT, 8);
      assert.deepEqual(tally(answers), { [node.name]: 8 }, protocol);
      assert.deepEqual([...new Set(answers.map(({ peer }) => peer))], [OUTSIDE.client]);
    }
  }
  t.diagnostic(`48 asked of ${pods.length} nodes by TCP and UDP, none lost`);
  assert.throws(() => ask(outside, 'tcp', world.nodes.b2.address, NODE_PORT), /Cannot ask/, 'b2 has none');
});

test('the health of a service with policy Local is asked for from outside: whether there is a backend on the node', () => {
  assert.deepEqual(NODES.map(healthOf), ['200 1', '200 1', '200 1', '503 0']);
});

test('a node whose last backend goes is left out, and only it', async () => {
  const { leaves, spine, outside } = world.fabric;
  world.service('web', VIP, pods.slice(1), LOCAL);
  await hops(leaves[0].router, world.nodes.a2.address);
  await hops(spine.router, rackA.uplink.leaf, rackB.uplink.leaf);
  assert.deepEqual(Object.keys(tally(ask(outside, 'tcp', VIP, SERVICE_PORT, MANY))), ['a2', 'b1']);
  assert.deepEqual(NODES.map(healthOf), ['503 0', '200 1', '200 1', '503 0']);
});

test('with policy Cluster it is the whole range that every node announces', async () => {
  const { leaves } = world.fabric;
  const { a1, a2, b1, b2 } = world.nodes;
  world.service('web', VIP, pods, {});
  for (const { router } of leaves) await hops(router);
  await to(VIPS, leaves[0].router, [a1.address, a2.address]);
  await to(VIPS, leaves[1].router, [b1.address, b2.address]);
});

test('the outside is answered by every backend then, whichever node it comes to', async (t) => {
  const { outside } = world.fabric;
  // Of b2, which has no backend: what comes to it is answered by another node.
  const seen = await captured('b2', `host ${VIP}`, () => {
    for (const protocol of ['tcp', 'udp'] as const) {
      const counts = tally(ask(outside, protocol, VIP, SERVICE_PORT, MANY));
      t.diagnostic(`${protocol}: ${JSON.stringify(counts)} of ${MANY}, none lost`);
      assert.deepEqual(Object.keys(counts), ['a1', 'a2', 'b1'], protocol);
    }
  });
  assert.match(seen.join('\n'), new RegExp(`> ${VIP}.80: Flags .S.`), 'b2 was taken, too');
  for (const { address } of Object.values(world.nodes))
    assert.deepEqual(Object.keys(tally(ask(outside, 'tcp', address, NODE_PORT, MANY))), ['a1', 'a2', 'b1']);
});

test('an external address is announced and answered like that of a load balancer', async (t) => {
  const { leaves, outside } = world.fabric;
  const { a1, a2 } = world.nodes;
  const external = '10.224.0.9';
  world.write(bgpObject({ serviceExternalIPs: [{ cidr: `${external}/32` }] }));
  world.service('web', VIP, pods, { externalIPs: [external] });
  await to(external, leaves[0].router, [a1.address, a2.address]);
  await to(VIPS, leaves[0].router, []);
  const counts = tally(ask(outside, 'tcp', external, SERVICE_PORT, MANY));
  t.diagnostic(`tcp: ${JSON.stringify(counts)} of ${MANY}, none lost`);
  assert.deepEqual(Object.keys(counts), ['a1', 'a2', 'b1']);
  world.service('web', VIP, pods, { externalIPs: [external], ...LOCAL });
  await eventually('every pod answers who stands behind the node that is asked', () => {
    const answers = ask(outside, 'tcp', external, SERVICE_PORT, MANY);
    return answers.every(({ peer }) => peer === OUTSIDE.client);
  });
  world.service('web', VIP, pods.slice(0, 1), { externalIPs: [external], ...LOCAL });
  await to(external, leaves[0].router, [a1.address]);
  await to(external, leaves[1].router, [RACKS[1].uplink.spine]);
});
