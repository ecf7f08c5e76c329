import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { eventually } from '../interop/waiting.ts';
import { Capture } from './capture.ts';
import { type Connection, Connections } from './connections.ts';
import { nextHopsOf, portOf } from './fabric.ts';
import { RACKS, SERVICE_PORT } from './plan.ts';
import { serve } from './web.ts';
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

/** Pulls the cable of a node and ends its agent, and waits until its leaf has forgotten it. */
async function lose(name: 'a1' | 'a2', left: NodeName): Promise<void> {
  const { rig, leaf } = world.nodes[name];
  leaf.router.namespace.run('ip', 'link', 'set', portOf(Number(name.slice(1))), 'down');
  await rig.end('SIGKILL');
  await waysOf(left);
}

async function bringBack(name: 'a1' | 'a2'): Promise<void> {
  const { rig, leaf } = world.nodes[name];
  leaf.router.namespace.run('ip', 'link', 'set', portOf(Number(name.slice(1))), 'up');
  await rig.start();
  await waysOf('a1', 'a2');
}

const waysOf = (...names: NodeName[]) =>
  eventually(
    `leaf-a leads to ${names}`,
    () => nextHopsOf(leafA(), VIP).join() === names.map((name) => world.nodes[name].address).join(),
    HOLD_MS + 30_000,
  );

function summary(list: readonly Connection[]): string {
  const longest = Math.max(0, ...list.map(({ longest }) => longest));
  const ended = list.filter(({ end }) => end !== '').length;
  return `${ended} of ${list.length} ended, the longest pause was ${longest} ms`;
}

test('a node that is gone takes along the connections to its own pods, and no other (policy Local)', async (t) => {
  world.service('web', VIP, pods, { externalTrafficPolicy: 'Local' });
  await waysOf('a1', 'a2');
  const { spine } = world.fabric;
  await eventually('both racks', () => nextHopsOf(spine.router.namespace, VIP).length === RACKS.length);
  const { connections, by } = await connect();
  await lose('a1', 'a2');
  const all = await connections.stop();
  const others = all.filter((one) => by(one) !== 'a1');
  t.diagnostic(`by other nodes: ${summary(others)}`);
  t.diagnostic(`by the one that is gone: ${summary(all.filter((one) => by(one) === 'a1'))}`);
  assert.deepEqual(new Set(others.map(by)), new Set(['a2', 'b1']));
  const ended = others.filter(({ end }) => end !== '');
  assert.deepEqual(ended, []);
  await bringBack('a1');
});
