import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { eventually } from '../interop/waiting.ts';
import { Capture } from './capture.ts';
import { type Connection, Connections } from './connections.ts';
import { nextHopsOf, portOf } from './fabric.ts';
import { RACKS, SERVICE_PORT, VIPS } from './plan.ts';
import { ask, serve } from './web.ts';
import { type NodeName, type Pod, World } from './world.ts';

const VIP = '10.222.0.7';
/** So many that none of four nodes is left out, but for once in a hundred thousand runs. */
const COUNT = 48;
/** Of the session between leaf and node: so long may a leaf believe in a node that is gone. */
const HOLD_MS = 9000;

let world: World;
let pods: Pod[];
before(async () => {
  world = await World.start('racksvipfail');
  pods = [];
  for (const node of ['a1', 'a2', 'b1'] as const) pods.push(await world.pod(node, 'web'));
  await Promise.all(pods.map(({ namespace, node }) => serve(namespace, node.name)));
});
after(() => world.close());

const leafA = () => world.fabric.leaves[0].router.namespace;

/** Connections to the service, and by which node each of them comes in. */
async function connect(): Promise<{
  connections: Connections;
  by: (one: Connection) => NodeName | undefined;
}> {
  const first = `dst host ${VIP} and tcp[tcpflags] == tcp-syn`;
  const names = Object.keys(world.nodes) as NodeName[];
  const captures = await Promise.all(
    names.map(async (name) => {
      const { leaf } = world.nodes[name];
      const capture = await Capture.start(leaf.router.namespace, portOf(Number(name.slice(1))), first);
      return [name, capture] as const;
    }),
  );
  const connections = new Connections(world.fabric.outside, VIP, SERVICE_PORT, COUNT);
  const answered = async () => (await connections.look()).every(({ answers }) => answers > 0);
  await eventually('all are answered', answered);
  const entries = new Map<number, NodeName>();
  for (const [name, capture] of captures) {
    for (const line of await capture.stop()) {
      const [, port] = /\.(\d+) > /.exec(line) ?? [];
      entries.set(Number(port), name);
    }
  }
  return { connections, by: ({ port }) => entries.get(port) };
}

/** What the nodes announce for the service: with policy Local its address, with policy Cluster, which all can serve, its range. */
type Announced = typeof VIP | typeof VIPS;

/** Pulls the cable of a node and ends its agent, and waits until its leaf has forgotten it. */
async function lose(name: 'a1' | 'a2', left: NodeName, announced: Announced): Promise<void> {
  const { rig, leaf } = world.nodes[name];
  leaf.router.namespace.run('ip', 'link', 'set', portOf(Number(name.slice(1))), 'down');
  await rig.end('SIGKILL');
  await waysOf(announced, left);
}

async function bringBack(name: 'a1' | 'a2', announced: Announced): Promise<void> {
  const { rig, leaf } = world.nodes[name];
  leaf.router.namespace.run('ip', 'link', 'set', portOf(Number(name.slice(1))), 'up');
  await rig.start();
  await waysOf(announced, 'a1', 'a2');
}

const waysOf = (announced: Announced, ...names: NodeName[]) =>
  eventually(
    `leaf-a leads to ${names}`,
    () => nextHopsOf(leafA(), announced).join() === names.map((name) => world.nodes[name].address).join(),
    HOLD_MS + 30_000,
  );

function summary(list: readonly Connection[]): string {
  const longest = Math.max(0, ...list.map(({ longest }) => longest));
  const ended = list.filter(({ end }) => end !== '').length;
  return `${ended} of ${list.length} ended, the longest pause was ${longest} ms`;
}

test('a node that is gone takes along the connections to its own pods, and no other (policy Local)', async (t) => {
  world.service('web', VIP, pods, { externalTrafficPolicy: 'Local' });
  await waysOf(VIP, 'a1', 'a2');
  const { spine } = world.fabric;
  await eventually('both racks', () => nextHopsOf(spine.router.namespace, VIP).length === RACKS.length);
  const { connections, by } = await connect();
  await lose('a1', 'a2', VIP);
  const all = await connections.stop();
  const others = all.filter((one) => by(one) !== 'a1');
  t.diagnostic(`by other nodes: ${summary(others)}`);
  t.diagnostic(`by the one that is gone: ${summary(all.filter((one) => by(one) === 'a1'))}`);
  assert.deepEqual(new Set(others.map(by)), new Set(['a2', 'b1']));
  const ended = others.filter(({ end }) => end !== '');
  assert.deepEqual(ended, []);
  await bringBack('a1', VIP);
});

test('a node that is gone takes along no connection to the pods of others, nor does its return (policy Cluster)', async (t) => {
  const far = [pods[2], await world.pod('b2', 'web')].flatMap((pod) => pod ?? []);
  await Promise.all(far.slice(1).map(({ namespace, node }) => serve(namespace, node.name)));
  world.service('web', VIP, far, { externalTrafficPolicy: 'Cluster' });
  await waysOf(VIPS, 'a1', 'a2');
  await eventually('both pods serve, and no other', async () => {
    const answers = await ask(world.fabric.outside, 'tcp', VIP, SERVICE_PORT, COUNT);
    return [...new Set(answers.map(({ by }) => by))].sort().join() === 'b1,b2';
  });
  const { connections, by } = await connect();
  const go = async (what: string) => {
    const before = await connections.look();
    await eventually(`all connections go on ${what}`, async () =>
      (await connections.look()).every(({ answers }, index) => answers > (before[index]?.answers ?? 0)),
    );
  };
  await lose('a2', 'a1', VIPS);
  await go('by the other nodes');
  await bringBack('a2', VIPS);
  await go('by all nodes again');
  const all = await connections.stop();
  t.diagnostic(`by other nodes: ${summary(all.filter((one) => by(one) !== 'a2'))}`);
  t.diagnostic(`by the one that was gone: ${summary(all.filter((one) => by(one) === 'a2'))}`);
  assert.deepEqual(
    all.filter(({ end }) => end !== ''),
    [],
  );
  assert.equal(
    all.some((one) => by(one) === 'a2'),
    true,
  );
});
