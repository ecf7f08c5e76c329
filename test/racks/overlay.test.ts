import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { eventually } from '../interop/waiting.ts';
import { Capture } from './capture.ts';
import { nextHopsOf } from './fabric.ts';
import { type Pod, World } from './world.ts';

const OVERLAY: readonly string[] = ['a1', 'b1'];

let world: World;
const pods: Record<string, Pod> = {};
before(async () => {
  world = new World('racksoverlay', {
    config: (name) => (OVERLAY.includes(name) ? { routing: 'overlay' } : {}),
  });
  await world.begin();
  for (const name of ['a1', 'a2', 'b1', 'b2'] as const) pods[name] = await world.pod(name, 'web');
});
after(() => world.close());

function pod(name: string): Pod {
  const found = pods[name];
  assert.ok(found);
  return found;
}

test('pods of overlay nodes meet in a tunnel between the nodes, and the switches see the nodes only', async () => {
  const [from, to] = [pod('a1'), pod('b1')];
  await eventually('they meet', () => from.namespace.pings(to.address));
  const { namespace } = world.fabric.spine.router;
  const capture = await Capture.start(namespace, 'any', 'udp port 8472 or udp port 4789 or icmp');
  assert.ok(from.namespace.pings(to.address));
  // What is inside stands on lines of its own.
  const seen = (await capture.stop()).filter((line) => / (In|Out) /.test(line));
  assert.ok(seen.length > 0);
  for (const line of seen) assert.match(line, /10\.220\.[12]\.11\.\d+ > 10\.220\.[12]\.11\.(8472|4789)/);
});

test('no switch knows a segment of an overlay node', async () => {
  for (const segment of [...(await world.segments('a1')), ...(await world.segments('b1'))]) {
    assert.deepEqual(nextHopsOf(world.fabric.spine.router.namespace, segment), []);
  }
});

test('overlay and underlay nodes of one cluster reach each other without NAT', async () => {
  for (const [one, other] of [
    ['a1', 'a2'],
    ['a1', 'b2'],
    ['b2', 'a1'],
    ['a2', 'b2'],
    ['b1', 'a2'],
  ] as const) {
    const [from, to] = [pod(one), pod(other)];
    await eventually(`${one} to ${other}`, () => from.namespace.pings(to.address));
    const capture = await Capture.start(to.namespace, 'eth0', 'icmp');
    assert.ok(from.namespace.pings(to.address), `${one} to ${other}`);
    const seen = await capture.stop();
    assert.ok(
      seen.some((line) => line.includes(`${from.address} > ${to.address}: ICMP echo request`)),
      seen.join('\n'),
    );
  }
});
