import assert from 'node:assert/strict';
import { existsSync, readdirSync } from 'node:fs';
import { join } from 'node:path';
import { after, test } from 'node:test';
import { attachmentId } from '../../src/attach/attachment.ts';
import { noPrograms } from '../../src/attach/podPrograms.ts';
import { route, snapshot, specFor, TestNode } from './attachRig.ts';
import { TestNamespaces } from './namespaces.ts';

const namespaces = new TestNamespaces('attachveth');
after(() => namespaces.close());

const DUAL = ['10.1.0.2/24', 'fd01::2/64'];

test('pods reach each other, the node and the fabric, in both families and both directions', async (t) => {
  const node = new TestNode(namespaces, 'reach', t);
  node.fabric.run('sh', '-ec', 'ip route add 10.1.0.0/24 via 10.0.0.1; ip route add fd01::/64 via fd00::1');
  const [one, two] = [node.pod(), node.pod()];
  node.attach(specFor(one, DUAL));
  node.attach(specFor(two, ['10.1.0.3/24', 'fd01::3/64']));
  for (const [from, to] of [
    [node.at, '10.1.0.2'],
    [node.at, 'fd01::2'],
    [one, '10.0.0.1'],
    [one, 'fd00::1'],
    [one, '10.1.0.3'],
    [two, 'fd01::2'],
    [one, '10.0.0.254'],
    [two, 'fd00::fe'],
    [node.fabric, '10.1.0.3'],
    [node.fabric, 'fd01::2'],
  ] as const) {
    assert.ok(from.pings(to), `${from.name} to ${to}`);
  }
});

test('the pod looks as the contract says', (t) => {
  const node = new TestNode(namespaces, 'look', t);
  const pod = node.pod();
  node.at.run('ip', 'link', 'set', 'uplink', 'mtu', '1450');
  const spec = specFor(pod, DUAL, { kind: 'veth' }, { routes: [route('10.7.0.0/16')] });
  const attached = node.attach(spec);
  const id = attachmentId(spec.containerId, 'eth0');
  assert.equal(attached.host?.name, `tbo${id}`);
  const [eth0] = pod.ip('addr show eth0');
  const addresses = eth0.addr_info.filter(({ scope }: { scope: string }) => scope === 'global');
  assert.deepEqual(
    addresses.map(({ local, prefixlen }: { local: string; prefixlen: number }) => `${local}/${prefixlen}`),
    ['10.1.0.2/32', 'fd01::2/128'],
  );
  assert.deepEqual([eth0.mtu, attached.pod.mtu, eth0.address], [1450, 1450, attached.pod.mac]);
  const ways = (family: string) =>
    pod
      .ip(`${family} route`)
      .filter(({ gateway }) => gateway)
      .map((way) => [way.dst, way.gateway, way.protocol]);
  assert.deepEqual(ways('-4'), [
    ['default', '169.254.1.1', '111'],
    ['10.7.0.0/16', '169.254.1.1', '111'],
  ]);
  assert.deepEqual(ways('-6'), [['default', 'fe80::1', '111']]);
  const known = pod.ip('neigh show nud permanent dev eth0').map(({ dst, lladdr }) => `${dst} ${lladdr}`);
  assert.deepEqual(known.sort(), [`169.254.1.1 ${attached.host?.mac}`, `fe80::1 ${attached.host?.mac}`]);
  const host = `tbo${id}`;
  assert.deepEqual(
    [...node.at.ip('route show proto 111'), ...node.at.ip('-6 route show proto 111')].map(({ dst, dev }) => [
      dst,
      dev,
    ]),
    [
      ['10.1.0.2', host],
      ['fd01::2', host],
    ],
  );
  assert.equal(node.at.ip(`neigh show nud permanent dev ${host}`).length, 2);
  assert.equal(pod.run('cat', '/proc/sys/net/ipv4/conf/lo/accept_local'), '1\n');
  assert.equal(typeof attached.netnsCookie, 'bigint');
  node.check(id);
});

