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
    dualStack: true,
    config: (name) => (OVERLAY.includes(name) ? { routing: 'overlay' } : {}),
  });
  await world.begin();
  for (const name of ['a1', 'a2', 'b1', 'b2'] as const) pods[name] = await world.pod(name, 'web');
});
after(() => world.close());

const isIPv6 = (text: string) => text.includes(':');

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

test('what is inside may be IPv6, between the same ends', async () => {
  const [from, to] = [pod('a1'), pod('b1')];
  const [source, inside] = [from, to].map(({ addresses }) => addresses.find(isIPv6) ?? '') as [
    string,
    string,
  ];
  await eventually('they meet', () => from.namespace.pings(inside));
  const wire = await Capture.start(world.fabric.spine.router.namespace, 'any', 'udp port 8472 or icmp6');
  const pods = await Capture.start(to.namespace, 'eth0', 'icmp6 and ip6[40] == 128');
  assert.equal(from.namespace.pings(inside), true);
  const request = `${source} > ${inside}: ICMP6, echo request`;
  assert.match((await pods.stop()).join('\n'), new RegExp(request), 'the pod sees the pod');
  const seen = (await wire.stop()).join('\n');
  assert.match(seen, new RegExp(request), 'inside');
  const outside = seen.split('\n').filter((line) => / (In|Out) /.test(line));
  assert.equal(outside.length > 0, true);
  for (const line of outside) assert.match(line, /10\.220\.[12]\.11\.\d+ > 10\.220\.[12]\.11\.8472/);
});

test("a node reaches a remote pod through the tunnel by its own overlay address, of either family, and pods' routes leave it room", async () => {
  const { namespace } = world.nodes.a1;
  const to = pod('b1');
  for (const address of to.addresses) {
    await eventually('it is reached', () => namespace.pings(address));
    const capture = await Capture.start(to.namespace, 'eth0', isIPv6(address) ? 'icmp6' : 'icmp');
    assert.equal(namespace.pings(address), true);
    const [, source = ''] =
      / ([0-9a-f.:]+) > [0-9a-f.:]+: ICMP6?,? echo request/.exec((await capture.stop()).join('\n')) ?? [];
    const family = isIPv6(address) ? 'inet6' : 'inet';
    const own: { addr_info: { family?: string; local: string }[] }[] = namespace.ip(
      'address show tbvxlan scope global',
    );
    const addresses = own.flatMap(({ addr_info }) => addr_info.filter((one) => one.family === family));
    assert.deepEqual(
      [source],
      addresses.map(({ local }) => local),
    );
  }
  const [{ mtu }] = namespace.ip('link show up0');
  assert.deepEqual(
    to.namespace.ip('link show eth0').map((one: { mtu: number }) => one.mtu),
    [mtu - 50],
  );
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
    const capture = await Capture.start(to.namespace, 'eth0', 'icmp or (icmp6 and ip6[40] == 128)');
    for (const address of to.addresses)
      await eventually(`${one} to ${other}`, () => from.namespace.pings(address));
    const seen = (await capture.stop()).join('\n');
    from.addresses.forEach((source, index) => {
      assert.match(seen, new RegExp(`${source} > ${to.addresses[index]}: ICMP6?,? echo request`));
    });
  }
});
