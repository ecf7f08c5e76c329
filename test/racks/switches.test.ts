import assert from 'node:assert/strict';
import { after, describe, test } from 'node:test';
import { Lab } from '../interop/lab.ts';
import { Tombolo } from '../interop/tombolo.ts';
import { eventually } from '../interop/waiting.ts';
import { TestNamespaces } from '../kernel/namespaces.ts';
import { buildFabric, type Fabric, type Leaf, nextHopsOf, plugIn } from './fabric.ts';
import { leafAddress, OUTSIDE, PODS, RACKS } from './plan.ts';
import type { Make } from './routers.ts';

const VIP = '10.222.0.5';

/** A speaker without an agent, as a node of this number: its segment and its one pod's address follow from the number. */
function startNode(lab: Lab, leaf: Leaf, number: number) {
  const { rack } = leaf;
  const node = lab.island(`${rack.name}${number}`);
  const address = plugIn(leaf, node.namespace, number);
  const stem = rack.pool.replace(/0\/\d+$/, '');
  const [segment, pod] = [`${stem}${64 * (number - 1)}/26`, `${stem}${64 * (number - 1) + 1}`];
  node.namespace.run('ip', 'address', 'add', `${pod}/32`, 'dev', 'lo');
  const speaker = new Tombolo(
    node,
    JSON.stringify({
      asn: rack.asn,
      routerId: address,
      neighbours: [{ address: leafAddress(rack), asn: 'internal', connectRetryTime: 1 }],
      networks: [segment, `${VIP}/32`],
      kernel: { ranges: [PODS], segments: [segment] },
    }),
  );
  return { namespace: node.namespace, address, segment, pod, speaker, leaf };
}

type Node = ReturnType<typeof startNode>;

function knows(place: { namespace: Node['namespace'] }, segment: string, ...hops: string[]) {
  return eventually(`${segment} via ${hops}`, () => {
    const found = nextHopsOf(place.namespace, segment);
    return found.join() === hops.join();
  });
}

for (const make of ['frr', 'bird', 'tombolo'] satisfies Make[]) {
  describe(`between switches that run ${make}`, () => {
    const lab = new Lab(`racks${make}`, new TestNamespaces(`racks${make}`));
    after(() => lab.close());
    let fabric: Fabric;
    let nodes: [Node, Node, Node];

    test('a node takes its own leaf as the next hop to the other rack, and a neighbour itself in its own', async () => {
      fabric = buildFabric(lab, make);
      const [a, b] = fabric.leaves;
      const [a1, a2, b1] = [startNode(lab, a, 1), startNode(lab, a, 2), startNode(lab, b, 1)];
      nodes = [a1, a2, b1];
      await knows(a1, a2.segment, a2.address);
      await knows(a1, b1.segment, leafAddress(RACKS[0]));
      await knows(b1, a1.segment, leafAddress(RACKS[1]));
      assert.deepEqual(nextHopsOf(a1.namespace, 'default'), [leafAddress(RACKS[0])], 'and one default route');
      for (const { pod } of nodes) assert.ok(a1.namespace.pings(pod, '-I', a1.pod), pod);
      assert.ok(fabric.outside.pings(b1.pod), 'the outside knows the way, too');
      assert.deepEqual(nextHopsOf(a1.namespace, OUTSIDE.lan), [], 'but no node learns of the outside');
    });

    test('an address that several nodes announce has as many next hops', async () => {
      const [a, b] = fabric.leaves;
      const [a1, a2] = nodes;
      await knows(a.router, VIP, a1.address, a2.address);
      await knows(b.router, VIP, nodes[2].address);
      await knows(fabric.spine.router, VIP, ...RACKS.map(({ uplink }) => uplink.leaf));
    });

    test('a node that is new needs no word to a switch', async () => {
      const [a1] = nodes;
      const fresh = startNode(lab, fabric.leaves[1], 2);
      await knows(a1, fresh.segment, leafAddress(RACKS[0]));
      await knows(nodes[2], fresh.segment, fresh.address);
      assert.ok(a1.namespace.pings(fresh.pod, '-I', a1.pod));
    });

    test('a node that says goodbye is forgotten everywhere', async () => {
      const [a1, a2, b1] = nodes;
      await a2.speaker.stop('SIGINT');
      for (const place of [a1, b1, fabric.spine.router]) await knows(place, a2.segment);
      await knows(fabric.leaves[0].router, VIP, a1.address);
    });
  });
}
