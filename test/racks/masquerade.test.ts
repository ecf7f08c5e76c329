import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { eventually } from '../interop/waiting.ts';
import { Capture } from './capture.ts';
import { leafAddress, nodeAddress6, OUTSIDE, OUTSIDE6, RACKS } from './plan.ts';
import { ask, serve, TARGET_PORT } from './web.ts';
import { type Pod, World } from './world.ts';

let world: World;
/** Behind its node. */
let hidden: Pod;
/** Out of rack b's pool, which keeps its addresses. */
let open: Pod;
before(async () => {
  world = await World.start('racksmasq', {
    dualStack: true,
    config: () => ({ masquerade: true }),
    pools: ({ name }) => (name === 'b' ? { natOutgoing: false } : {}),
  });
  [hidden, open] = [await world.pod('a1', 'client'), await world.pod('b1', 'client')];
  await serve(world.fabric.outside, 'outside');
  await serve(open.namespace, 'b1');
  const known = () => ask(hidden.namespace, 'tcp', OUTSIDE.client, TARGET_PORT)[0]?.peer;
  await eventually('the node hides its pod', () => known() === hidden.node.address);
});
after(() => world.close());

/** What the spine sees of a pod that talks to the outside or to another pod. */
async function onTheSpine(from: Pod, to: string): Promise<{ peers: string[]; lines: string[] }> {
  const capture = await Capture.start(world.fabric.spine.router.namespace, 'any', `port ${TARGET_PORT}`);
  const protocols = ['tcp', 'udp'] as const;
  const answers = protocols.flatMap((protocol) => ask(from.namespace, protocol, to, TARGET_PORT, 8));
  return { peers: [...new Set(answers.map(({ peer }) => peer))], lines: await capture.stop() };
}

test("a pod's word to the outside carries the address of its node, and no switch sees the pod's", async () => {
  const { peers, lines } = await onTheSpine(hidden, OUTSIDE.client);
  assert.deepEqual(peers, [hidden.node.address]);
  assert.match(
    lines.join('\n'),
    new RegExp(`${hidden.node.address}\\.\\d+ > ${OUTSIDE.client}.${TARGET_PORT}`),
  );
  assert.equal(lines.join('\n').includes(`${hidden.address}.`), false);
});

test('a pod out of a pool with `natOutgoing: false` keeps its address', async () => {
  const { peers, lines } = await onTheSpine(open, OUTSIDE.client);
  assert.deepEqual(peers, [open.address]);
  assert.match(lines.join('\n'), new RegExp(`${open.address}\\.\\d+ > ${OUTSIDE.client}.${TARGET_PORT}`));
  assert.equal(lines.join('\n').includes(`${open.node.address}.`), false);
});

const [rackA] = RACKS;
const six = ({ addresses }: Pod) => addresses.find((address) => address.includes(':')) ?? '';

test('of IPv6 it carries the address that the node has of that', async () => {
  const { peers, lines } = await onTheSpine(hidden, OUTSIDE6.client);
  const own = nodeAddress6(rackA, 1);
  assert.deepEqual(peers, [own]);
  assert.match(lines.join('\n'), new RegExp(`${own}\\.\\d+ > ${OUTSIDE6.client}.${TARGET_PORT}`));
  assert.equal(lines.join('\n').includes(`${six(hidden)}.`), false);
  assert.deepEqual(
    (await onTheSpine(open, OUTSIDE6.client)).peers,
    [six(open)],
    'and keeps it where the pool says so',
  );
  assert.deepEqual((await onTheSpine(hidden, six(open))).peers, [six(hidden)], 'and inside the cluster');
});

test("a pod with a device of its own is the network's, and the node has no part in what it says", async () => {
  const address = `${rackA.lan}.99`;
  const own = await world.pod('a1', 'nic', {
    attachment: 'nic',
    master: 'up0',
    kind: 'macvlan',
    ipam: { type: 'static', addresses: [{ address: `${address}/24`, gateway: leafAddress(rackA) }] },
  });
  const { rig } = world.nodes.a1;
  const hiddenFlows = async () => /reason="masqueraded"\S* (\d+)/.exec((await rig.get('/metrics')).body)?.[1];
  const before = await hiddenFlows();
  assert.equal(Number(before) > 0, true, 'those of others are');
  const { peers, lines } = await onTheSpine(own, OUTSIDE.client);
  assert.deepEqual(peers, [address]);
  assert.match(lines.join('\n'), new RegExp(`${address}\\.\\d+ > ${OUTSIDE.client}.${TARGET_PORT}`));
  assert.equal(lines.join('\n').includes(`${own.node.address}.`), false);
  assert.equal(await hiddenFlows(), before, 'nothing was hidden');
  assert.deepEqual((await onTheSpine(own, open.address)).peers, [address], 'nor on the way to a pod');
});

test('what stays in the cluster keeps its address, from rack to rack', async () => {
  const { peers, lines } = await onTheSpine(hidden, open.address);
  assert.deepEqual(peers, [hidden.address]);
  assert.equal(lines.join('\n').includes(`${hidden.node.address}.`), false);
});

test('a pod behind its node is told when a port of the outside is closed', () => {
  assert.throws(() => ask(hidden.namespace, 'udp', OUTSIDE.client, 9), /ECONNREFUSED/);
  assert.throws(() => ask(hidden.namespace, 'tcp', OUTSIDE.client, 9), /ECONNREFUSED/);
});
