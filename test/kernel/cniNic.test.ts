// Pods with a device of their own, by the plugin alone with host-local. A veth end stands in for the NIC: unlike
// hardware it dies with a namespace, everything else is the same.
import assert from 'node:assert/strict';
import { rmSync } from 'node:fs';
import { join } from 'node:path';
import { after, afterEach, test } from 'node:test';
import { type Pod, Runtime } from './cniRuntime.ts';
import { type TestNamespace, TestNamespaces } from './namespaces.ts';

const namespaces = new TestNamespaces('cninic');
after(() => namespaces.close());

let count = 0;
const opened: (() => void)[] = [];
afterEach(() => {
  for (const close of opened.splice(0).reverse()) close();
});

// biome-ignore lint/suspicious/noExplicitAny: results are looked into as the runtime would.
type Loose = any;

interface Rig {
  readonly runtime: Runtime;
  readonly pod: Pod & { readonly namespace: TestNamespace };
}

/** A node with an uplink and a spare NIC `nic0`, which leads to a gateway at 10.9.0.1. */
function setUp(config: Loose = { device: 'nic0' }): Rig {
  const node = namespaces.create(`node${++count}`);
  const gateway = namespaces.create(`gateway${count}`);
  const namespace = namespaces.create(`pod${count}`);
  // Link-local addresses at once, instead of when nobody has been found to have the same.
  node.run('sysctl', '-qw', 'net.ipv6.conf.default.accept_dad=0');
  node.run('ip', 'link', 'add', 'up0', 'type', 'veth', 'peer', 'up1');
  node.run('ip', 'link', 'add', 'nic0', 'type', 'veth', 'peer', 'gw0', 'netns', gateway.name);
  node.run('ip', 'link', 'set', 'nic0', 'mtu', '1400', 'address', '02:00:00:00:00:99');
  node.run('ip', 'address', 'add', '192.0.2.1/24', 'dev', 'up0');
  for (const link of ['up0', 'up1', 'nic0']) node.run('ip', 'link', 'set', link, 'up');
  node.run('ip', 'route', 'add', 'default', 'via', '192.0.2.254');
  gateway.run('ip', 'address', 'add', '10.9.0.1/24', 'dev', 'gw0');
  gateway.run('ip', 'link', 'set', 'gw0', 'up');
  const runtime = new Runtime('dist/cni/tombolo', node);
  runtime.config = {
    ...runtime.config,
    attachment: 'nic',
    ipam: runtime.hostLocal('10.9.0.0/24'),
    ...config,
  };
  runtime.settle();
  opened.push(() => {
    runtime.close();
    for (const one of [node, gateway, namespace]) one.remove();
  });
  return { runtime, pod: { id: `c${count}`, netns: namespace.path, namespace } };
}

const names = (namespace: TestNamespace) => namespace.ip('link').map((one) => one.ifname);
const describe = (namespace: TestNamespace, link: string) => {
  const [one] = namespace.ip(`-d link show ${link}`);
  return { mac: one.address, mtu: one.mtu, up: one.flags.includes('UP'), alias: one.ifalias };
};

test('the device is the pod’s eth0, with the gateway’s network around it, and comes back as it was', async () => {
  const { runtime, pod } = setUp();
  const before = [runtime.traces(), describe(runtime.node, 'nic0')];
  const result: Loose = await runtime.succeed('ADD', pod);
  assert.deepEqual(result.interfaces, [
    { name: 'eth0', mac: '02:00:00:00:00:99', mtu: 1400, sandbox: pod.netns },
  ]);
  assert.deepEqual(result.ips, [{ interface: 0, address: '10.9.0.2/24', gateway: '10.9.0.1' }]);
  assert.deepEqual(result.routes, [{ dst: '0.0.0.0/0', gw: '10.9.0.1' }]);
  assert.deepEqual(names(pod.namespace), ['lo', 'eth0']);
  assert.ok(!names(runtime.node).includes('nic0'));
  assert.ok(pod.namespace.pings('10.9.0.1'));
  const { code, output } = await runtime.call('CHECK', pod, { config: { prevResult: result } });
  assert.equal(code, 0, output);
  await runtime.succeed('DEL', pod);
  assert.deepEqual([runtime.traces(), describe(runtime.node, 'nic0')], before);
  await runtime.succeed('DEL', pod);
});

test('the device is found by its MAC address, and by the one the runtime chose', async () => {
  for (const config of [
    { device: '02:00:00:00:00:99' },
    { device: 'up0', runtimeConfig: { deviceID: 'nic0' } },
    { runtimeConfig: { deviceID: '02:00:00:00:00:99' } },
  ]) {
    const { runtime, pod } = setUp(config);
    await runtime.succeed('ADD', pod);
    assert.ok(pod.namespace.pings('10.9.0.1'));
    await runtime.succeed('DEL', pod);
    assert.ok(names(runtime.node).includes('nic0'));
  }
});

