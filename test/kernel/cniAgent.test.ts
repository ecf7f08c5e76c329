// The plugin in front of the real agent: its addresses, its programs, its absence, its return.
import assert from 'node:assert/strict';
import { existsSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { after, afterEach, test } from 'node:test';
import { eventually } from '../../src/eventually.rig.ts';
import { DOOMED } from '../../src/netlink/deletion.ts';
import { type AgentOptions, TestAgent } from './cniAgentRig.ts';
import { type Pod, Runtime } from './cniRuntime.ts';
import { type TestNamespace, TestNamespaces } from './namespaces.ts';

const namespaces = new TestNamespaces('cniagent');
after(() => namespaces.close());

let count = 0;
const opened: (() => void | Promise<void>)[] = [];
afterEach(async () => {
  for (const close of opened.splice(0).reverse()) await close();
});

// biome-ignore lint/suspicious/noExplicitAny: results are looked into as the runtime would.
type Loose = any;

class Rig {
  readonly runtime: Runtime;
  readonly #segments: AgentOptions['segments'];
  agent: TestAgent | undefined;

  constructor(segments: AgentOptions['segments'], program = 'dist/cni/tombolo') {
    const node = namespaces.create(`node${++count}`);
    node.run('ip', 'link', 'add', 'up0', 'type', 'veth', 'peer', 'up1');
    node.run('ip', 'address', 'add', '192.0.2.1/24', 'dev', 'up0');
    for (const link of ['up0', 'up1']) node.run('ip', 'link', 'set', link, 'up');
    node.run('ip', 'route', 'add', 'default', 'via', '192.0.2.254');
    this.#segments = segments;
    const runtime = new Runtime(program, node);
    this.runtime = runtime;
    runtime.config = { ...runtime.config, agentSocket: join(runtime.directory, 'run', 'agent.sock') };
    runtime.settle();
    opened.push(async () => {
      await this.agent?.kill();
      runtime.close();
      node.remove();
    });
  }

  async start(more: Partial<AgentOptions> = {}): Promise<void> {
    const { node, directory, config } = this.runtime;
    const bpfDir = String(config.bpfDir);
    this.agent = await TestAgent.start({ node, directory, bpfDir, segments: this.#segments, ...more });
  }
}

async function setUp(...segments: AgentOptions['segments']): Promise<Rig> {
  const rig = new Rig(segments.length > 0 ? segments : ['10.7.0.0/24']);
  await rig.start();
  return rig;
}

interface TestPod extends Pod {
  readonly namespace: TestNamespace;
}

function newPod(): TestPod {
  const namespace = namespaces.create(`pod${++count}`);
  opened.push(() => namespace.remove());
  return { id: `pod-${count}`, netns: namespace.path, namespace };
}

const addressOf = (result: Loose): string => result.ips[0].address.split('/')[0];

for (const program of ['dist/cni/tombolo', 'dist/cni/tombolo.cjs']) {
  test(`${program} has the agent attach a pod, check it and remove it`, async () => {
    const rig = new Rig(['10.7.0.0/24'], program);
    await rig.start();
    const { runtime } = rig;
    assert.equal((await runtime.call('STATUS')).code, 0);
    const before = runtime.traces();
    const pod = newPod();
    const result: Loose = await runtime.succeed('ADD', pod);
    assert.match(result.ips[0].address, /^10\.7\.0\.\d+\/32$/);
    assert.ok(runtime.node.pings(addressOf(result)));
    await eventually(() => assert.match(rig.agent?.log ?? '', new RegExp(`"verb":"ADD".*${pod.id}`)));
    assert.equal((await runtime.call('CHECK', pod, { config: { prevResult: result } })).code, 0);
    const { msg } = await runtime.fail('ADD', pod);
    assert.match(msg, /has it already/);
    assert.equal((await runtime.call('DEL', pod)).output, '');
    assert.equal((await runtime.call('DEL', pod)).output, '');
    assert.deepEqual(runtime.traces(), before);
  });
}

test('errors come through the agent as they are', async () => {
  const { runtime } = await setUp();
  const pod = newPod();
  assert.equal((await runtime.fail('ADD', pod, { config: { mtu: -1 } })).code, 7);
  assert.equal((await runtime.fail('ADD', pod, { config: { cniVersion: '9.9.9' } })).code, 1);
  assert.equal((await runtime.fail('ADD', { ...pod, netns: '/run/netns/none' })).code, 8);
  assert.equal((await runtime.fail('ADD', { ...pod, netns: runtime.node.path })).code, 8);
  assert.equal(
    (await runtime.fail('ADD', pod, { config: { runtimeConfig: { ips: ['192.0.2.9'] } } })).code,
    7,
  );
});

test('a pod gets the address it asks for; a taken one is refused', async () => {
  const { runtime } = await setUp();
  const ask = { config: { runtimeConfig: { ips: ['10.7.0.77'] } } };
  assert.equal(addressOf(await runtime.succeed('ADD', newPod(), ask)), '10.7.0.77');
  const { code, msg } = await runtime.fail('ADD', newPod(), ask);
  assert.equal(code, 11);
  assert.match(msg, /10\.7\.0\.77/);
});

test('the node’s programs are on the pod, and CHECK tells when one is gone', async () => {
  const { runtime } = await setUp();
  const pod = newPod();
  const prevResult = await runtime.succeed('ADD', pod);
  const filters = pod.namespace.run('tc', 'filter', 'show', 'dev', 'eth0', 'egress');
  assert.match(filters, /tb_eth0_egress/);
  pod.namespace.run('tc', 'filter', 'del', 'dev', 'eth0', 'egress');
  const { msg } = await runtime.fail('CHECK', pod, { config: { prevResult } });
  assert.match(msg, /tb_eth0_egress/);
});

test('CHECK tells when the datapath no longer knows the pod', async () => {
  const { runtime } = await setUp();
  const pod = newPod();
  const prevResult = await runtime.succeed('ADD', pod);
  const map = join(String(runtime.config.bpfDir), 'maps', 'tb_netns');
  const { execFileSync } = await import('node:child_process');
  const entries: Loose[] = JSON.parse(
    execFileSync('bpftool', ['-j', 'map', 'dump', 'pinned', map]).toString(),
  );
  assert.equal(entries.length, 2, 'the node and the pod');
  for (const { key } of entries) execFileSync('bpftool', ['map', 'delete', 'pinned', map, 'key', ...key]);
  const { msg } = await runtime.fail('CHECK', pod, { config: { prevResult } });
  assert.match(msg, /tb_netns/);
});

test('CHECK tells when the agent’s IPAM has given the address back', async () => {
  const rig = await setUp();
  const { runtime } = rig;
  const pod = newPod();
  const prevResult: Loose = await runtime.succeed('ADD', pod);
  await rig.agent?.kill();
  await runtime.succeed('CHECK', pod, { config: { prevResult } });
  rmSync(join(runtime.directory, 'state', 'ipam'), { recursive: true });
  await rig.start();
  // The record proves the pod alive, so that its address is held for it again.
  await runtime.succeed('CHECK', pod, { config: { prevResult } });
  const others: Loose[] = [];
  for (let i = 0; i < 5; i++) others.push(await runtime.succeed('ADD', newPod()));
  assert.ok(!others.map(addressOf).includes(addressOf(prevResult)));
});

test('a pool without room is code 11 for ADD and 50 for STATUS, until a pod goes', async () => {
  const { runtime } = await setUp('10.7.0.0/29');
  const pods: TestPod[] = [];
  for (;;) {
    const pod = newPod();
    const { code, json } = await runtime.call('ADD', pod);
    if (code === 0) {
      pods.push(pod);
      assert.ok(pods.length <= 8);
      continue;
    }
    assert.equal(json.code, 11);
    break;
  }
  assert.ok(pods.length >= 5, `${pods.length} pods`);
  assert.equal((await runtime.fail('STATUS')).code, 50);
  await runtime.succeed('DEL', pods[0]);
  assert.equal((await runtime.call('STATUS')).code, 0);
  await runtime.succeed('ADD', newPod());
});

test('50 parallel ADDs, then a mixture of 200 ADDs and DELs: no address twice, and nothing left', async () => {
  const { runtime } = await setUp();
  const before = runtime.traces();
  const pods = Array.from({ length: 50 }, newPod);
  const results: Loose[] = await Promise.all(pods.map((pod) => runtime.succeed('ADD', pod)));
  assert.equal(new Set(results.map(addressOf)).size, 50);
  assert.equal(new Set(results.map((result) => result.interfaces[0].name)).size, 50);
  const cycle = async (pod: TestPod) => {
    for (let i = 0; i < 2; i++) {
      await runtime.succeed('DEL', pod);
      await runtime.succeed('ADD', pod);
    }
  };
  await Promise.all(pods.map(cycle));
  const links = runtime.node.ip('link').filter((one) => one.ifname.startsWith('tbo'));
  assert.equal(links.length, 50);
  await Promise.all(pods.map((pod) => runtime.succeed('DEL', pod)));
  assert.deepEqual(runtime.traces(), before);
});

test('GC keeps the one of three that is valid', async () => {
  const { runtime } = await setUp('10.7.0.0/29');
  const pods = [newPod(), newPod(), newPod()] as const;
  const results: Loose[] = [];
  for (const pod of pods) results.push(await runtime.succeed('ADD', pod));
  await runtime.succeed('GC', undefined, {
    config: { 'cni.dev/valid-attachments': [{ containerID: pods[1].id, ifname: 'eth0' }] },
  });
  assert.equal((runtime.traces().records as string[]).length, 1);
  assert.ok(runtime.node.pings(addressOf(results[1])));
  for (const index of [0, 2]) {
    const ips = [addressOf(results[index])];
    await runtime.succeed('ADD', newPod(), { config: { runtimeConfig: { ips } } });
  }
});

test('a caller killed at any instant leaves what DEL can undo', async () => {
  const { runtime } = await setUp();
  const before = runtime.traces();
  const pod = newPod();
  for (let round = 0; round < 20; round++) {
    const delay = Math.random() * 12;
    await runtime.call('ADD', pod, { started: (child) => setTimeout(() => child.kill('SIGKILL'), delay) });
    await runtime.succeed('DEL', pod);
    assert.deepEqual(runtime.traces(), before, `after ${delay.toFixed(1)} ms`);
  }
});

test('an agent killed in the middle of ADDs finds its way when it starts again', async () => {
  const rig = await setUp('10.7.0.0/28');
  const { runtime } = rig;
  const before = runtime.traces();
  for (let round = 0; round < 5; round++) {
    const pods = [newPod(), newPod(), newPod()];
    const calls = pods.map((pod) => runtime.call('ADD', pod));
    await new Promise((resolve) => setTimeout(resolve, Math.random() * 20));
    await rig.agent?.kill();
    // With the connection cut the launcher becomes the bundle, which cannot give out an address.
    for (const { code, json } of await Promise.all(calls))
      assert.ok(code === 0 || json.code === 11 || json.code === 100);
    if (round % 2 === 0) for (const pod of pods) await runtime.succeed('DEL', pod);
    await rig.start();
    for (const pod of pods) await runtime.succeed('DEL', pod);
    assert.deepEqual(runtime.traces(), before);
  }
  const all = await Promise.all(Array.from({ length: 12 }, () => runtime.succeed('ADD', newPod())));
  assert.equal(new Set(all.map(addressOf)).size, 12);
});

test('what a killed agent had marked for deletion is gone after its next start or a GC, its addresses too', async () => {
  const rig = await setUp('10.7.0.0/29');
  const { runtime } = rig;
  const before = runtime.traces();
  const [first, second, kept] = [newPod(), newPod(), newPod()] as const;
  const results: Loose[] = [];
  for (const pod of [first, second, kept]) results.push(await runtime.succeed('ADD', pod));
  await rig.agent?.kill();
  // As it would leave them: the first one long enough ago that nobody can be at work on it.
  const hostEnds = results.slice(0, 2).map(({ interfaces }) => interfaces[0].name);
  for (const [index, name] of hostEnds.entries()) {
    runtime.node.run('ip', 'link', 'set', name, 'group', String(DOOMED));
    const file = join(runtime.directory, 'state', 'attachments', `${name.replace('tbo', '')}.json`);
    const time = new Date(Date.now() + (index === 0 ? -60_000 : 5_000)).toISOString();
    const record = { ...JSON.parse(readFileSync(file, 'utf8')), state: 'detaching', time };
    writeFileSync(file, JSON.stringify(record));
  }
  await rig.start();
  const links = () => runtime.node.ip('link').map(({ ifname }) => ifname);
  assert.equal(links().includes(hostEnds[0]), false);
  await runtime.succeed('GC', undefined, {
    config: { 'cni.dev/valid-attachments': [{ containerID: kept.id, ifname: 'eth0' }] },
  });
  assert.equal(links().includes(hostEnds[1]), false);
  for (const result of results.slice(0, 2)) {
    const again = newPod();
    await runtime.succeed('ADD', again, { config: { runtimeConfig: { ips: [addressOf(result)] } } });
    await runtime.succeed('DEL', again);
  }
  assert.ok(runtime.node.pings(addressOf(results[2])));
  await runtime.succeed('DEL', kept);
  assert.deepEqual(runtime.traces(), before);
});

test('agents and callers killed in the middle of DELs leave nothing past a GC', async () => {
  const rig = await setUp('10.7.0.0/28');
  const { runtime } = rig;
  const before = runtime.traces();
  for (let round = 0; round < 4; round++) {
    const pods = Array.from({ length: 10 }, newPod);
    await Promise.all(pods.map((pod) => runtime.succeed('ADD', pod)));
    const delay = Math.random() * 30;
    const calls = pods.map((pod) =>
      runtime.call('DEL', pod, { started: (child) => setTimeout(() => child.kill('SIGKILL'), delay) }),
    );
    await new Promise((resolve) => setTimeout(resolve, delay));
    await rig.agent?.kill();
    await Promise.all(calls);
    await rig.start();
    await runtime.succeed('GC', undefined, { config: { 'cni.dev/valid-attachments': [] } });
    assert.deepEqual(runtime.traces(), before, `after ${delay.toFixed(1)} ms`);
  }
});

test('while the agent is away pods go on, DEL works, and their addresses are free when it is back', async () => {
  const rig = await setUp('10.7.0.0/29');
  const { runtime } = rig;
  const [kept, gone] = [newPod(), newPod()];
  const keptResult = await runtime.succeed('ADD', kept);
  const goneAddress = addressOf(await runtime.succeed('ADD', gone));
  await rig.agent?.kill();
  assert.ok(runtime.node.pings(addressOf(keptResult)));
  assert.equal((await runtime.fail('ADD', newPod())).code, 11);
  assert.equal((await runtime.fail('STATUS')).code, 50);
  await runtime.succeed('CHECK', kept, { config: { prevResult: keptResult } });
  await runtime.succeed('DEL', gone);
  assert.equal(readdirSync(join(runtime.directory, 'state', 'released')).length, 1);
  await rig.start();
  assert.deepEqual(readdirSync(join(runtime.directory, 'state', 'released')), []);
  await runtime.succeed('ADD', newPod(), { config: { runtimeConfig: { ips: [goneAddress] } } });
  await runtime.succeed('CHECK', kept, { config: { prevResult: keptResult } });
});

test('with delegated IPAM a pod attached while the agent is away has its programs', async () => {
  const rig = await setUp();
  const { runtime } = rig;
  await rig.agent?.kill();
  runtime.config = { ...runtime.config, ipam: runtime.hostLocal('10.9.0.0/24') };
  const pod = newPod();
  const prevResult = await runtime.succeed('ADD', pod);
  assert.match(pod.namespace.run('tc', 'filter', 'show', 'dev', 'eth0', 'egress'), /tb_eth0_egress/);
  await rig.start();
  await runtime.succeed('CHECK', pod, { config: { prevResult } });
  await runtime.succeed('DEL', pod);
  assert.deepEqual(runtime.held(), []);
});

test('after a reboot the whole pool is there for the first ADDs', async () => {
  const rig = await setUp('10.7.0.0/29');
  const { runtime } = rig;
  const pods: TestPod[] = [];
  for (let i = 0; i < 5; i++) {
    const pod = newPod();
    await runtime.succeed('ADD', pod);
    pods.push(pod);
  }
  await rig.agent?.kill();
  for (const pod of pods) pod.namespace.remove();
  rmSync(join(runtime.directory, 'run'), { recursive: true });
  rmSync(String(runtime.config.bpfDir), { recursive: true, force: true });
  await rig.start({ boot: 'ffffffff-0000-4000-8000-000000000000' });
  for (let i = 0; i < 5; i++) await runtime.succeed('ADD', newPod());
  assert.ok(existsSync(join(runtime.directory, 'state')));
});

test('a NIC gets links that the pod cannot remove; DEL takes them off and gives the NIC back', async () => {
  const { runtime } = await setUp({ cidr: '10.7.0.0/24', gateway: '10.7.0.1' });
  const gateway = namespaces.create(`gateway${++count}`);
  opened.push(() => gateway.remove());
  runtime.node.run('ip', 'link', 'add', 'nic0', 'type', 'veth', 'peer', 'gw0', 'netns', gateway.name);
  runtime.node.run('ip', 'link', 'set', 'nic0', 'up');
  gateway.run('ip', 'address', 'add', '10.7.0.1/24', 'dev', 'gw0');
  gateway.run('ip', 'link', 'set', 'gw0', 'up');
  runtime.settle();
  const before = runtime.traces();
  runtime.config = { ...runtime.config, attachment: 'nic', device: 'nic0' };
  const pod = newPod();
  const prevResult: Loose = await runtime.succeed('ADD', pod);
  assert.equal(prevResult.ips[0].gateway, '10.7.0.1');
  assert.match(prevResult.ips[0].address, /^10\.7\.0\.\d+\/24$/);
  assert.ok(pod.namespace.pings('10.7.0.1'));
  assert.notDeepEqual(runtime.traces().pins, []);
  pod.namespace.attempt('tc', 'qdisc', 'del', 'dev', 'eth0', 'clsact');
  await runtime.succeed('CHECK', pod, { config: { prevResult } });
  await runtime.succeed('DEL', pod);
  assert.deepEqual(runtime.traces(), before);
  await runtime.succeed('ADD', pod);
  rmSync(join(runtime.directory, 'state', 'attachments'), { recursive: true });
  await runtime.succeed('DEL', pod);
  assert.deepEqual(runtime.traces().pins, []);
});

test('a pod with a NIC is drawn from the segment of its link, one on a veth pair from the other', async () => {
  const { runtime } = await setUp('10.7.0.0/24', { cidr: '10.8.0.0/24', gateway: '10.8.0.1' });
  runtime.node.run('ip', 'link', 'add', 'nic0', 'type', 'veth', 'peer', 'gw0');
  runtime.node.run('ip', 'link', 'set', 'nic0', 'up');
  assert.match(addressOf(await runtime.succeed('ADD', newPod())), /^10\.7\./);
  runtime.config = { ...runtime.config, attachment: 'nic', master: 'nic0', kind: 'macvlan' };
  const pod = newPod();
  const { ips }: Loose = await runtime.succeed('ADD', pod);
  assert.equal(ips[0].address, '10.8.0.2/24');
  assert.equal(pod.namespace.ip('route show default')[0].gateway, '10.8.0.1');
});

test('a host port reaches the pod, by the portmap plugin behind this one in the list', async () => {
  const { runtime } = await setUp();
  const client = namespaces.create(`client${++count}`);
  opened.push(() => client.remove());
  runtime.node.run('ip', 'link', 'set', 'up1', 'netns', client.name);
  client.run('ip', 'address', 'add', '192.0.2.254/24', 'dev', 'up1');
  client.run('ip', 'link', 'set', 'up1', 'up');
  const before = runtime.traces();
  const pod = newPod();
  const prevResult = await runtime.succeed('ADD', pod);
  const portmap = new Runtime('/usr/lib/cni/portmap', runtime.node);
  opened.push(() => portmap.close());
  portmap.config = {
    cniVersion: '1.0.0',
    name: 'pods',
    type: 'portmap',
    snat: true,
    runtimeConfig: { portMappings: [{ hostPort: 8080, containerPort: 80, protocol: 'tcp' }] },
    prevResult: { ...prevResult, cniVersion: '1.0.0' },
  };
  const chained = await portmap.succeed('ADD', pod);
  const server = 'require("net").createServer((s) => s.end("hello " + s.remoteAddress)).listen(80)';
  pod.namespace.start('node', ['-e', server]);
  let said = '';
  for (let attempt = 0; attempt < 50 && said === ''; attempt++) {
    said = client.attempt('nc', '-w', '1', '192.0.2.1', '8080').stdout;
  }
  assert.equal(said, 'hello ::ffff:192.0.2.254');
  await runtime.succeed('CHECK', pod, { config: { prevResult: chained } });
  await portmap.succeed('DEL', pod);
  await runtime.succeed('DEL', pod);
  assert.deepEqual(runtime.traces().links, before.links);
});
