import assert from 'node:assert/strict';
import { test } from 'node:test';
import { AgentRig } from './agentRig.ts';
import { TestNamespaces } from './namespaces.ts';

test("a device that has the number of a pod's host end, and is not that, gets no programs of an agent that starts", async () => {
  const namespaces = new TestNamespaces('hostend');
  const rig = new AgentRig(namespaces, 'n');
  const { node } = rig;
  try {
    await rig.start();
    await rig.pod('a');
    const [link] = node.ip('link show type veth').filter(({ ifname }) => ifname.startsWith('tbo'));
    await rig.end('SIGKILL');
    node.run('ip', 'link', 'delete', link.ifname);
    node.run('ip', 'link', 'add', 'other', 'index', String(link.ifindex), 'type', 'bridge');
    await rig.start();
    for (const direction of ['ingress', 'egress']) {
      assert.equal(node.run('tc', 'filter', 'show', 'dev', 'other', direction), '');
    }
  } finally {
    await rig.remove();
    namespaces.close();
  }
});