test('a device the pod has renamed, changed and switched off comes back as it was', async () => {
  const { runtime, pod } = setUp();
  const before = describe(runtime.node, 'nic0');
  await runtime.succeed('ADD', pod, { config: { mtu: 1300, runtimeConfig: { mac: '02:00:00:00:00:11' } } });
  assert.deepEqual(describe(pod.namespace, 'eth0').mac, '02:00:00:00:00:11');
  pod.namespace.run('ip', 'link', 'set', 'eth0', 'down');
  pod.namespace.run('ip', 'link', 'set', 'eth0', 'name', 'mine', 'mtu', '1200');
  await runtime.succeed('DEL', pod);
  assert.deepEqual(describe(runtime.node, 'nic0'), before);
});

test('a device whose name was taken meanwhile comes back all the same', async () => {
  const { runtime, pod } = setUp();
  await runtime.succeed('ADD', pod);
  runtime.node.run('ip', 'link', 'add', 'nic0', 'type', 'veth', 'peer', 'nic1');
  await runtime.succeed('DEL', pod);
  const links = runtime.node.ip('link');
  assert.equal(links.filter((one) => one.address === '02:00:00:00:00:99').length, 1);
  assert.notEqual(links.find((one) => one.ifname === 'nic0').address, '02:00:00:00:00:99');
});

test('a device whose record is lost comes back under its own name', async () => {
  const { runtime, pod } = setUp();
  const before = describe(runtime.node, 'nic0');
  await runtime.succeed('ADD', pod);
  rmSync(join(runtime.directory, 'state'), { recursive: true });
  await runtime.succeed('DEL', pod);
  await runtime.succeed('DEL', pod);
  assert.deepEqual(names(pod.namespace), ['lo']);
  assert.deepEqual(describe(runtime.node, 'nic0'), { ...before, up: false });
});

test('another pod’s device at the path of one whose record is lost stays there', async () => {
  const { runtime, pod } = setUp();
  await runtime.succeed('ADD', pod);
  await runtime.succeed('DEL', { ...pod, id: 'somebody-else' });
  assert.deepEqual(names(pod.namespace).sort(), ['eth0', 'lo']);
  await runtime.succeed('DEL', pod);
});

test('DEL after the namespace is gone succeeds', async () => {
  const { runtime, pod } = setUp();
  await runtime.succeed('ADD', pod);
  pod.namespace.remove();
  await runtime.succeed('DEL', pod);
  assert.deepEqual(runtime.held(), []);
  assert.deepEqual(runtime.traces().records, []);
});

test('a device that is not there, or that the node itself needs, is refused and nothing is touched', async () => {
  for (const device of ['nosuch0', 'up0', 'lo', '02:00:00:00:00:77', '0000:ff:00.0']) {
    const { runtime, pod } = setUp({ device });
    const before = runtime.traces();
    const { msg } = await runtime.fail('ADD', pod);
    assert.match(msg, new RegExp(device.replaceAll('.', '\\.')), msg);
    assert.deepEqual(runtime.traces(), before);
    assert.deepEqual(names(pod.namespace), ['lo']);
  }
});

test('one device serves one pod', async () => {
  const { runtime, pod } = setUp();
  await runtime.succeed('ADD', pod);
  const other = namespaces.create(`other${count}`);
  opened.push(() => other.remove());
  await runtime.fail('ADD', { id: 'other', netns: other.path });
  assert.deepEqual(runtime.held(), ['10.9.0.2']);
  assert.ok(pod.namespace.pings('10.9.0.1'));
});

test('a macvlan child is made on the master and gone after DEL', async () => {
  const { runtime, pod } = setUp({ master: 'nic0', kind: 'macvlan' });
  const before = runtime.traces();
  const result: Loose = await runtime.succeed('ADD', pod);
  assert.equal(result.interfaces.length, 1);
  assert.equal(result.interfaces[0].mtu, 1400);
  assert.ok(pod.namespace.pings('10.9.0.1'));
  const { code, output } = await runtime.call('CHECK', pod, { config: { prevResult: result } });
  assert.equal(code, 0, output);
  await runtime.succeed('DEL', pod);
  assert.deepEqual(runtime.traces(), before);
  assert.deepEqual(names(pod.namespace), ['lo']);
});

test('an ADD of a NIC killed at any instant gives it back with DEL', async () => {
  const { runtime, pod } = setUp();
  const before = [runtime.traces(), describe(runtime.node, 'nic0')];
  for (let round = 0; round < 12; round++) {
    const delay = 20 + Math.random() * 50;
    await runtime.call('ADD', pod, { started: (child) => setTimeout(() => child.kill('SIGKILL'), delay) });
    await runtime.succeed('DEL', pod);
    assert.deepEqual(
      [runtime.traces(), describe(runtime.node, 'nic0')],
      before,
      `after ${delay.toFixed(1)} ms`,
    );
    assert.deepEqual(names(pod.namespace), ['lo']);
  }
});
