import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { Frr } from '../interop/frr.ts';
import { eventually } from '../interop/waiting.ts';
import { portOf } from './fabric.ts';
import { echo, Stream } from './stream.ts';
import { type Pod, World } from './world.ts';

let world: World;
let client: Pod;
let server: Pod;
let otherClient: Pod;
let otherServer: Pod;
before(async () => {
  world = await World.start('racksfail', { leaf: { patient: true } });
  [client, server] = [await world.pod('a1', 'client'), await world.pod('b1', 'server')];
  [otherClient, otherServer] = [await world.pod('a2', 'client'), await world.pod('b2', 'server')];
  for (const { namespace } of [server, otherServer]) await echo(namespace);
});
after(() => world.close());

const ours = () => world.nodes.b1.namespace.run('ip', 'route', 'show', 'proto', '111');

test('an agent that is killed and comes back costs no packet and no route', async () => {
  const { rig } = world.nodes.b1;
  const before = ours();
  const stream = await Stream.start(client.namespace, server.address);
  await rig.end('SIGKILL');
  await sleep(1500);
  assert.equal(ours(), before, 'while no agent runs');
  await rig.start();
  await world.established('b1');
  await sleep(1500);
  assert.equal(ours(), before, 'when it is back');
  const { sent, lost } = await stream.stop();
  assert.ok(sent > 500, `${sent} datagrams were sent`);
  assert.deepEqual(lost, []);
});

test('a leaf whose BGP is killed and comes back costs its rack nothing, and leads the others back to it', async () => {
  const { speaker } = world.nodes.b1.leaf;
  assert.ok(speaker instanceof Frr);
  const before = ours();
  const across = await Stream.start(client.namespace, server.address);
  const within = await Stream.start(otherServer.namespace, server.address);
  await speaker.daemon.kill();
  await sleep(1500);
  assert.equal(ours(), before, 'while the leaf is silent');
  speaker.restart();
  await Promise.all([world.established('b1'), world.established('b2')]);
  // Until it speaks again, and longer.
  await sleep(12_000);
  assert.deepEqual((await within.stop()).lost, [], 'in the rack');
  // FRR does not know the addresses of dynamic neighbours, and therefore not for whom to wait before it speaks to the spine:
  // how long the spine has no way is the leaf's doing.
  const { lost, sent } = await across.stop();
  assert.ok(lost.length < sent / 2, `${lost.length} of ${sent} lost`);
  assert.ok(client.namespace.pings(server.address));
});

test('a link that goes down takes nobody else along, and serves again when it is up', async () => {
  const { router } = world.nodes.b1.leaf;
  const hit = await Stream.start(client.namespace, server.address);
  const spared = await Stream.start(otherClient.namespace, otherServer.address);
  router.namespace.run('ip', 'link', 'set', portOf(1), 'down');
  await sleep(2000);
  router.namespace.run('ip', 'link', 'set', portOf(1), 'up');
  await eventually('the pod behind the link', () => client.namespace.pings(server.address));
  await world.established('b1');
  assert.deepEqual((await spared.stop()).lost, [], 'of the others');
  const { lost, sent } = await hit.stop();
  assert.ok(lost.length > 0 && lost.length < sent, 'only what was sent meanwhile');
});

test('a node that is gone, and comes back, takes nobody else along', async () => {
  const { rig, leaf, name } = world.nodes.b1;
  const spared = await Stream.start(otherClient.namespace, otherServer.address);
  leaf.router.namespace.run('ip', 'link', 'set', portOf(1), 'down');
  await rig.end('SIGKILL');
  await sleep(2000);
  assert.ok(!client.namespace.pings(server.address), 'its pod is gone, too');
  leaf.router.namespace.run('ip', 'link', 'set', portOf(1), 'up');
  await rig.start();
  await world.established(name);
  await world.announced(name);
  await eventually('its pod', () => client.namespace.pings(server.address));
  assert.deepEqual((await spared.stop()).lost, []);
});
