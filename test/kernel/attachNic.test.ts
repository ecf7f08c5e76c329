import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { after, test } from 'node:test';
import { type Mac, parseMac } from '../../src/address/mac.ts';
import type { AttachmentKind } from '../../src/attach/attachment.ts';
import { findDevice, pciAddressOf } from '../../src/attach/device.ts';
import { listLinks } from '../../src/netlink/link.ts';
import { openNetlink } from '../../src/netlink/socket.ts';
import { route, snapshot, specFor, TestNode } from './attachRig.ts';
import { KERNEL } from './kernel.ts';
import { type TestNamespace, TestNamespaces } from './namespaces.ts';

const namespaces = new TestNamespaces('attachnic');
after(() => namespaces.close());

const ADDRESSES = ['10.0.0.7/24 via 10.0.0.254', 'fd00::7/64 via fd00::fe'];
const NIC: AttachmentKind = { kind: 'nic', device: { by: 'name', name: 'ens5' } };

/** All that this kernel has. */
const CHILDREN = KERNEL.ipvlan ? (['macvlan', 'ipvlan'] as const) : (['macvlan'] as const);

/** A node with `ens5`: configured like a card that somebody uses, but not for the default route. */
function nodeWithCard(name: string, t: { after(run: () => void): void }): TestNode {
  const node = new TestNode(namespaces, name, t);
  node.plug('ens5', 'address', '02:00:00:00:55:05', 'mtu', '1440');
  const configure = [
    'ip link set ens5 alias rack-7',
    'ip addr add 10.5.0.5/24 dev ens5',
    'ip addr add fd05::5/64 dev ens5 nodad',
    'ip route add 10.55.0.0/16 via 10.5.0.1 metric 7 mtu 1400',
    'ip route add 10.56.0.0/16 dev ens5 table 77 proto static',
    'ip route add fd55::/64 via fd05::1',
  ];
  node.at.run('sh', '-ec', configure.join('; '));
  return node;
}

function onNode(node: TestNode): string[] {
  return snapshot(node.at).map((line) => line.replace(/^\d+: /, ''));
}

test('a lent device carries the pod’s own addresses to the fabric, and comes home as it was', async (t) => {
  const node = nodeWithCard('home', t);
  const before = onNode(node);
  const pod = node.pod();
  const mac = parseMac('02:00:00:00:00:77');
  const spec = specFor(pod, ADDRESSES, NIC, { mtu: 1400, mac, routes: [route('10.9.0.0/16')] });
  const attached = node.attach(spec);
  assert.equal(attached.host, undefined);
  assert.deepEqual([attached.pod.name, attached.pod.mac, attached.pod.mtu], ['eth0', mac, 1400]);
  assert.equal(pod.ip('link show eth0')[0].ifalias, 'ens5');
  assert.ok(pod.pings('10.0.0.254'));
  assert.ok(pod.pings('fd00::fe'));
  assert.ok(node.fabric.pings('10.0.0.7'));
  const [byGateway, further] = pod.ip('route').filter(({ gateway }) => gateway);
  assert.deepEqual([byGateway.dst, byGateway.gateway, further.dst], ['default', '10.0.0.254', '10.9.0.0/16']);
  assert.equal(node.at.attempt('ip', 'link', 'show', 'ens5').status, 1);
  node.check(spec.id);

  await node.detach(spec.id);
  assert.deepEqual(onNode(node), before);
  assert.equal(pod.attempt('ip', 'link', 'show', 'eth0').status, 1);
  assert.deepEqual(node.warnings, []);
});

test('a device is found by its MAC address, and told from what stands on it', (t) => {
  const node = nodeWithCard('mac', t);
  const kind = (mac: Mac): AttachmentKind => ({ kind: 'nic', device: { by: 'mac', mac } });
  const pod = node.pod();
  assert.throws(
    () => node.attach(specFor(pod, ADDRESSES, kind(parseMac('02:00:00:00:00:99')))),
    /Cannot find device: there is none with MAC address 02:00:00:00:00:99/,
  );
  node.attach(specFor(pod, ADDRESSES, kind(parseMac('02:00:00:00:55:05'))));
  assert.equal(pod.ip('link show eth0')[0].ifalias, 'ens5');
});

test('a PCI address that nothing sits at is refused by name', (t) => {
  const node = nodeWithCard('pci', t);
  const kind = { kind: 'nic', device: { by: 'pci', address: '0000:ff:1f.7' } } as const;
  assert.throws(
    () => node.attach(specFor(node.pod(), ADDRESSES, kind)),
    /none with PCI address 0000:ff:1f\.7/,
  );
});

