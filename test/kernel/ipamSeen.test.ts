// What people see of the addresses: an agent and the operator as they are built, and the command line.
import assert from 'node:assert/strict';
import { join } from 'node:path';
import { after, afterEach, describe, test } from 'node:test';
import { eventually } from '../../src/eventually.rig.ts';
import { AgentRig } from './agentRig.ts';
import { TestNamespaces } from './namespaces.ts';
import { TestOperator } from './operatorRig.ts';

const OURS = 'network.tombolo.dev/v1alpha1';
const namespaces = new TestNamespaces('ipamseen');
const opened: (() => Promise<unknown>)[] = [];
let count = 0;

function manifest(kind: string, metadata: object, spec: object): string {
  return JSON.stringify({ apiVersion: OURS, kind, metadata, spec });
}

function pool(name: string, spec: object): string {
  return manifest('IPPool', { name }, spec);
}

/** A node with its first block, of a pool that the command line has accepted. */
async function newNode(spec: object): Promise<AgentRig> {
  const rig = new AgentRig(namespaces, `s${++count}`, { segments: [] });
  opened.push(() => rig.remove());
  assert.equal(
    (await rig.cli(['apply', '-f', '-'], pool('default', spec))).stdout,
    'ippool/default created\n',
  );
  const operator = await TestOperator.start(join(rig.directory, 'store'));
  opened.push(() => operator.end('SIGKILL'));
  await rig.start();
  await eventually(
    async () => assert.equal((await rig.json('/v1/status')).segments[0]?.state, 'active'),
    30_000,
  );
  return rig;
}

// biome-ignore lint/suspicious/noExplicitAny: what a command prints.
async function json(rig: AgentRig, ...words: string[]): Promise<any> {
  return JSON.parse((await rig.cli([...words, '-o', 'json'])).stdout);
}

