// The operator and the agents of nodes, all as they are built, over one directory store.
import assert from 'node:assert/strict';
import { join } from 'node:path';
import { after, afterEach, describe, test } from 'node:test';
import { eventually } from '../../src/eventually.rig.ts';
import { AgentRig } from './agentRig.ts';
import { TestNamespaces } from './namespaces.ts';
import { TestOperator } from './operatorRig.ts';

const namespaces = new TestNamespaces('operator');
const opened: (() => Promise<unknown>)[] = [];
let count = 0;

/** A node without segments of its own, and an empty cluster. */
function newNode(): AgentRig {
  const rig = new AgentRig(namespaces, `n${++count}`, { segments: [] });
  opened.push(() => rig.remove());
  return rig;
}

async function startOperator(rig: AgentRig, ...options: string[]): Promise<TestOperator> {
  const operator = await TestOperator.start(join(rig.directory, 'store'), ...options);
  opened.push(() => operator.end('SIGKILL'));
  return operator;
}

function dropPool(rig: AgentRig, name: string, spec: object): void {
  rig.drop(
    `IPPool/${name}.yaml`,
    JSON.stringify({ apiVersion: 'network.tombolo.dev/v1alpha1', kind: 'IPPool', metadata: { name }, spec }),
  );
}

const ANNOTATION = 'cni.projectcalico.org/ipv4pools';

function dropNamespace(rig: AgentRig, name: string, metadata: object): void {
  const object = { apiVersion: 'v1', kind: 'Namespace', metadata: { name, ...metadata } };
  rig.drop(`Namespace/${name}.yaml`, JSON.stringify(object));
}

/** A pod that is bound to a pool by name. */
function dropPod(rig: AgentRig, namespace: string, name: string, pool: string): void {
  const metadata = { namespace, name, annotations: { [ANNOTATION]: pool } };
  rig.drop(`Pod/${namespace}/${name}.yaml`, JSON.stringify({ apiVersion: 'v1', kind: 'Pod', metadata }));
}

/** The node's object, as the store has it. */
async function network(rig: AgentRig) {
  const { stdout } = await rig.cli(['get', 'nodenetwork', `n${count}`, '-o', 'json']);
  return JSON.parse(stdout);
}

