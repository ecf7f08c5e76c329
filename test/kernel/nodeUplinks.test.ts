import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';
import { eventually } from '../../src/eventually.rig.ts';
import { AgentRig } from './agentRig.ts';
import { type TestNamespace, TestNamespaces } from './namespaces.ts';
import { seenOn } from './nodesRig.ts';
import { expose, FAMILIES, type Family, peerOf, serve, tcp, udp, VIP } from './outsideWorld.ts';

const namespaces = new TestNamespaces('tboutup');
after(() => namespaces.close());
type Pod = Awaited<ReturnType<AgentRig['pod']>>;

/** What the node is called by either leaf: an address of `lo`. */
const NODE = { 4: '192.0.2.100', 6: '2001:db8:f::100' } as const;
const HOST = { 4: '198.51.100.9', 6: '2001:db8:9::9' } as const;
const SIDES = ['a', 'b'] as const;
type Side = (typeof SIDES)[number];

const LINK = {
  a: { 4: '192.0.2', 6: '2001:db8:a:' },
  b: { 4: '192.0.3', 6: '2001:db8:b:' },
} as const;

function at(side: Side, family: Family, number: number): string {
  return family === 4 ? `${LINK[side][4]}.${number}` : `${LINK[side][6]}:${number}`;
}

function ip(where: TestNamespace, ...lines: string[]): void {
  for (const line of lines) where.run('ip', ...line.split(' '));
}

/** A device of the node towards a leaf, cabled and addressed; the leaf learns the way to the node and its pods. */
function cable(node: TestNamespace, leaf: TestNamespace, side: Side, device: string): void {
  ip(node, `link add ${device} type veth peer name down0 netns ${leaf.name}`);
  ip(
    leaf,
    `address add ${at(side, 4, 1)}/24 dev down0`,
    `address add ${at(side, 6, 1)}/64 dev down0 nodad`,
    'link set down0 up',
  );
  ip(
    node,
    `address add ${at(side, 4, 2)}/24 dev ${device}`,
    `address add ${at(side, 6, 2)}/64 dev ${device} nodad`,
  );
  ip(node, `link set ${device} up`);
  for (const family of FAMILIES) {
    for (const prefix of [NODE[family], VIP[family], family === 4 ? '10.77.0.0/24' : 'fd77::/64']) {
      ip(leaf, `route add ${prefix} via ${at(side, family, 2)}`);
    }
  }
}

function defaultBy(node: TestNamespace, devices: Partial<Record<Side, string>>): void {
  for (const family of FAMILIES) {
    const hops = SIDES.flatMap((side) => {
      const device = devices[side];
      return device === undefined ? [] : ['nexthop', 'via', at(side, family, 1), 'dev', device];
    });
    node.run('ip', `-${family}`, 'route', 'replace', 'default', ...hops);
  }
}

function programsAt(node: TestNamespace, device: string): string[] {
  return (['ingress', 'egress'] as const).flatMap(
    (direction) =>
      node
        .attempt('tc', 'filter', 'show', 'dev', device, direction)
        .stdout.match(/tb_uplink_\w+/g)
        ?.slice(0, 1) ?? [],
  );
}