test('the cards of this machine are found by their PCI addresses, also behind virtio', () => {
  const nl = openNetlink();
  const links = listLinks(nl);
  for (const link of links) {
    const { stdout } = spawnSync('readlink', ['-f', `/sys/class/net/${link.name}/device`], {
      encoding: 'utf8',
    });
    const address = stdout.match(/[0-9a-f]{4}:[0-9a-f]{2}:[0-9a-f]{2}\.[0-7]/g)?.at(-1);
    assert.equal(pciAddressOf(link), address, link.name);
    if (address) assert.equal(findDevice(nl, { by: 'pci', address }).index, link.index);
  }
  assert.ok(links.length > 0);
  nl.close();
});

test('without a gateway the default route leads to nobody, and nobody is asked', (t) => {
  const node = nodeWithCard('nobody', t);
  const pod = node.pod();
  const spec = specFor(pod, ['10.0.0.7/24', 'fd00::7/64'], NIC);
  node.attach(spec);
  assert.ok(pod.pings('10.0.0.254'));
  assert.ok(pod.pings('fd00::fe'));
  assert.equal(pod.ip('route get 192.0.2.1')[0].gateway, '169.254.1.1');
  assert.equal(pod.ip('route get 2001:db8::1')[0].gateway, 'fe80::1');
  const nobody = pod.ip('neigh show nud permanent').map(({ dst, lladdr }) => `${dst} ${lladdr}`);
  assert.deepEqual(nobody.sort(), ['169.254.1.1 02:74:62:6f:00:01', 'fe80::1 02:74:62:6f:00:01']);
  node.check(spec.id);
});

test('a device that the node needs is refused and not touched', (t) => {
  const node = nodeWithCard('needed', t);
  node.at.run('sh', '-ec', 'ip link add br7 type bridge');
  node.plug('ens6');
  node.at.run('sh', '-ec', 'ip link set ens6 master br7');
  node.plug('ens7');
  node.at.run('sh', '-ec', 'ip link add mv0 link ens7 type macvlan');
  const before = onNode(node);
  const refusals = [
    ['uplink', "the node's default route leaves by it"],
    ['ens6', 'it belongs to br7'],
    ['ens7', 'mv0 stands on it'],
    ['lo', 'it is the loopback'],
    ['ens9', 'there is none with name ens9'],
  ] as const;
  for (const [name, reason] of refusals) {
    const kind = { kind: 'nic', device: { by: 'name', name } } as const;
    assert.throws(() => node.attach(specFor(node.pod(), ADDRESSES, kind)), new RegExp(reason), name);
  }
  assert.deepEqual(onNode(node), before);
  assert.deepEqual(node.records.list().records, []);
});

test('a failure at any step brings the device home as it was', async (t) => {
  const node = nodeWithCard('failure', t);
  const before = onNode(node);
  const pod = node.pod();
  const spec = specFor(pod, ADDRESSES, NIC, { mac: parseMac('02:00:00:00:00:77'), mtu: 1300 });
  const steps = await node.stepsOf(spec);
  assert.deepEqual(onNode(node), before);
  const inPod = snapshot(pod);
  for (const [number, step] of steps.entries()) {
    assert.match(String(node.failAt(spec, number)), new RegExp(`${step}: injected`));
    assert.deepEqual(onNode(node), before, step);
    assert.deepEqual(snapshot(pod), inPod, step);
    assert.equal(node.records.read(spec.id), undefined, step);
  }
});

test('a name the pod has already is refused before the device is touched', (t) => {
  const node = nodeWithCard('taken', t);
  const pod = node.pod();
  pod.run('ip', 'link', 'add', 'eth0', 'type', 'bridge');
  const before = onNode(node);
  assert.throws(() => node.attach(specFor(pod, ADDRESSES, NIC)), /the pod has a link eth0 already/);
  assert.deepEqual(onNode(node), before);
});

/** Lends `ens5`, lets `meddle` happen, detaches; what the node looks like then. */
async function afterwards(
  node: TestNode,
  meddle: (pod: TestNamespace, id: string) => void,
): Promise<string[]> {
  const pod = node.pod();
  const spec = specFor(pod, ADDRESSES, NIC);
  node.attach(spec);
  meddle(pod, spec.id);
  await node.detach(spec.id);
  return onNode(node);
}

test('the device comes home also when the pod has renamed it, changed it, or switched it off', async (t) => {
  const node = nodeWithCard('meddled', t);
  const before = onNode(node);
  const meddled = await afterwards(node, (pod) => {
    const words = 'ip link set eth0 down; ip link set eth0 name mine address 02:00:00:00:66:66 mtu 1300';
    pod.run('sh', '-ec', `${words}; ip link set mine alias stolen; ip addr add 192.0.2.9/24 dev mine`);
  });
  assert.deepEqual(meddled, before);
});

test('a device that was off stays off', async (t) => {
  const node = new TestNode(namespaces, 'off', t);
  node.plug('ens5');
  node.at.run('ip', 'link', 'set', 'ens5', 'down');
  const before = onNode(node);
  assert.deepEqual(await afterwards(node, () => {}), before);
});

