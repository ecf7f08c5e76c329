import assert from 'node:assert/strict';
import { after, test } from 'node:test';
import { AgentRig } from './agentRig.ts';
import { TestNamespaces } from './namespaces.ts';

const namespaces = new TestNamespaces('agentnic');
after(() => namespaces.close());

test("a NIC pod gets an address of its link's segment and its gateway, a veth pod one of the routed segment", async (t) => {
  const rig = new AgentRig(namespaces, 'links', {
    segments: ['10.77.0.0/24', { cidr: '10.78.0.0/24', gateway: '10.78.0.1' }],
  });
  t.after(() => rig.remove());
  await rig.start();
  const { address } = await rig.pod('pair');
  assert.match(address, /^10\.77\.0\./);
  const pod = namespaces.create('card');
  const child = { attachment: 'nic', master: 'up0', kind: 'macvlan' };
  const { status, body } = await rig.verb('ADD', 'card', pod.path, child);
  assert.equal(status, 200, body);
  assert.equal(JSON.parse(body).ips[0].address, '10.78.0.2/24');
  assert.equal(pod.ip('route show default')[0].gateway, '10.78.0.1');
});