test('a MAC address and an MTU that are asked for are given', (t) => {
  const node = new TestNode(namespaces, 'given', t);
  const pod = node.pod();
  const mac = '0a:00:00:00:00:05' as never;
  const attached = node.attach(specFor(pod, DUAL, { kind: 'veth' }, { mtu: 1280, mac }));
  assert.deepEqual([attached.pod.mac, attached.pod.mtu], [mac, 1280]);
  assert.equal(pod.ip('link show eth0')[0].address, mac);
  assert.ok(node.at.pings('10.1.0.2'));
});

test('several addresses of a family all answer, and the first is the source', (t) => {
  const node = new TestNode(namespaces, 'several', t);
  const pod = node.pod();
  node.attach(specFor(pod, ['10.1.0.9/32', '10.1.0.2/32', 'fd01::9/128', 'fd01::2/128']));
  for (const address of ['10.1.0.9', '10.1.0.2', 'fd01::9', 'fd01::2'])
    assert.ok(node.at.pings(address), address);
  assert.equal(pod.ip('route get 10.0.0.1')[0].prefsrc, '10.1.0.9');
  assert.equal(pod.ip('route get fd00::1')[0].prefsrc, 'fd01::9');
});

test('IPv6 switched off by the runtime is switched on where it is asked for, and only there', (t) => {
  const node = new TestNode(namespaces, 'noipv6', t);
  const off = 'for c in all default; do echo 1 > /proc/sys/net/ipv6/conf/$c/disable_ipv6; done';
  const [four, both] = [node.pod(), node.pod()];
  for (const pod of [four, both]) pod.run('sh', '-ec', off);
  node.attach(specFor(four, ['10.1.0.2/32']));
  node.attach(specFor(both, ['10.1.0.3/32', 'fd01::3/128']));
  assert.equal(four.run('cat', '/proc/sys/net/ipv6/conf/eth0/disable_ipv6'), '1\n');
  assert.deepEqual(four.ip('-6 addr'), []);
  assert.ok(node.at.pings('10.1.0.2'));
  assert.ok(node.at.pings('fd01::3'));
  assert.ok(both.pings('::1'));
});

test('a node that has its routes from router advertisements keeps accepting them when it starts to forward', (t) => {
  const node = new TestNode(namespaces, 'ra', t);
  node.at.run('sh', '-ec', 'echo 0 > /proc/sys/net/ipv6/conf/all/forwarding');
  node.attach(specFor(node.pod(), DUAL));
  assert.equal(node.at.run('cat', '/proc/sys/net/ipv6/conf/all/forwarding'), '1\n');
  assert.equal(node.at.run('cat', '/proc/sys/net/ipv6/conf/uplink/accept_ra'), '2\n');
  assert.equal(node.at.run('cat', '/proc/sys/net/ipv4/ip_forward'), '1\n');
});

test('a pod cannot send from an address that is not its own', (t) => {
  const node = new TestNode(namespaces, 'spoof', t);
  const pod = node.pod();
  node.attach(specFor(pod, DUAL));
  pod.run('ip', 'addr', 'add', '10.6.6.6/32', 'dev', 'lo');
  assert.ok(pod.pings('10.0.0.1'));
  assert.equal(pod.pings('10.0.0.1', '-I', '10.6.6.6', '-w', '1'), false);
});

test('an interface of that name that is there already is left alone, and nothing is left behind', (t) => {
  const node = new TestNode(namespaces, 'taken', t);
  const pod = node.pod();
  pod.run('ip', 'link', 'add', 'eth0', 'type', 'bridge');
  const [nodeBefore, podBefore] = [snapshot(node.at), snapshot(pod)];
  const spec = specFor(pod, DUAL);
  assert.throws(() => node.attach(spec), {
    message: `Cannot attach eth0 to container ${pod.name}: the pod has a link eth0 already`,
  });
  assert.deepEqual([snapshot(node.at), snapshot(pod)], [nodeBefore, podBefore]);
  assert.equal(node.records.read(spec.id), undefined);
});

test('a second ADD of the same is refused and harms nothing', (t) => {
  const node = new TestNode(namespaces, 'twice', t);
  const spec = specFor(node.pod(), DUAL);
  node.attach(spec);
  assert.throws(() => node.attach(spec), /has a record already; DEL comes before another ADD/);
  node.check(spec.id);
});

