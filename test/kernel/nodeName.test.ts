// Two machines under one name, as a cloned image or a typo makes them: agents as they are built, over one store.
import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';
import { eventually } from '../../src/eventually.rig.ts';
import { TestNamespaces } from './namespaces.ts';
import { NodesRig } from './nodesRig.ts';

const namespaces = new TestNamespaces('nodename');

describe('two machines under one name', () => {
  let rig: NodesRig;

  before(async () => {
    const config = { nodeName: 'twin' };
    rig = new NodesRig(namespaces, 'twin', [
      { routing: 'underlay', config },
      { routing: 'underlay', config },
    ]);
    for (const { rig: agent } of rig.nodes) await agent.start();
  });
  after(async () => {
    await rig?.remove();
    namespaces.close();
  });

  test('both say so, and the second already when it starts', async () => {
    const problems = async (number: number): Promise<string[]> =>
      (await rig.node(number).rig.json('/v1/status')).problems;
    await eventually(async () => {
      const [problem = ''] = await problems(2);
      assert.match(
        problem,
        /^the Node twin names 192\.0\.2\.11.* and none of this node's addresses, 192\.0\.2\.12/,
      );
    }, 10_000);
    await eventually(async () => {
      const [problem = ''] = await problems(1);
      assert.match(problem, /^192\.0\.2\.12.* goes by the name twin, too/);
    }, 10_000);
    assert.match((await rig.node(1).rig.cli(['status'])).stdout, /Problems +192\.0\.2\.12/);
    const { body } = await rig.node(2).rig.get('/metrics');
    assert.match(body, /^tombolo_node_problems [12]$/m);
  });
});
