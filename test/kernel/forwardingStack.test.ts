import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';
import { TestNamespaces } from './namespaces.ts';
import { NodesRig, type RigNode } from './nodesRig.ts';
import { serveUploads, upload } from './uploads.ts';

const namespaces = new TestNamespaces('forwardingstack');
type Pod = Awaited<ReturnType<RigNode['rig']['pod']>>;

/** Who the server says is asking. */
function ask(from: Pod['namespace'], address: string, port?: number): string {
  return upload(from, address, 1, port).peer;
}

async function listed({ rig }: RigNode, pod: Pod): Promise<string> {
  const endpoints: { addresses: string[]; forwarding: string }[] = await rig.json('/v1/endpoints');
  return endpoints.find(({ addresses }) => addresses.includes(pod.address))?.forwarding ?? 'not listed';
}

describe('where the stack has to see packets', () => {
  let rig: NodesRig;
  let fast: Pod;
  let slow: Pod;
  const node = (number: number) => rig.node(number);

  before(async () => {
    rig = new NodesRig(namespaces, 'stack', [
      { routing: 'overlay' },
      { routing: 'overlay', config: { forwarding: 'stack' } },
      { routing: 'underlay' },
    ]);
    await rig.start();
    fast = await node(1).rig.pod('fast');
    slow = await node(2).rig.pod('slow');
    await Promise.all([fast, slow].map(({ namespace }) => serveUploads(namespace)));
  });

  after(async () => {
    await rig.remove();
    namespaces.close();
  });

  test('a node told so forwards by its stack alone, and reaches and is reached as before', async () => {
    assert.equal(await listed(node(1), fast), 'fast');
    assert.equal(await listed(node(2), slow), 'stack (configured)');
    const other = await node(2).rig.pod('other');
    const host = node(2).rig.node;
    for (const command of ['iptables', 'ip6tables']) host.run(command, '-I', 'FORWARD', '-j', 'ACCEPT');
    const seen = () => Number(/(\d+) +\d+ ACCEPT/.exec(host.run('iptables', '-nvxL', 'FORWARD'))?.[1]);
    for (const [index, family] of [4, 6].entries()) {
      for (const [from, to] of [
        [other, slow],
        [fast, slow],
        [slow, fast],
      ] as const) {
        assert.equal(ask(from.namespace, to.addresses[index] ?? ''), from.addresses[index], `IPv${family}`);
      }
    }
    assert.ok(seen() > 12, `the stack has seen ${seen()} packets`);
  });

  test('what netfilter translates on its way to a pod is translated back, beside what is not', () => {
    const { node: host } = node(1).rig;
    const rule = `-t nat -A PREROUTING -d ${node(1).address} -p tcp --dport 30080 -j DNAT --to-destination ${fast.address}:8080`;
    host.run('iptables', ...rule.split(' '));
    assert.equal(ask(rig.fabric, node(1).address, 30080), '192.0.2.1');
    assert.equal(ask(slow.namespace, fast.address), slow.address);
    assert.equal(ask(rig.fabric, node(1).address, 30080), '192.0.2.1');
  });

  test('and goes on being so when the agent comes back', async () => {
    await node(1).rig.end('SIGKILL');
    await node(1).rig.start();
    assert.equal(ask(rig.fabric, node(1).address, 30080), '192.0.2.1');
  });

  test('a pod whose rate is limited by a queue of the node keeps to the stack, and says why', async () => {
    const rate = { ingressRate: 8e6, ingressBurst: 8e6, egressRate: 8e6, egressBurst: 8e6 };
    const namespace = namespaces.create('limited');
    const { status, body } = await node(1).rig.verb('ADD', 'limited', namespace.path, {
      runtimeConfig: { bandwidth: rate },
    });
    assert.equal(status, 200, body);
    const addresses: string[] = JSON.parse(body).ips.map(({ address }: { address: string }) =>
      address.replace(/\/.*/, ''),
    );
    const limited = { namespace, address: addresses[0] ?? '', addresses };
    await serveUploads(limited.namespace);
    assert.equal(await listed(node(1), limited), 'stack (bandwidth)');
    assert.equal(ask(limited.namespace, fast.address), limited.address);
    assert.equal(ask(fast.namespace, limited.address), fast.address);
    assert.equal(ask(slow.namespace, limited.address), slow.address);
    const { status: checked, body: complaint } = await node(1).rig.verb('CHECK', 'limited', namespace.path, {
      runtimeConfig: { bandwidth: rate },
      prevResult: JSON.parse(body),
    });
    assert.equal(checked, 200, complaint);
    assert.equal((await node(1).rig.verb('DEL', 'limited', namespace.path)).status, 200);
  });

  test('a removed pod is forgotten: what is sent with its address afterwards is forged', async () => {
    const gone = await node(1).rig.pod('gone');
    const { status } = await node(1).rig.verb('DEL', 'stack1-gone', gone.namespace.path);
    assert.equal(status, 200);
    const { node: host, bpfDir } = node(1).rig;
    const entries: { formatted: { key: { words: number[] } } }[] = JSON.parse(
      host.run('bpftool', '-j', 'map', 'dump', 'pinned', `${bpfDir}/maps/tb_pods`),
    );
    assert.equal(entries.length, 2);
  });
});