describe('a node between two leaves', () => {
  let node: TestNamespace;
  let host: TestNamespace;
  let rig: AgentRig;
  let pod: Pod;
  const leaf = {} as Record<Side, TestNamespace>;

  before(async () => {
    node = namespaces.create('tboup-node');
    host = namespaces.create('tboup-host');
    ip(host, 'link set lo up', ...FAMILIES.map((family) => `address add ${HOST[family]} dev lo`));
    ip(node, 'link set lo up', ...FAMILIES.map((family) => `address add ${NODE[family]} dev lo`));
    for (const side of SIDES) {
      leaf[side] = namespaces.create(`tboup-leaf${side}`);
      leaf[side].run(
        'sysctl',
        '-qw',
        'net.ipv4.ip_forward=1',
        'net.ipv6.conf.all.forwarding=1',
        'net.ipv4.conf.default.rp_filter=0',
        'net.ipv4.conf.all.rp_filter=0',
      );
      cable(node, leaf[side], side, `up${side}`);
      ip(leaf[side], `link add out0 type veth peer name eth${side} netns ${host.name}`);
      const number = side === 'a' ? 1 : 2;
      ip(
        leaf[side],
        `address add 198.51.${number}.1/24 dev out0`,
        `address add 2001:db8:9${number}::1/64 dev out0 nodad`,
        'link set out0 up',
      );
      ip(
        host,
        `address add 198.51.${number}.2/24 dev eth${side}`,
        `address add 2001:db8:9${number}::2/64 dev eth${side} nodad`,
        `link set eth${side} up`,
      );
      ip(
        leaf[side],
        `route add ${HOST[4]} via 198.51.${number}.2`,
        `route add ${HOST[6]} via 2001:db8:9${number}::2`,
      );
    }
    node.run('sysctl', '-qw', 'net.ipv4.fib_multipath_hash_policy=1', 'net.ipv6.fib_multipath_hash_policy=1');
    defaultBy(node, { a: 'upa', b: 'upb' });
    rig = new AgentRig(
      namespaces,
      'tboup',
      { nodeIP: `${NODE[4]},${NODE[6]}`, masquerade: true, segments: ['10.77.0.0/24', 'fd77::/64'] },
      { node, leaf: leaf.a },
    );
    hear('a');
    await rig.start();
    pod = await rig.pod('pod');
    await Promise.all([host, pod.namespace].map(serve));
    await eventually(() => assert.equal(peerOf(tcp(pod.namespace, HOST[4])), NODE[4]));
  });
  after(async () => {
    await rig?.remove();
  });

  /** The host sends by this leaf, with the address that it is known by. */
  function hear(side: Side): void {
    const number = side === 'a' ? 1 : 2;
    ip(
      host,
      `route replace default via 198.51.${number}.1 src ${HOST[4]}`,
      `-6 route replace default via 2001:db8:9${number}::1 src ${HOST[6]}`,
    );
  }

  async function counted(reason: string): Promise<number> {
    const { body } = await rig.get('/metrics');
    return Number(
      new RegExp(`^tombolo_datapath_events_total\\{reason="${reason}".*\\} (\\d+)$`, 'm').exec(body)?.[1] ??
        0,
    );
  }

  /** What leaves for the host by either leaf while a pod connects so many times. */
  async function connections(family: Family, count: number): Promise<Record<Side, string[]>> {
    const sent = { a: [] as string[], b: [] as string[] };
    const toHost = (text: string) => text.includes(` > ${HOST[family]} `);
    const seenA = await seenOn(leaf.a, 'down0', async () => {
      const seenB = await seenOn(leaf.b, 'down0', () => {
        for (let n = 0; n < count; n++) assert.equal(peerOf(tcp(pod.namespace, HOST[family])), NODE[family]);
      });
      sent.b = seenB.map(({ outer }) => outer).filter(toHost);
    });
    sent.a = seenA.map(({ outer }) => outer).filter(toHost);
    return sent;
  }

  test('has programs at both, and both in what it says of itself', async () => {
    assert.deepEqual(
      SIDES.flatMap((side) => programsAt(node, `up${side}`)),
      ['tb_uplink_in', 'tb_uplink_out', 'tb_uplink_in', 'tb_uplink_out'],
    );
    const { uplink, nodeIPs } = await rig.json('/v1/status');
    assert.deepEqual({ uplink, nodeIPs }, { uplink: 'upa, upb', nodeIPs: Object.values(NODE) });
  });

  for (const family of FAMILIES) {
    test(`hides its pods by either, past its stack (IPv${family})`, async () => {
      const [stack, fast] = [await counted('stack_device'), await counted('forwarded_to_uplink')];
      const sent = await connections(family, 12);
      assert.ok(sent.a.length > 0 && sent.b.length > 0, `${sent.a.length} by a, ${sent.b.length} by b`);
      assert.deepEqual(
        [...sent.a, ...sent.b].filter((text) => !text.includes(`${NODE[family]} > `)),
        [],
      );
      assert.equal(await counted('stack_device'), stack);
      assert.ok((await counted('forwarded_to_uplink')) > fast);
    });

    test(`serves clients outside that come by either (IPv${family})`, async () => {
      expose(`${rig.directory}/store`, {
        family,
        backends: [{ pod, node: 'tboup' }],
        ingress: [VIP[family]],
      });
      for (const side of SIDES) {
        hear(side);
        await eventually(() => assert.equal(peerOf(tcp(host, VIP[family], 80)), HOST[family], `by ${side}`));
        assert.equal(peerOf(udp(host, VIP[family], 80)), HOST[family], `by ${side}`);
        assert.equal(tcp(host, VIP[family], 81), 'ECONNREFUSED', `by ${side}`);
      }
      hear('a');
    });
  }

  test('goes on by the one when the other is gone, and by both when it is back as another device', async () => {
    ip(node, 'link del upb');
    defaultBy(node, { a: 'upa' });
    await eventually(async () => assert.equal((await rig.json('/v1/status')).uplink, 'upa'));
    for (const family of FAMILIES) assert.equal(peerOf(tcp(pod.namespace, HOST[family])), NODE[family]);
    cable(node, leaf.b, 'b', 'upb2');
    defaultBy(node, { a: 'upa', b: 'upb2' });
    await eventually(() => assert.deepEqual(programsAt(node, 'upb2'), ['tb_uplink_in', 'tb_uplink_out']));
    assert.equal((await rig.json('/v1/status')).uplink, 'upa, upb2');
    const stack = await counted('stack_device');
    for (const family of FAMILIES) {
      const sent = await connections(family, 12);
      assert.ok(sent.a.length > 0 && sent.b.length > 0, `${sent.a.length} by a, ${sent.b.length} by b`);
      assert.deepEqual(
        [...sent.a, ...sent.b].filter((text) => !text.includes(`${NODE[family]} > `)),
        [],
      );
    }
    assert.equal(await counted('stack_device'), stack);
  });
});

