import assert from 'node:assert/strict';
import { mkdirSync, readdirSync, rmdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { cgroupRoot } from '../../src/ebpf/cgroup.ts';
import { eventually } from '../../src/eventually.rig.ts';
import { AgentRig, serviceYaml, sliceYaml } from './agentRig.ts';
import { TestNamespaces } from './namespaces.ts';
import { firstWord } from './within.ts';

const namespaces = new TestNamespaces('agentsocket');
const VIP = '10.96.0.20';
const cgroup = join(cgroupRoot() ?? '', `tbagentsocket-${process.pid}`);
let rig: AgentRig;

before(async () => {
  mkdirSync(cgroup);
  rig = new AgentRig(namespaces, 's', { cgroup, services: 'socket' });
  await rig.start();
});

after(async () => {
  await rig.remove();
  namespaces.close();
  await eventually(() => rmdirSync(cgroup));
});

/** Runs a script of Node in the cgroup and the namespace; what it prints. */
function run(namespace: typeof rig.node, script: string): string {
  const inCgroup = `echo $$ > ${cgroup}/cgroup.procs && exec env -i ${process.execPath} -e "$0"`;
  return namespace.run('sh', '-c', inCgroup, script).trim();
}

test('the node and its pods reach a service at the socket, and believe to be connected to it', async () => {
  const server = await rig.pod('server');
  const client = await rig.pod('client');
  const serve = `require('net').createServer((s) => s.end(s.remoteAddress)).listen(8080, () => process.stdout.write('ready'))`;
  const process_ = server.namespace.start(process.execPath, ['-e', serve], {
    env: {},
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  await firstWord(process_);
  rig.drop('Service/default/web.yaml', serviceYaml('web', VIP));
  rig.drop('EndpointSlice/default/web-1.yaml', sliceYaml('web', [server.address]));
  await eventually(async () => assert.equal((await rig.json('/v1/services')).length, 1));

  const ask = `const s = require('net').connect(80, '${VIP}'); s.on('error', (e) => console.log(e.code));
    s.on('data', (d) => console.log(s.remoteAddress, String(d).replace('::ffff:', '')))`;
  assert.equal(run(client.namespace, ask), `${VIP} ${client.address}`);
  assert.equal(run(rig.node, ask), `${VIP} 192.0.2.2`);
  assert.deepEqual((await rig.json('/v1/status')).datapath, { hooks: ['socket'], cgroup, problems: [] });
});

test('a namespace that is nobody’s business is left alone', () => {
  const stranger = namespaces.create('stranger');
  const ask = `const s = require('net').connect(80, '${VIP}'); s.on('error', (e) => console.log(e.code)); s.on('connect', () => console.log('connected'))`;
  assert.equal(run(stranger, ask), 'ENETUNREACH');
});

test('GC removes what the runtime no longer knows, and STATUS tells whether there are addresses', async () => {
  const status = await rig.verb('STATUS', '', '');
  assert.deepEqual(status, { status: 200, body: '' });
  const { allocations } = await rig.json('/v1/ipam');
  assert.equal(allocations.length, 2);
  const valid = [{ containerID: 's-server', ifname: 'eth0' }];
  const collected = await rig.verb('GC', '', '', { 'cni.dev/valid-attachments': valid });
  assert.equal(collected.status, 200, collected.body);
  const left = await rig.json('/v1/ipam');
  assert.deepEqual(
    left.allocations.map(({ containerID }: { containerID: string }) => containerID),
    ['s-server'],
  );
});

test('a journal that cannot be written refuses ADD, and works again once it can', async () => {
  await rig.end('SIGTERM');
  const ipam = join(rig.directory, 'state/ipam');
  rig.node.run('mount', '-t', 'tmpfs', '-o', 'size=64k', 'tbagentsocket', ipam);
  try {
    await rig.start();
    writeFileSync(join(ipam, 'ballast'), Buffer.alloc(1 << 20), { flag: 'w' });
  } catch (error) {
    assert.match(String(error), /ENOSPC/);
  }
  try {
    const pod = namespaces.create('full');
    const refused: string[] = [];
    for (let attempt = 0; attempt < 40 && refused.length === 0; attempt++) {
      const { status, body } = await rig.verb('ADD', `full-${attempt}`, pod.path);
      if (status === 200) await rig.verb('DEL', `full-${attempt}`, pod.path);
      else refused.push(body);
    }
    assert.match(refused[0] ?? '', /Cannot write .*journal\.jsonl: .*ENOSPC/);
    const held = (await rig.json('/v1/ipam')).allocations.map(
      ({ containerID }: { containerID: string }) => containerID,
    );
    assert.ok(!held.some((name: string) => name.startsWith('full-')), held.join());
    rig.node.run('rm', join(ipam, 'ballast'));
    const { status, body } = await rig.verb('ADD', 'after', pod.path);
    assert.equal(status, 200, body);
    await rig.verb('DEL', 'after', pod.path);
  } finally {
    await rig.end('SIGTERM');
    rig.node.run('umount', ipam);
  }
});

test('a full disk keeps no pod from being removed, and remembers that it was', async () => {
  await rig.start();
  await rig.verb('GC', '', '', { 'cni.dev/valid-attachments': [] });
  await rig.end('SIGTERM');
  const state = join(rig.directory, 'state');
  rig.node.run('mount', '-t', 'tmpfs', '-o', 'size=128k', 'tbagentsocket', state);
  try {
    await rig.start();
    const pods = [];
    for (const name of ['one', 'two', 'three']) pods.push(await rig.pod(`${name}-full`));
    assert.throws(() => writeFileSync(join(state, 'ballast'), Buffer.alloc(1 << 20)), /ENOSPC/);
    for (const [index, name] of ['one', 'two', 'three'].entries()) {
      const { namespace } = pods[index] ?? assert.fail();
      const { status, body } = await rig.verb('DEL', `s-${name}-full`, namespace.path);
      assert.equal(status, 200, body);
      assert.ok(!namespace.run('ip', '-o', 'link').includes('eth0'));
    }
    assert.deepEqual(readdirSync(join(state, 'attachments')), []);
    rig.node.run('rm', join(state, 'ballast'));
    const { address } = await rig.pod('four-full');
    await rig.end('SIGKILL');
    await rig.start();
    const { allocations } = await rig.json('/v1/ipam');
    assert.deepEqual(
      allocations.map(({ addresses }: { addresses: string[] }) => addresses),
      [[address]],
    );
  } finally {
    await rig.end('SIGTERM');
    rig.node.run('umount', state);
  }
});
