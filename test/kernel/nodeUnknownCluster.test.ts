import assert from 'node:assert/strict';
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { eventually } from '../../src/eventually.rig.ts';
import { counts } from './counting.ts';
import { type TestNamespace, TestNamespaces } from './namespaces.ts';
import { NodesRig, type RigNode, seenOn } from './nodesRig.ts';
import {
  addressOf,
  FAMILIES,
  OUTSIDE,
  outsideOf,
  peerOf,
  podAddress,
  serve,
  tcp,
  udp,
} from './outsideWorld.ts';

const namespaces = new TestNamespaces('tboutknow');
type Pod = Awaited<ReturnType<RigNode['rig']['pod']>>;

/** An API that nobody serves. */
const KUBECONFIG = `
apiVersion: v1
kind: Config
clusters: [{ name: none, cluster: { server: 'http://127.0.0.1:1' } }]
users: [{ name: nobody, user: { token: none } }]
contexts: [{ name: none, context: { cluster: none, user: nobody } }]
current-context: none
`;

describe('a node that masquerades and does not know its cluster', () => {
  let nodes: NodesRig;
  let first: RigNode;
  let outside: TestNamespace;
  let pod: Pod;
  let neighbour: Pod;
  let far: Pod;
  let outOfReach: { store: string };

  before(async () => {
    nodes = new NodesRig(namespaces, 'tbokno', [
      { routing: 'underlay', config: { masquerade: true } },
      { routing: 'underlay', config: { masquerade: true } },
    ]);
    first = nodes.node(1);
    outside = outsideOf(namespaces, 'tbokno', nodes);
    writeFileSync(join(nodes.store, 'kubeconfig'), KUBECONFIG);
    outOfReach = { store: `kubernetes:${join(nodes.store, 'kubeconfig')}` };
    await Promise.all(nodes.nodes.map(({ rig }) => rig.start(outOfReach)));
    pod = await first.rig.pod('pod');
    neighbour = await first.rig.pod('neighbour');
    far = await nodes.node(2).rig.pod('far');
    await Promise.all([outside, neighbour.namespace, far.namespace].map(serve));
  });
  after(async () => {
    await nodes?.remove();
    namespaces.close();
  });

  test('lets its pods talk to each other, and holds back what they begin with anybody else', async () => {
    for (const family of FAMILIES) {
      assert.equal(peerOf(tcp(pod.namespace, podAddress(neighbour, family))), podAddress(pod, family));
      const seen = await seenOn(nodes.fabric, first.port, () => {
        assert.equal(tcp(pod.namespace, OUTSIDE[family]), 'timeout');
        assert.equal(udp(pod.namespace, OUTSIDE[family]), 'timeout');
        assert.equal(udp(pod.namespace, podAddress(far, family)), 'timeout');
      });
      assert.deepEqual(
        seen.map(({ outer }) => outer).filter((text) => text.includes(`${podAddress(pod, family)} > `)),
        [],
      );
    }
    assert.ok(((await counts(first)).get('cluster_unknown') ?? 0) > 0);
    assert.equal((await counts(first)).get('masqueraded') ?? 0, 0);
    const { problems } = (await first.rig.json('/v1/status')).datapath;
    assert.match(problems.join(), /held back/);
  });

  test('answers who calls a pod by its own address', () => {
    assert.equal(peerOf(tcp(outside, podAddress(neighbour, 4))), OUTSIDE[4]);
  });

  test('hides them from the outside alone as soon as it knows', async () => {
    await Promise.all(nodes.nodes.map(({ rig }) => rig.end('SIGTERM')));
    await nodes.start();
    await eventually(() => assert.equal(peerOf(tcp(pod.namespace, OUTSIDE[4])), first.address), 20_000);
    assert.equal(peerOf(udp(pod.namespace, OUTSIDE[6])), addressOf(first, 6));
    for (const family of FAMILIES) {
      await eventually(() =>
        assert.equal(peerOf(tcp(pod.namespace, podAddress(far, family))), podAddress(pod, family)),
      );
    }
    const { problems } = (await first.rig.json('/v1/status')).datapath;
    assert.doesNotMatch(problems.join(), /held back/);
  });

  test('goes on so from its first moment when it is started again, whatever it can read then', async () => {
    await first.rig.end('SIGKILL');
    await first.rig.start(outOfReach);
    assert.equal(peerOf(tcp(pod.namespace, OUTSIDE[4])), first.address);
    assert.equal(peerOf(tcp(pod.namespace, podAddress(far, 4))), podAddress(pod, 4));
  });
});
