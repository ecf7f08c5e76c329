import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';
import { eventually } from '../../src/eventually.rig.ts';
import { AgentRig } from './agentRig.ts';
import { type TestNamespace, TestNamespaces } from './namespaces.ts';
import { PodProcess } from './podProcess.ts';
import { firstWord } from './within.ts';

const namespaces = new TestNamespaces('tboutmtu');
type Pod = Awaited<ReturnType<AgentRig['pod']>>;

/** Sends back what it gets. */
const ECHO = `require('net').createServer((s) => { s.on('error', () => {}); s.write('leaf 0\\n'); s.pipe(s); }).listen(8080, '::', () => process.stdout.write('ready'));`;

describe('the MTU of pods', () => {
  let rig: AgentRig;
  let pod: Pod;
  let told: TestNamespace;
  let client: PodProcess;

  before(async () => {
    rig = new AgentRig(namespaces, 'tbomtu', { segments: ['10.77.0.0/24', 'fd77::/64'] });
    rig.leaf.run('ip', 'route', 'add', '10.77.0.0/24', 'via', '192.0.2.2');
    const server = rig.leaf.start(process.execPath, ['-e', ECHO], {
      env: {},
      stdio: ['ignore', 'pipe', 'inherit'],
    });
    await firstWord(server);
    await rig.start();
    pod = await rig.pod('pod');
    told = namespaces.create('tbomtu-told');
    const { status, body } = await rig.verb('ADD', 'tbomtu-told', told.path, { mtu: 1300 });
    assert.equal(status, 200, body);
    client = new PodProcess(pod.namespace);
  });
  after(async () => {
    await rig?.remove();
    namespaces.close();
  });

  const mtuOf = (namespace: TestNamespace) => namespace.ip('link show eth0')[0].mtu;
  const hostMtus = () =>
    rig.node
      .ip('link show')
      .filter(({ ifname }) => ifname.startsWith('tbo'))
      .map(({ mtu }) => mtu)
      .sort();

  async function startedAs(routing: 'underlay' | 'overlay'): Promise<void> {
    await rig.end('SIGTERM');
    await rig.start({ routing });
  }

  test('is the uplink’s in the underlay, or what they were told', () => {
    assert.deepEqual([mtuOf(pod.namespace), mtuOf(told)], [1500, 1300]);
    assert.deepEqual(hostMtus(), [1300, 1500]);
  });

  test('leaves room for tunnels when their node has become one of the overlay, and connections go on', async () => {
    const connection = await client.connect('192.0.2.1', 8080);
    assert.equal(await client.call('echo', connection.id, 100_000), true);
    await startedAs('overlay');
    assert.deepEqual([mtuOf(pod.namespace), mtuOf(told)], [1450, 1300]);
    assert.equal(await client.call('echo', connection.id, 100_000), true);
    await startedAs('underlay');
    assert.deepEqual([mtuOf(pod.namespace), mtuOf(told)], [1500, 1300]);
    assert.equal(await client.call('echo', connection.id, 100_000), true);
    await client.call('close', connection.id);
  });

  test('is what CHECK expects afterwards, and what new pods get', async () => {
    await startedAs('overlay');
    const added = await rig.pod('another');
    assert.equal(mtuOf(added.namespace), 1450);
    assert.deepEqual(
      hostMtus().filter((mtu) => typeof mtu === 'number' && mtu > 1300),
      [1450, 1450],
    );
    const { records } = { records: await rig.json('/v1/endpoints') };
    assert.equal(records.length, 3);
    await startedAs('underlay');
    assert.equal(mtuOf(added.namespace), 1500);
    await rig.end('SIGKILL');
    await rig.start();
    assert.equal(mtuOf(added.namespace), 1500);
  });

  test('follows the uplink’s', async () => {
    rig.node.run('ip', 'link', 'set', 'up0', 'mtu', '1400');
    await eventually(() => assert.equal(mtuOf(pod.namespace), 1400));
    rig.node.run('ip', 'link', 'set', 'up0', 'mtu', '1500');
    await eventually(() => assert.equal(mtuOf(pod.namespace), 1500));
    assert.equal(mtuOf(told), 1300);
  });
});
