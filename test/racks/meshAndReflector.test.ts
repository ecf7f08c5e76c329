import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import type { Explanation } from '../../src/bgp/rib/explain.ts';
import type { SpeakerStatus } from '../../src/bgp/speaker/status.ts';
import { eventually } from '../interop/waiting.ts';
import { bgpObject } from './cluster.ts';
import { nextHopsOf } from './fabric.ts';
import { leafAddress } from './plan.ts';
import { echo, lossOf, Stream } from './stream.ts';
import { NODES, type NodeName, type Pod, World } from './world.ts';

/** One AS for all nodes, and one for each leaf: of what comes from the other rack a leaf says nothing to them. */
const ASN = 64512;
/** Sessions outlive their arrangement by 15 s. */
const LINGER_MS = 30_000;

let world: World;
const pods = {} as Record<NodeName, Pod>;
before(async () => {
  world = new World('racksmesh', { leaf: { nodesAsn: ASN } });
  world.write(bgpObject({ nodeToNodeMeshEnabled: true }));
  await world.begin();
  for (const name of NODES) await world.announced(name);
  for (const name of NODES) pods[name] = await world.pod(name, 'web');
  for (const name of ['a2', 'b1'] as const) await echo(pods[name].namespace);
});
after(() => world.close());

function others(name: NodeName): NodeName[] {
  return NODES.filter((other) => other !== name);
}

/** Whom a node has a session with: `leaf`, and nodes by their names. */
async function sessions(name: NodeName): Promise<string> {
  const { neighbours }: SpeakerStatus = await world.nodes[name].rig.json('/v1/bgp/neighbors');
  const words = neighbours.map(({ name, state }) => {
    const short = name.replace('node ', '');
    return state === 'Established' ? short : `(${short})`;
  });
  return words.sort().join();
}

/** Makes a node a reflector of this cluster identifier, or no reflector. */
function reflector(name: NodeName, clusterId?: string): void {
  world.label(name, 'network.tombolo.dev/route-reflector', clusterId);
}

/** By whom, and with which clusters on its way, `here` has the best path to the segment of `there`. */
async function wayOf(here: NodeName, there: NodeName): Promise<string> {
  const [segment] = await world.segments(there);
  const { paths }: Explanation = await world.nodes[here].rig.json(`/v1/bgp/explain?prefix=${segment}`);
  const best = paths.find(({ verdict }) => verdict === 'best');
  return `${best?.peer} ${best?.attributes.clusterList?.join() ?? ''}`.replace('node ', '').trim();
}

async function assertReachable(): Promise<void> {
  for (const here of NODES) {
    const { namespace, leaf } = world.nodes[here];
    for (const there of others(here)) {
      const { address, leaf: its } = world.nodes[there];
      const hop = its === leaf ? address : leafAddress(leaf.rack);
      for (const segment of await world.segments(there))
        assert.deepEqual(nextHopsOf(namespace, segment, '111'), [hop], `${there} on ${here}`);
      assert.equal(pods[here].namespace.pings(pods[there].address), true, `${here} to ${there}`);
    }
  }
}

test('in a mesh every node has a session with every other one and its leaf, and reaches its pods by the neighbour or the leaf', async () => {
  for (const name of NODES) {
    const all = [...others(name), 'leaf'].sort().join();
    await eventually(`the sessions of ${name}`, async () => (await sessions(name)) === all);
  }
  for (const name of others('a1')) assert.equal(await wayOf('a1', name), name, 'each speaks for itself');
  await assertReachable();
});

test('reflectors follow a label, and with them sessions and cluster identifiers, while packets go on', async (t) => {
  const streams = [
    await Stream.start(pods.a1.namespace, pods.a2.address),
    await Stream.start(pods.b2.namespace, pods.b1.address),
    await Stream.start(pods.a1.namespace, pods.b1.address),
  ];
  reflector('a1', '1.0.0.1');
  for (const name of others('a1'))
    await eventually(`${name} is a client`, async () => (await sessions(name)) === 'a1,leaf', LINGER_MS);
  assert.equal(await sessions('a1'), 'a2,b1,b2,leaf');
  assert.equal(await wayOf('a2', 'b2'), 'a1 1.0.0.1');
  await assertReachable();

  reflector('a1', '1.0.0.2');
  await eventually('another cluster', async () => (await wayOf('a2', 'b2')) === 'a1 1.0.0.2');

  reflector('b2', '2.0.0.1');
  reflector('a1');
  for (const name of others('b2'))
    await eventually(`${name} has changed over`, async () => (await sessions(name)) === 'b2,leaf', LINGER_MS);
  assert.equal(await sessions('b2'), 'a1,a2,b1,leaf');
  assert.equal(await wayOf('a1', 'b1'), 'b2 2.0.0.1');
  await assertReachable();
  for (const stream of streams) {
    const report = await stream.stop();
    t.diagnostic(lossOf(report));
    assert.equal(report.lost.length, 0);
  }
});
