// The operator and the agents of nodes, all as they are built, over one directory store.
import assert from 'node:assert/strict';
import { join } from 'node:path';
import { after, afterEach, describe, test } from 'node:test';
import { eventually } from '../../src/store/compliance.ts';
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
    });
  });
});