describe('a node whose one uplink changes', () => {
  let rig: AgentRig;
  let pod: Pod;

  before(async () => {
    rig = new AgentRig(namespaces, 'tboch', { masquerade: true, segments: ['10.77.0.0/24', 'fd77::/64'] });
    rig.node.run('ip', ...'address add 2001:db8:1::2/64 dev up0 nodad'.split(' '));
    rig.node.run('ip', ...'-6 route add default via 2001:db8:1::1'.split(' '));
    ip(
      rig.leaf,
      'address add 2001:db8:1::1/64 dev down0 nodad',
      'link set lo up',
      'address add 198.51.100.9/32 dev lo',
      'address add 2001:db8:9::9/128 dev lo',
    );
    await rig.start();
    pod = await rig.pod('pod');
    await Promise.all([rig.leaf, pod.namespace].map(serve));
    await eventually(() => assert.equal(peerOf(tcp(pod.namespace, HOST[4])), '192.0.2.2'));
    assert.equal(peerOf(tcp(pod.namespace, HOST[6])), '2001:db8:1::2');
  });
  after(async () => {
    await rig?.remove();
  });

  test('takes another address for its own, where the former is gone', async () => {
    ip(
      rig.node,
      'address del 192.0.2.2/24 dev up0',
      'address add 192.0.2.7/24 dev up0',
      'route replace default via 192.0.2.1',
    );
    await eventually(() => assert.equal(peerOf(tcp(pod.namespace, HOST[4])), '192.0.2.7'));
    assert.equal(peerOf(tcp(pod.namespace, HOST[6])), '2001:db8:1::2');
    assert.deepEqual((await rig.json('/v1/status')).nodeIPs, ['192.0.2.7', '2001:db8:1::2']);
    expose(`${rig.directory}/store`, { family: 4, backends: [{ pod, node: 'tboch' }] });
    await eventually(() => assert.equal(peerOf(tcp(rig.leaf, '192.0.2.7', 30_080)), '192.0.2.1'));
    await eventually(async () => {
      const { stdout } = await rig.cli(['get', 'NodeNetwork', 'tboch', '-o', 'json']);
      assert.deepEqual(JSON.parse(stdout).status.nodeIPs, ['192.0.2.7', '2001:db8:1::2']);
    });
    ip(
      rig.node,
      'address del 192.0.2.7/24 dev up0',
      'address add 192.0.2.8/24 dev up0',
      'route replace default via 192.0.2.1',
    );
    await eventually(() => assert.equal(peerOf(tcp(rig.leaf, '192.0.2.8', 30_080)), '192.0.2.1'), 5_000);
  });

  test('has its programs back when somebody has cleared the device of all filters', async () => {
    rig.node.run('tc', 'qdisc', 'delete', 'dev', 'up0', 'clsact');
    assert.deepEqual(programsAt(rig.node, 'up0'), []);
    await eventually(
      () => assert.deepEqual(programsAt(rig.node, 'up0'), ['tb_uplink_in', 'tb_uplink_out']),
      10_000,
    );
    assert.equal(peerOf(tcp(rig.leaf, '192.0.2.8', 30_080)), '192.0.2.1');
  });

  test('gives the programs to the device that comes in place of the former', async () => {
    const pid = rig.pid;
    ip(rig.node, 'link del up0');
    ip(rig.node, `link add up0 type veth peer name down0 netns ${rig.leaf.name}`);
    ip(
      rig.leaf,
      'address add 192.0.2.1/24 dev down0',
      'address add 2001:db8:1::1/64 dev down0 nodad',
      'link set down0 up',
    );
    ip(
      rig.node,
      'address add 192.0.2.8/24 dev up0',
      'address add 2001:db8:1::2/64 dev up0 nodad',
      'link set up0 up',
    );
    ip(rig.node, 'route add default via 192.0.2.1', '-6 route add default via 2001:db8:1::1');
    await eventually(() => assert.deepEqual(programsAt(rig.node, 'up0'), ['tb_uplink_in', 'tb_uplink_out']));
    assert.equal(peerOf(tcp(pod.namespace, HOST[4])), '192.0.2.8');
    assert.equal(peerOf(tcp(pod.namespace, HOST[6])), '2001:db8:1::2');
    assert.equal(peerOf(tcp(rig.leaf, '192.0.2.8', 30_080)), '192.0.2.1');
    assert.equal(rig.pid, pid);
  });

  test('works on a bridge above the device as on the device', async () => {
    ip(
      rig.node,
      'link add br0 type bridge',
      'link set br0 up',
      'address flush dev up0',
      'link set up0 master br0',
    );
    ip(rig.node, 'address add 192.0.2.8/24 dev br0', 'address add 2001:db8:1::2/64 dev br0 nodad');
    ip(rig.node, 'route replace default via 192.0.2.1', '-6 route replace default via 2001:db8:1::1');
    await eventually(() => assert.deepEqual(programsAt(rig.node, 'br0'), ['tb_uplink_in', 'tb_uplink_out']));
    assert.deepEqual(programsAt(rig.node, 'up0'), []);
    assert.equal((await rig.json('/v1/status')).uplink, 'br0');
    assert.equal(peerOf(tcp(pod.namespace, HOST[4])), '192.0.2.8');
    assert.equal(peerOf(tcp(pod.namespace, HOST[6])), '2001:db8:1::2');
    assert.equal(peerOf(tcp(rig.leaf, '192.0.2.8', 30_080)), '192.0.2.1');
  });
});