describe('the addresses of a node', () => {
  afterEach(async () => {
    for (const close of opened.splice(0).reverse()) await close();
  });
  after(() => namespaces.close());

  test('pools, holders and the history of one address are shown', async () => {
    const rig = await newNode({ cidr: '10.82.0.0/24', blockSize: 30 });
    const { address } = await rig.pod('first');
    assert.equal((await rig.verb('DEL', `s${count}-first`, '')).status, 200);
    const { pools, segments } = await json(rig, 'ipam', 'show');
    assert.deepEqual([pools[0].pool, pools[0].cidr, pools[0].blockSize], ['default', '10.82.0.0/24', 30]);
    assert.equal(segments[0].pool, 'default');
    const { history, holder, segmentNode } = await json(rig, 'ipam', 'show', address);
    assert.deepEqual(
      history.map(({ event, containerID }: { event: string; containerID: string }) => [event, containerID]),
      [
        ['given', `s${count}-first`],
        ['released', `s${count}-first`],
      ],
    );
    assert.deepEqual([holder, segmentNode], [undefined, `s${count}`]);
    assert.match((await rig.cli(['ipam', 'show', address])).stdout, /Holder +nobody on node/);
  });

  test('a change that would hurt is refused and simulated, and past the command line it has no effect', async () => {
    const rig = await newNode({ cidr: '10.82.0.0/24', blockSize: 28, expansion: { low: 1 } });
    await rig.pod('stays');
    // The agent says once a second what is in use.
    await eventually(async () => assert.equal((await json(rig, 'ipam', 'show')).pools[0].used, 1));
    const narrower = pool('default', { cidr: '10.82.0.0/24', blockSize: 30 });
    const apply = await rig.cli(['apply', '-f', '-'], narrower);
    assert.equal(apply.status, 1);
    assert.match(
      apply.stderr,
      /Cannot change pool default: blockSize is 28 and cannot become 30: .*Instead: make a second/,
    );
    const overlap = await rig.cli(['apply', '-f', '-'], pool('other', { cidr: '10.82.0.128/25' }));
    assert.match(
      overlap.stderr,
      /Cannot create pool other: 10\.82\.0\.128\/25 overlaps 10\.82\.0\.0\/24 of pool default/,
    );
    const deletion = await rig.cli(['delete', 'ippool', 'default']);
    assert.equal(deletion.status, 1);
    assert.match(
      deletion.stderr,
      /Cannot delete pool default: 1 node .* hold 1 block of it .*disabled: true/,
    );
    const simulation = await rig.cli(['ipam', 'simulate', '-f', '-'], narrower);
    assert.equal(simulation.status, 1);
    assert.match(simulation.stdout, /STAYS +POOL +NODE +IN USE\n10\.82\.0\.0\/28 +default/);
    // By hand, past the command line.
    rig.drop('IPPool/default.yaml', narrower);
    await eventually(async () => {
      const { status } = await json(rig, 'get', 'ippool', 'default');
      assert.deepEqual(status?.inForce, { cidr: '10.82.0.0/24', blockSize: 28 });
    });
    const events = (await json(rig, 'get', 'events')).items;
    assert.ok(
      events.some(({ reason }: { reason: string }) => reason === 'PoolChangeRefused'),
      'an event',
    );
  });

  test('a pod without address is explained, with an event in the same words', async () => {
    const rig = await newNode({ cidr: '10.82.0.0/31', blockSize: 31 });
    await rig.pod('one');
    await rig.pod('two');
    const { path } = namespaces.create(`${count}three`);
    const args = 'IgnoreUnknown=1;K8S_POD_NAMESPACE=shop;K8S_POD_NAME=web';
    const { msg } = JSON.parse((await rig.verb('ADD', 'three', path, {}, args)).body);
    assert.match(msg, /every one is in use/);
    const why = await json(rig, 'ipam', 'explain', 'pod', 'shop/web');
    assert.match(
      why.advice[0],
      /pool default \(10\.82\.0\.0\/31\) has no block of \/31 left: enlarge its cidr/,
    );
    await eventually(async () => {
      const { items } = await json(rig, 'get', 'events', '-n', 'shop');
      assert.equal(items[0]?.reason, 'IPAllocationFailed');
      assert.ok(items[0].message.startsWith(msg), items[0].message);
    });
    const { body } = await rig.get('/metrics');
    assert.match(body, /^tombolo_events_total\{outcome="written"\} 1$/m);
    assert.match(body, /^tombolo_ipam_borrowed_addresses 0$/m);
  });

  test('a pod that insists on an address is explained by what stands against that', async () => {
    const rig = await newNode({ cidr: '10.82.0.0/24', blockSize: 28 });
    const insist = (address: string) =>
      rig.drop(
        'Pod/shop/web.yaml',
        JSON.stringify({
          apiVersion: 'v1',
          kind: 'Pod',
          metadata: {
            name: 'web',
            namespace: 'shop',
            annotations: { 'cni.projectcalico.org/ipAddrs': JSON.stringify([address]) },
          },
        }),
      );
    const explained = () => json(rig, 'ipam', 'explain', 'pod', 'shop/web');
    insist('192.0.2.77');
    await eventually(async () => {
      const { refused, families } = await explained();
      assert.equal(refused, 'Cannot allocate 192.0.2.77: it is in no active segment of this node');
      assert.deepEqual(families, []);
    });
    const [{ cidr }] = (await rig.json('/v1/ipam')).segments;
    insist(cidr.replace(/\/.*/, ''));
    await eventually(async () => assert.equal((await explained()).refused, undefined));
  });

  test('what has come apart is found and mended', async () => {
    const rig = await newNode({ cidr: '10.82.0.0/24', blockSize: 28 });
    assert.equal((await rig.cli(['ipam', 'check'])).stdout, 'nothing found\n');
    const [{ cidr }] = (await rig.json('/v1/ipam')).segments;
    rig.node.run('ip', 'route', 'delete', 'blackhole', cidr, 'proto', '111');
    rig.node.run('ip', 'route', 'add', 'blackhole', '10.96.0.0/12', 'proto', '111');
    const kinds = async (...words: string[]) =>
      (await json(rig, 'ipam', 'check', ...words)).map(
        ({ kind, repaired }: { kind: string; repaired?: boolean }) =>
          repaired === undefined ? kind : `${kind}: ${repaired}`,
      );
    assert.deepEqual(await kinds(), ['segment without black hole', 'black hole without segment']);
    assert.deepEqual(await kinds('--fix'), [
      'segment without black hole: true',
      'black hole without segment: true',
    ]);
    assert.deepEqual(await kinds(), []);
    // Another node has the same block, and pods in it: this one, which has none, gives way.
    const report = { cidr, generation: 1, used: 3 };
    const twin = { segments: [{ cidr, generation: 1 }] };
    const metadata = { name: 'twin' };
    rig.drop(
      'NodeNetwork/twin.yaml',
      JSON.stringify({
        apiVersion: OURS,
        kind: 'NodeNetwork',
        metadata,
        spec: twin,
        status: { segments: [report] },
      }),
    );
    assert.deepEqual(await kinds('--fix'), ['segment held twice: true']);
    await eventually(async () => assert.deepEqual(await kinds(), []), 20_000);
  });
});
