import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { Frr } from '../interop/frr.ts';
import { eventually } from '../interop/waiting.ts';
import { nextHopsOf, portOf } from './fabric.ts';
import { echo, lossOf, Stream } from './stream.ts';
import { type Pod, World } from './world.ts';

/** Of the sessions between leaf and node, and leaf and spine. */
const HOLD_MS = 9000;
/** A leaf says what it knows three seconds after a session has come up, and End-of-RIB then. */
const SETTLED_MS = 5000;

let world: World;
let client: Pod;
let server: Pod;
let otherClient: Pod;
let otherServer: Pod;
before(async () => {
  world = await World.start('racksfail');
  [client, server] = [await world.pod('a1', 'client'), await world.pod('b1', 'server')];
  [otherClient, otherServer] = [await world.pod('a2', 'client'), await world.pod('b2', 'server')];
  for (const { namespace } of [server, otherServer]) await echo(namespace);
});
after(() => world.close());

const ours = () => world.nodes.b1.namespace.run('ip', 'route', 'show', 'proto', '111');

test('an agent that is killed and comes back costs no packet and no route', async (t) => {
  const { rig } = world.nodes.b1;
  const before = ours();
  const stream = await Stream.start(client.namespace, server.address);
  await rig.end('SIGKILL');
  await sleep(1500);
  assert.equal(ours(), before, 'while no agent runs');
  await rig.start();
  await world.established('b1');
  await sleep(SETTLED_MS);
  assert.equal(ours(), before, 'when it is back');
  const report = await stream.stop();
  t.diagnostic(lossOf(report));
  assert.equal(report.sent > 500, true, `${report.sent} datagrams were sent`);
  assert.equal(report.lost.length, 0);
});

test('a leaf whose BGP is killed and comes back costs its rack nothing, and leads the others back to it', async (t) => {
  const { speaker } = world.nodes.b1.leaf;
  assert.equal(speaker instanceof Frr, true);
  const before = ours();
  const across = await Stream.start(client.namespace, server.address);
  const within = await Stream.start(otherServer.namespace, server.address);
  await speaker.daemon.kill();
  await sleep(1500);
  assert.equal(ours(), before, 'while the leaf is silent');
  (speaker as Frr).restart();
  await Promise.all([world.established('b1'), world.established('b2')]);
  await eventually('the way from the other rack', () => client.namespace.pings(server.address));
  await sleep(SETTLED_MS);
  const [rack, other] = [await within.stop(), await across.stop()];
  t.diagnostic(`in the rack: ${lossOf(rack)}`);
  t.diagnostic(`to the other rack: ${lossOf(other)}`);
  assert.equal(rack.lost.length, 0, 'in the rack');
  // FRR removes what it had in the kernel at the first End-of-RIB it hears: docs/leaf.md. Until then, and once all are back, all is well.
  assert.equal(other.longestGap < HOLD_MS, true, `${other.longestGap} ms`);
});

test('a link that goes down takes nobody else along, and serves again when it is up', async (t) => {
  const { router } = world.nodes.b1.leaf;
  const hit = await Stream.start(client.namespace, server.address);
  const spared = await Stream.start(otherClient.namespace, otherServer.address);
  router.namespace.run('ip', 'link', 'set', portOf(1), 'down');
  await sleep(2000);
  router.namespace.run('ip', 'link', 'set', portOf(1), 'up');
  await eventually('the pod behind the link', () => client.namespace.pings(server.address));
  await world.established('b1');
  const [others, own] = [await spared.stop(), await hit.stop()];
  t.diagnostic(`by other links: ${lossOf(others)}`);
  t.diagnostic(`by the link, down for 2 s: ${lossOf(own)}`);
  assert.equal(others.lost.length, 0);
  assert.equal(own.lost.length > 0 && own.lost.length < own.sent, true, 'only what was sent meanwhile');
});

test('a node that is gone, and comes back, takes nobody else along', async (t) => {
  const { rig, leaf, name } = world.nodes.b1;
  const { spine } = world.fabric;
  const spared = await Stream.start(otherClient.namespace, otherServer.address);
  const begin = Date.now();
  leaf.router.namespace.run('ip', 'link', 'set', portOf(1), 'down');
  await rig.end('SIGKILL');
  const segments = await world.assigned(name);
  const known = () => segments.some(({ cidr }) => nextHopsOf(spine.router.namespace, cidr).length > 0);
  await eventually('it is forgotten', () => !known(), HOLD_MS + 10_000);
  const forgotten = Date.now() - begin;
  leaf.router.namespace.run('ip', 'link', 'set', portOf(1), 'up');
  await rig.start();
  await world.established(name);
  await world.announced(name);
  await eventually('its pod', () => client.namespace.pings(server.address));
  const report = await spared.stop();
  t.diagnostic(`of others: ${lossOf(report)}; forgotten by the spine after ${forgotten} ms`);
  assert.equal(report.lost.length, 0);
});