describe('a node that is told an address which comes later', () => {
  let rig: AgentRig;
  const problems = async (): Promise<string[]> => (await rig.json('/v1/status')).problems;
  const missing = async () =>
    /^tombolo_node_addresses_missing (\d+)$/m.exec((await rig.get('/metrics')).body)?.[1];

  before(async () => {
    rig = new AgentRig(namespaces, 'tbola', { nodeIP: '192.0.2.77' });
    await rig.start();
  });
  after(async () => {
    await rig?.remove();
  });

  test('starts, and says of the address that no device has it', async () => {
    const [problem = ''] = await problems();
    assert.match(problem, /^no device of the node has 192\.0\.2\.77, which nodeIP says/);
    assert.equal(await missing(), '1');
    assert.equal(rig.log.filter((line) => line.includes('no device of the node has 192.0.2.77')).length, 1);
    assert.match((await rig.cli(['status'])).stdout, /Problems +no device of the node has 192\.0\.2\.77/);
  });

  test('says so no more when any device has it, as VRRP gives it to one, and again when it is gone', async () => {
    ip(
      rig.node,
      'link add vrrp0 link up0 type macvlan mode bridge',
      'address add 192.0.2.77/32 dev vrrp0',
      'link set vrrp0 up',
    );
    await eventually(async () => assert.deepEqual(await problems(), []), 5_000);
    assert.equal(await missing(), '0');
    ip(rig.node, 'link del vrrp0');
    await eventually(async () => assert.equal((await problems()).length, 1), 5_000);
  });
});