describe('an operator and an agent', () => {
  afterEach(async () => {
    for (const close of opened.splice(0).reverse()) await close();
  });
  after(() => namespaces.close());

  test('a node without segments gets one, and its pods attach', async () => {
    const rig = newNode();
    dropPool(rig, 'default', { cidr: '10.78.0.0/16', blockSize: 28 });
    await startOperator(rig);
    await rig.start();
    await eventually(async () => {
      const [segment] = (await rig.json('/v1/status')).segments;
      assert.equal(segment?.state, 'active');
      assert.equal(segment.pool, 'default');
    });
    const [one, other] = [await rig.pod('one'), await rig.pod('other')];
    assert.match(one.address, /^10\.78\.0\.\d+$/);
    assert.ok(one.namespace.pings(other.address));
  });

  test('forty pods at once on an empty node with blocks of sixteen all get an address', async () => {
    const rig = newNode();
    dropPool(rig, 'default', { cidr: '10.78.0.0/16', blockSize: 28 });
    await startOperator(rig);
    await rig.start();
    const pods = await Promise.all(Array.from({ length: 40 }, (_, index) => rig.pod(`burst${index}`)));
    opened.push(async () => {
      for (const { namespace } of pods) namespace.remove();
    });
    assert.equal(new Set(pods.map(({ address }) => address)).size, 40);
    await eventually(async () => {
      const { status, spec } = await network(rig);
      assert.deepEqual(status.requests, []);
      assert.ok(spec.segments.length <= 4, `${spec.segments.length} segments for forty pods`);
    });
  });

  test('where no pool has a block left an ADD is told to come again, and why', async () => {
    const rig = newNode();
    dropPool(rig, 'tiny', { cidr: '10.78.0.0/31', blockSize: 31 });
    await startOperator(rig);
    await rig.start();
    const [first] = [await rig.pod('first'), await rig.pod('second')];
    const pod = namespaces.create(`${count}third`);
    const { status, body } = await rig.verb('ADD', 'third', pod.path);
    assert.equal(status, 500);
    const { code, msg } = JSON.parse(body);
    assert.equal(code, 11);
    assert.match(msg, /every one is in use, of 10\.78\.0\.0\/31 \(2\); the operator says: pool tiny/);
    assert.equal((await rig.verb('DEL', `n${count}-first`, first.namespace.path)).status, 200);
    assert.equal((await rig.verb('ADD', 'third', pod.path)).status, 200);
    await eventually(async () => assert.deepEqual((await network(rig)).status.requests, []));
  });

  test('a pod is served by the pool it is bound to, by name or by namespace, and a typo is an error', async () => {
    const rig = newNode();
    dropPool(rig, 'default', { cidr: '10.78.0.0/16', blockSize: 28 });
    dropPool(rig, 'bank', { cidr: '10.79.0.0/16', blockSize: 28, namespaceSelector: 'tenant == "bank"' });
    dropPool(rig, 'named', { cidr: '10.80.0.0/16', blockSize: 28, nodeSelector: '!all()' });
    dropNamespace(rig, 'vault', { labels: { tenant: 'bank' } });
    dropNamespace(rig, 'lab', { annotations: { [ANNOTATION]: 'named' } });
    dropPod(rig, 'shop', 'typo', 'nmaed');
    dropPod(rig, 'shop', 'thief', 'bank');
    await startOperator(rig);
    await rig.start();
    const add = async (namespace: string, name: string) => {
      const { path } = namespaces.create(`${count}${namespace}${name}`);
      const args = `IgnoreUnknown=1;K8S_POD_NAMESPACE=${namespace};K8S_POD_NAME=${name}`;
      return JSON.parse((await rig.verb('ADD', `${namespace}-${name}`, path, {}, args)).body);
    };
    assert.match((await add('shop', 'web')).ips[0].address, /^10\.78\./);
    assert.match((await add('vault', 'web')).ips[0].address, /^10\.79\./);
    assert.match((await add('lab', 'web')).ips[0].address, /^10\.80\./);
    const typo = await add('shop', 'typo');
    assert.deepEqual([typo.code, typo.ips], [7, undefined]);
    assert.match(typo.msg, /pool nmaed, named by annotation .*ipv4pools of pod shop\/typo: there is no pool/);
    const thief = await add('shop', 'thief');
    assert.equal(thief.code, 7);
    assert.match(thief.msg, /pool bank, .*: it does not select the namespace/);

    assert.deepEqual(await rig.cli(['ipam', 'check']), { status: 0, stdout: 'nothing found\n', stderr: '' });
    const [mine] = (await network(rig)).spec.segments;
    const { apiVersion, kind } = await network(rig);
    const twin = { apiVersion, kind, metadata: { name: 'twin' }, spec: { segments: [{ cidr: mine.cidr }] } };
    rig.drop('NodeNetwork/twin.yaml', JSON.stringify(twin));
    await eventually(async () => {
      const { status, stdout } = await rig.cli(['ipam', 'check', '-o', 'json']);
      const [finding] = JSON.parse(stdout);
      assert.deepEqual([status, finding?.kind, finding?.object], [1, 'segment held twice', mine.cidr]);
    });

    const why = JSON.parse((await rig.cli(['ipam', 'explain', 'pod', 'vault/web', '-o', 'json'])).stdout);
    assert.equal(why.holds[0].pool, 'bank');
    assert.deepEqual(why.families[0].pools, ['bank']);
    const { stdout } = await rig.cli(['ipam', 'explain', 'pod', 'shop/typo']);
    assert.match(stdout, /Refused +Cannot draw from pool nmaed/);
    assert.match(stdout, /named +10\.80\.0\.0\/16 +does not serve it: it serves only who names it/);
  });

  test('told to stop, the leader resigns, and the next one leads before the lease runs out', async () => {
    const rig = newNode();
    dropPool(rig, 'default', { cidr: '10.78.0.0/16', blockSize: 28 });
    const first = await startOperator(rig, '--lease-duration', '30');
    await eventually(() => assert.ok(first.said('this operator leads now')));
    const second = await startOperator(rig, '--lease-duration', '3');
    assert.equal(await first.end('SIGTERM'), 0);
    await eventually(() => assert.ok(second.said('this operator leads now')), 5_000);
  });

  test('an operator tells Prometheus of its rounds', async () => {
    const rig = newNode();
    dropPool(rig, 'default', { cidr: '10.78.0.0/16', blockSize: 28 });
    rig.drop('Node/a.yaml', JSON.stringify({ apiVersion: 'v1', kind: 'Node', metadata: { name: 'a' } }));
    await startOperator(rig, '--metrics-address', '127.0.0.1:19478');
    await eventually(async () => {
      const metrics = await (await fetch('http://127.0.0.1:19478/metrics')).text();
      assert.match(metrics, /^tombolo_operator_writes_total\{outcome="written"\} 2$/m);
      assert.match(metrics, /^tombolo_operator_short_nodes 0$/m);
      assert.match(metrics, /^tombolo_pool_blocks\{pool="default",state="held"\} 1$/m);
      assert.match(metrics, /^tombolo_operator_claims 0$/m);
    });
  });
});