test("the node's own namespace is refused, and one that does not exist", (t) => {
  const node = new TestNode(namespaces, 'own', t);
  assert.throws(() => node.attach(specFor(node.at, DUAL)), /it is the node's own/);
  const absent = specFor(node.pod(), DUAL, { kind: 'veth' }, { netns: '/run/netns/attachveth-absent' });
  assert.throws(
    () => node.attach(absent),
    /Cannot open network namespace \/run\/netns\/attachveth-absent: ENOENT/i,
  );
});

test('a failure at any step leaves node and pod as they were, and names the step', async (t) => {
  const node = new TestNode(namespaces, 'failure', t);
  const pod = node.pod();
  pod.run('sh', '-ec', 'ip link set lo down');
  const spec = specFor(pod, DUAL);
  const steps = await node.stepsOf(spec);
  assert.ok(steps.length >= 9, steps.join());
  pod.run('sh', '-ec', 'ip link set lo down; echo 0 > /proc/sys/net/ipv4/conf/lo/accept_local');
  const before = [snapshot(node.at), snapshot(pod)];
  for (const [number, step] of steps.entries()) {
    const error = node.failAt(spec, number);
    assert.match(String(error), new RegExp(`Cannot attach eth0 to container ${pod.name}: ${step}: injected`));
    assert.deepEqual([snapshot(node.at), snapshot(pod)], before, step);
    assert.equal(node.records.read(spec.id), undefined, step);
    assert.equal(pod.run('cat', '/proc/sys/net/ipv4/conf/lo/accept_local'), '0\n', step);
  }
  node.attach(spec);
  node.check(spec.id);
});

test('a failure of the kernel half-way is undone like any other', (t) => {
  const node = new TestNode(namespaces, 'halfway', t);
  const pod = node.pod();
  const before = [snapshot(node.at), snapshot(pod)];
  const unroutable = specFor(pod, DUAL, { kind: 'veth' }, { routes: [route('fd07::/16', 'fd01::2')] });
  assert.throws(
    () => node.attach(unroutable),
    /give the pod its addresses and routes: Cannot add route fd07::\/16: EINVAL \(Gateway can not be a local address\)/,
  );
  assert.deepEqual([snapshot(node.at), snapshot(pod)], before);
});

test('programs are attached inside the pod, told everything, and taken off when they fail', (t) => {
  const node = new TestNode(namespaces, 'programs', t);
  const pod = node.pod();
  const calls: string[] = [];
  const programs = {
    ...noPrograms,
    attach({
      id,
      index,
      kind,
      netns,
      hostIndex,
      netlink,
    }: import('../../src/attach/podPrograms.ts').PodInterface) {
      calls.push(`attach ${id} ${kind} ${readdirSync('/sys/class/net').length > 0}`);
      assert.equal(netns, pod.path);
      assert.ok(index > 1 && hostIndex !== undefined && netlink);
      throw new Error('no such program');
    },
    detach: (id: string) => calls.push(`detach ${id}`),
  };
  const spec = specFor(pod, DUAL);
  const before = [snapshot(node.at), snapshot(pod)];
  assert.throws(() => node.attach(spec, { programs }), /attach the programs: no such program/);
  assert.deepEqual(calls, [`attach ${spec.id} veth true`, `detach ${spec.id}`]);
  assert.deepEqual([snapshot(node.at), snapshot(pod)], before);
});

test('a detached pod has no link left anywhere once that is said, and detaching again is fine', async (t) => {
  const node = new TestNode(namespaces, 'detach', t);
  const pod = node.pod();
  const before = snapshot(node.at);
  const spec = specFor(pod, DUAL);
  node.attach(spec);
  const record = node.record(spec.id);
  await node.detachRecord(record);
  assert.equal(node.at.attempt('ip', 'link', 'show', `tbo${spec.id}`).status, 1);
  assert.equal(pod.attempt('ip', 'link', 'show', 'eth0').status, 1);
  assert.deepEqual(snapshot(node.at), before);
  assert.equal(node.record(spec.id).state, 'detaching');
  await node.detachRecord(record);
  await node.detachRecord(node.record(spec.id));
  node.records.remove(spec.id);
  node.records.remove(spec.id);
  assert.deepEqual(node.records.list(), { records: [], damaged: [] });
  assert.deepEqual(node.warnings, []);
});

test('detaching works when the pod is gone, its path is, or leads to another pod', async (t) => {
  const node = new TestNode(namespaces, 'gone', t);
  const before = snapshot(node.at);
  const [gone, other] = [node.pod(), node.pod()];
  const spec = specFor(gone, DUAL);
  node.attach(spec);
  gone.remove();
  await node.detach(spec.id);
  assert.deepEqual(snapshot(node.at), before);

  const again = specFor(other, DUAL);
  node.attach(again);
  const record = node.record(again.id);
  await node.detachRecord({ ...record, spec: { ...record.spec, netns: '' } });
  assert.deepEqual(snapshot(node.at), before);
  assert.equal(existsSync(join('/run/netns', other.name)), true);
});

test('what an earlier kernel was told is not looked for', async (t) => {
  const node = new TestNode(namespaces, 'reboot', t);
  const spec = specFor(node.pod(), DUAL);
  node.attach(spec);
  const bootId = '00000000-0000-0000-0000-000000000000';
  await node.detachRecord({ ...node.record(spec.id), bootId });
  assert.equal(node.at.attempt('ip', 'link', 'show', `tbo${spec.id}`).status, 0);
});

test('a check finds whatever has been taken away, and says what', (t) => {
  const node = new TestNode(namespaces, 'check', t);
  const pod = node.pod();
  const spec = specFor(pod, DUAL, { kind: 'veth' }, { routes: [route('10.7.0.0/16')] });
  const { host } = node.attach(spec);
  node.check(spec.id);
  const tbo = `tbo${spec.id}`;
  const damages = [
    [
      pod,
      'ip addr del 10.1.0.2/32 dev eth0',
      // The routes and the neighbour have gone with the last address.
      `ip addr add 10.1.0.2/32 dev eth0; ip neigh replace 169.254.1.1 lladdr ${host?.mac} dev eth0
      for p in default 10.7.0.0/16; do ip route add $p via 169.254.1.1 dev eth0 onlink; done`,
      'link eth0 in the pod has no address 10.1.0.2/32',
    ],
    [
      pod,
      'ip route del 10.7.0.0/16',
      'ip route add 10.7.0.0/16 via 169.254.1.1 dev eth0 onlink',
      'link eth0 in the pod has no route 10.7.0.0/16 via 169.254.1.1',
    ],
    [
      pod,
      'ip neigh del fe80::1 dev eth0',
      `ip neigh add fe80::1 lladdr ${host?.mac} dev eth0`,
      'link eth0 in the pod has no permanent neighbour fe80::1 with',
    ],
    [pod, 'ip link set eth0 mtu 1400', 'ip link set eth0 mtu 1500', 'the MTU of eth0 is 1400, not 1500'],
    [
      pod,
      'echo 0 > /proc/sys/net/ipv4/conf/lo/accept_local',
      'echo 1 > /proc/sys/net/ipv4/conf/lo/accept_local',
      'accept_local is not 1',
    ],
    [
      node.at,
      'ip route del 10.1.0.2',
      `ip route add 10.1.0.2 dev ${tbo}`,
      `link ${tbo} on the node has no route 10.1.0.2/32`,
    ],
    [
      node.at,
      `ip neigh del fd01::2 dev ${tbo}`,
      `ip neigh add fd01::2 lladdr ${pod.ip('link show eth0')[0].address} dev ${tbo}`,
      `link ${tbo} on the node has no permanent neighbour fd01::2`,
    ],
    [node.at, `ip link set ${tbo} down`, `ip link set ${tbo} up`, `link ${tbo} on the node is down`],
    [pod, 'ip link set eth0 down', 'ip link set eth0 up', 'link eth0 in the pod is down'],
  ] as const;
  for (const [at, damage, repair, message] of damages) {
    at.run('sh', '-ec', damage);
    assert.throws(
      () => node.check(spec.id),
      ({ message: said }: Error) =>
        said.includes(message) && said.startsWith('Cannot confirm eth0 of container'),
      damage,
    );
    if (damage.endsWith('down')) break;
    at.run('sh', '-ec', repair);
    node.check(spec.id);
  }
  pod.run('ip', 'link', 'del', 'eth0');
  assert.throws(() => node.check(spec.id), /there is no link eth0 in the pod/);
  pod.remove();
  assert.throws(() => node.check(spec.id), /its network namespace .* is gone/);
});
