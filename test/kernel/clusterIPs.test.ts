import assert from 'node:assert/strict';
import { once } from 'node:events';
import { after, before, describe, test } from 'node:test';
import { eventually } from '../../src/eventually.rig.ts';
import { counts } from './counting.ts';
import { type TestNamespace, TestNamespaces } from './namespaces.ts';
import { NodesRig, type RigNode, seenOn } from './nodesRig.ts';
import {
  addressOf,
  announce,
  CLUSTER_IP,
  expose,
  FAMILIES,
  OUTSIDE,
  outsideOf,
  peerOf,
  podAddress,
  serve,
  tcp,
  udp,
} from './outsideWorld.ts';

const namespaces = new TestNamespaces('tbclusterip');
type Pod = Awaited<ReturnType<RigNode['rig']['pod']>>;

/** Opens a connection, and ends it only once `meanwhile` is done. @returns What the server says then, or why there is no answer. */
async function across(
  from: TestNamespace,
  address: string,
  meanwhile: () => Promise<unknown>,
): Promise<string> {
  const script = `const s = require('net').connect(80, '${address}', () => { s.write('x'); process.stdout.write('open'); });
    s.on('error', (e) => { console.log(e.code); process.exit(); }); s.on('data', (d) => process.stdout.write(d));
    process.stdin.once('data', () => { s.setTimeout(4000, () => { console.log('timeout'); process.exit(); }); s.end('y'); }); s.on('close', () => process.exit());`;
  const client = from.start(process.execPath, ['-e', script], {
    env: {},
    stdio: ['pipe', 'pipe', 'inherit'],
  });
  let said = '';
  client.stdout?.on('data', (text) => {
    said += String(text);
  });
  await eventually(() => assert.equal(said, 'open'));
  await meanwhile();
  const closed = once(client, 'close');
  client.stdin?.write('end');
  await closed;
  return said.slice('open'.length);
}

describe('a cluster IP, asked by a client outside', () => {
  let nodes: NodesRig;
  let first: RigNode;
  let second: RigNode;
  let outside: TestNamespace;
  let near: Pod;
  let far: Pod;
  let asking: Pod;

  before(async () => {
    const masquerade = { config: { masquerade: true } };
    nodes = new NodesRig(namespaces, 'tbcip', [
      { routing: 'underlay', ...masquerade },
      { routing: 'underlay', ...masquerade },
    ]);
    [first, second] = [nodes.node(1), nodes.node(2)];
    outside = outsideOf(namespaces, 'tbcip', nodes);
    await nodes.start();
    near = await first.rig.pod('near');
    far = await second.rig.pod('far');
    asking = await first.rig.pod('asking');
    await Promise.all([near.namespace, far.namespace].map(serve));
    for (const family of FAMILIES) lead(family, first);
  });
  after(async () => {
    await nodes?.remove();
    namespaces.close();
  });

  /** The leaf brings the address to this node from now on. */
  function lead(family: 4 | 6, node: RigNode): void {
    nodes.fabric.run('ip', 'route', 'replace', CLUSTER_IP[family], 'via', addressOf(node, family));
  }

  for (const family of FAMILIES) {
    const address = CLUSTER_IP[family];
    const range = family === 4 ? '10.96.0.0/16' : 'fd96::/112';
    const client = OUTSIDE[family];
    const here = () => ({ pod: near, node: first.name });
    const elsewhere = () => ({ pod: far, node: second.name });
    const publish = (backends: ReturnType<typeof here>[], spec = {}) =>
      expose(nodes.store, { family, backends, spec: { type: 'ClusterIP', ...spec } });

    test(`is refused at once where it is not announced, and is there for pods (IPv${family})`, async () => {
      publish([here()]);
      await eventually(() =>
        assert.equal(peerOf(tcp(asking.namespace, address, 80)), podAddress(asking, family)),
      );
      const before = (await counts(first)).get('outside_no_service') ?? 0;
      const seen = await seenOn(nodes.fabric, first.port, () => {
        assert.equal(tcp(outside, address, 80), 'ECONNREFUSED');
        assert.equal(udp(outside, address, 80), 'ECONNREFUSED');
      });
      const asked = seen.filter(({ outer }) => outer.includes(` ${client} > ${address} `));
      assert.equal(asked.length, 2, seen.map(({ outer }) => outer).join('\n'));
      assert.equal((await counts(first)).get('outside_no_service'), before + 2);
    });

    test(`leads to a backend of the node, which sees the client, as soon as it is announced (IPv${family})`, async () => {
      announce(nodes.store, 'serviceClusterIPs', [range]);
      await eventually(() => assert.equal(peerOf(tcp(outside, address, 80)), client));
      assert.equal(peerOf(udp(outside, address, 80)), client);
      assert.equal(tcp(outside, address, 81), 'ECONNREFUSED', 'another port');
    });

    test(`and to one elsewhere, which sees the client as well (IPv${family})`, async () => {
      publish([elsewhere()]);
      await eventually(() => assert.equal(peerOf(tcp(outside, address, 80)), client));
      assert.equal(peerOf(udp(outside, address, 80)), client);
      const heard = tcp(outside, address, 80, 2_000_000);
      assert.equal(typeof heard === 'object' ? heard.bytes : heard, 2_000_000);
    });

    test(`and under an open connection when the leaf moves it to another node (IPv${family})`, async () => {
      publish([here()]);
      await eventually(() => assert.equal(peerOf(tcp(outside, address, 80)), client));
      const said = await across(outside, address, async () => lead(family, second));
      assert.match(said, /"bytes":2/);
      lead(family, first);
    });

    for (const [policy, spec] of [
      ['externalTrafficPolicy', { type: 'NodePort', externalTrafficPolicy: 'Local' }],
      ['internalTrafficPolicy', { internalTrafficPolicy: 'Local' }],
    ] as const) {
      test(`with ${policy} Local by backends of the node alone (IPv${family})`, async () => {
        publish([elsewhere()], spec);
        await eventually(() => assert.equal(tcp(outside, address, 80), 'ECONNREFUSED'));
        publish([here(), elsewhere()], spec);
        await eventually(() => assert.equal(peerOf(tcp(outside, address, 80)), client));
        const handed = (await counts(first)).get('handed_over') ?? 0;
        for (let count = 0; count < 6; count++) assert.equal(peerOf(tcp(outside, address, 80)), client);
        assert.equal((await counts(first)).get('handed_over') ?? 0, handed);
      });
    }

    test(`goes on so from the first moment of an agent that is started again (IPv${family})`, async () => {
      publish([here()]);
      await eventually(() => assert.equal(peerOf(tcp(outside, address, 80)), client));
      const before = (await counts(first)).get('outside_no_service') ?? 0;
      await first.rig.end('SIGKILL');
      const starting = first.rig.start();
      for (let count = 0; count < 10; count++) {
        assert.equal(peerOf(tcp(outside, address, 80)), client);
        await new Promise((resolve) => setTimeout(resolve, 50));
      }
      await starting;
      for (let count = 0; count < 5; count++) assert.equal(peerOf(tcp(outside, address, 80)), client);
      assert.equal((await counts(first)).get('outside_no_service') ?? 0, before);
    });

    test(`is refused again when it is announced no longer (IPv${family})`, async () => {
      announce(nodes.store, 'serviceClusterIPs', []);
      await eventually(() => assert.equal(tcp(outside, address, 80), 'ECONNREFUSED'));
      assert.equal(peerOf(tcp(asking.namespace, address, 80)), podAddress(asking, family));
    });
  }
});