test('where its name has been taken meanwhile the device keeps one of its own, and that is said', async (t) => {
  const node = nodeWithCard('collision', t);
  let id = '';
  await afterwards(node, (_pod, attachment) => {
    id = attachment;
    node.at.run('ip', 'link', 'add', 'ens5', 'type', 'bridge');
  });
  const [device] = node.at.ip(`addr show nic${id}`);
  assert.equal(device.address, '02:00:00:00:55:05');
  assert.ok(device.addr_info.some(({ local }: { local: string }) => local === '10.5.0.5'));
  assert.deepEqual(node.warnings, [
    `Cannot restore device ens5: name it ens5 again: another device has that name, so it stays nic${id}`,
  ]);
  assert.equal(node.at.ip('-d link show ens5')[0].linkinfo.info_kind, 'bridge');
});

test('hardware that has fallen back to the node under another name is found and restored', async (t) => {
  const node = nodeWithCard('fallen', t);
  const before = onNode(node);
  const fallen = await afterwards(node, (pod) => {
    // What the kernel does with hardware when a namespace ends; a veth, which stands in for it, would be destroyed.
    pod.run('sh', '-ec', 'ip link set eth0 down; ip link set eth0 name dev3');
    pod.run('ip', 'link', 'set', 'dev3', 'netns', node.at.name);
    pod.remove();
  });
  assert.deepEqual(fallen, before);
});

test('a virtual device that has ended with its pod leaves nothing, and nothing to report', async (t) => {
  const node = nodeWithCard('ended', t);
  await afterwards(node, (pod) => pod.remove());
  assert.equal(node.at.attempt('ip', 'link', 'show', 'ens5').status, 1);
  assert.deepEqual(node.warnings, []);
  assert.deepEqual(node.records.list().records, []);
});

test('detaching a NIC twice disturbs nothing', async (t) => {
  const node = nodeWithCard('twice', t);
  const spec = specFor(node.pod(), ADDRESSES, NIC);
  node.attach(spec);
  const record = node.record(spec.id);
  await node.detachRecord(record);
  const before = node.at.ip('link show ens5')[0];
  await node.detachRecord(record);
  assert.deepEqual(node.at.ip('link show ens5')[0], before);
});

for (const type of CHILDREN) {
  test(`the pod’s ${type} child carries it to the fabric, and is deleted also if renamed`, async (t) => {
    const node = nodeWithCard(type, t);
    const before = onNode(node);
    const [one, two] = [node.pod(), node.pod()];
    const kind = { kind: 'child', master: 'ens5', type } as const;
    const first = specFor(one, ADDRESSES, kind);
    const second = specFor(two, ['10.0.0.8/24', 'fd00::8/64'], kind);
    const attached = node.attach(first);
    node.attach(second);
    assert.deepEqual([attached.pod.master, attached.pod.mtu], ['ens5', 1440]);
    for (const address of ['10.0.0.254', 'fd00::fe', '10.0.0.8', 'fd00::8'])
      assert.ok(one.pings(address), address);
    node.check(first.id);
    one.run('sh', '-ec', 'ip link set eth0 down; ip link set eth0 name mine');
    await node.detach(first.id);
    assert.equal(one.attempt('ip', 'link', 'show', 'mine').status, 1);
    two.remove();
    await node.detach(second.id);
    assert.deepEqual(onNode(node), before);
  });

  test(`a failure at any step leaves no ${type} child behind`, async (t) => {
    const node = nodeWithCard(`fail${type}`, t);
    const pod = node.pod();
    const spec = specFor(pod, ADDRESSES, { kind: 'child', master: 'ens5', type });
    const steps = await node.stepsOf(spec);
    const before = [onNode(node), snapshot(pod)];
    for (const [number, step] of steps.entries()) {
      assert.match(String(node.failAt(spec, number)), new RegExp(`${step}: injected`));
      assert.deepEqual([onNode(node), snapshot(pod)], before, step);
    }
  });
}

if (!KERNEL.ipvlan) {
  test('an ipvlan child is refused by name, as this kernel has none', (t) => {
    const node = nodeWithCard('noipvlan', t);
    const pod = node.pod();
    const before = [onNode(node), snapshot(pod)];
    assert.throws(
      () => node.attach(specFor(pod, ADDRESSES, { kind: 'child', master: 'ens5', type: 'ipvlan' })),
      /make the ipvlan on ens5: Cannot add ipvlan link eth0: EOPNOTSUPP \(Unknown device type\)/,
    );
    assert.deepEqual([onNode(node), snapshot(pod)], before);
  });
}

test('a child of a master that is not there is refused by name', (t) => {
  const node = nodeWithCard('nomaster', t);
  const pod = node.pod();
  const before = [onNode(node), snapshot(pod)];
  assert.throws(
    () => node.attach(specFor(pod, ADDRESSES, { kind: 'child', master: 'ens9', type: 'macvlan' })),
    /there is no master ens9/,
  );
  assert.deepEqual([onNode(node), snapshot(pod)], before);
});
