import assert from 'node:assert/strict';
import { once } from 'node:events';
import { after, before, describe, test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import type { Explanation } from '../../src/bgp/rib/explain.ts';
import type { SpeakerStatus } from '../../src/bgp/speaker/status.ts';
import { type TestNamespace, TestNamespaces } from '../kernel/namespaces.ts';
import { AgentNode, ClusterStore } from './agentNode.ts';
import { Frr } from './frr.ts';
import { Lab } from './lab.ts';
import type { Router } from './router.ts';
import { eventually } from './waiting.ts';

/**
 * Agents under two leaves that are one FRR: nodes a and b on one LAN with it, node c on a link of its own. The leaf
 * knows of no node; it listens.
 */
const LEAF = `
router bgp 65001
 bgp router-id 10.99.0.254
 no bgp ebgp-requires-policy
 bgp graceful-restart
 bgp graceful-restart preserve-fw-state
 neighbor nodes peer-group
 neighbor nodes remote-as external
 bgp listen range 10.99.0.0/24 peer-group nodes
 bgp listen range 10.88.0.0/24 peer-group nodes
 address-family ipv4 unicast
  neighbor nodes default-originate
 exit-address-family
`;

const lab = new Lab('bgpagent');
const pods = new TestNamespaces('bgpagentpod');
const store = new ClusterStore();

let leaf: Frr;
let a: AgentNode;
let b: AgentNode;
let c: AgentNode;
const pod: Record<string, { namespace: TestNamespace; address: string }> = {};

function agent(router: Router, gateway: string, segment: string): AgentNode {
  router.namespace.run('ip', 'route', 'add', 'default', 'via', gateway);
  store.put(`Node/${router.name}`, {
    metadata: { labels: { 'infra.tce.io/as': '65001' } },
    status: {},
  });
  return new AgentNode(router, store, { segments: [segment] });
}

async function attach(node: AgentNode): Promise<void> {
  await node.ready();
  const namespace = pods.create(node.name);
  pod[node.name] = { namespace, address: await node.attach(namespace) };
}

/** The gateway of a route of ours in the kernel, or its type. */
function via(router: Router, prefix: string): string | undefined {
  const [route] = router.namespace.ip(`route show ${prefix} proto 111`);
  if (route?.nhid === undefined) return route?.type;
  const [hop] = router.namespace.ip(`nexthop show id ${route.nhid}`);
  return hop?.gateway ?? route.gateway;
}

describe('agents under leaves', () => {
  before(async () => {
    store.put('IPPool/pods', { spec: { cidr: '10.77.0.0/16' } });
    const leafRouter = lab.router('leaf', 254);
    const [nodeA, nodeB, nodeC] = [lab.router('a', 1), lab.router('b', 2), lab.island('c')];
    lab.link(leafRouter, ['10.88.0.1/24'], nodeC, ['10.88.0.3/24']);
    leaf = new Frr(leafRouter, LEAF, { zebra: true });
    a = agent(nodeA, '10.99.0.254', '10.77.1.0/24');
    b = agent(nodeB, '10.99.0.254', '10.77.2.0/24');
    c = agent(nodeC, '10.88.0.1', '10.77.3.0/24');
    for (const node of [a, b, c]) await attach(node);
  });

  after(async () => {
    await lab.close();
    pods.close();
  });

  test('each finds its leaf by the default route, and the other nodes by the store', async () => {
    await eventually('all sessions are up', async () => {
      for (const node of [a, b, c]) {
        const { neighbours } = await node.json<SpeakerStatus>('/v1/bgp/neighbors');
        if (neighbours.length !== 3) return false;
        if (neighbours.some(({ state }) => state !== 'Established')) return false;
      }
      return true;
    });
    assert.equal((await a.neighbour('leaf'))?.address, '10.99.0.254');
    assert.equal((await c.neighbour('leaf'))?.address, '10.88.0.1');
  });

  test('segments reach the leaf, and nothing else does', async () => {
    const expected = ['10.77.1.0/24', '10.77.2.0/24', '10.77.3.0/24'];
    await eventually('the leaf knows the segments', () => leaf.learned(4).sort().join() === expected.join());
  });

  test('a node on the same LAN is reached directly, one behind another leaf by way of the leaf', async () => {
    await eventually('routes are in the kernel', () => via(a.router, '10.77.3.0/24') !== undefined);
    assert.equal(via(a.router, '10.77.2.0/24'), '10.99.0.2');
    assert.equal(via(a.router, '10.77.3.0/24'), '10.99.0.254');
    assert.equal(via(c.router, '10.77.1.0/24'), '10.88.0.1');
    assert.equal(via(a.router, '10.77.1.0/24'), 'blackhole');
  });

  test('pods are reached from the leaf and from each other', async () => {
    const [first, second, third] = [pod.a, pod.b, pod.c];
    assert.ok(first && second && third);
    await eventually('the leaf reaches pods', () =>
      [first, second, third].every(({ address }) => leaf.router.namespace.pings(address)),
    );
    assert.ok(first.namespace.pings(second.address), 'under the same leaf');
    assert.ok(first.namespace.pings(third.address), 'under another leaf');
    assert.ok(third.namespace.pings(second.address), 'and back');
  });

  test('the leaf hears of a segment from its own node only', () => {
    const { routes } = leaf.json('show bgp ipv4 unicast');
    const paths = routes['10.77.2.0/24'].map(({ peerId }: { peerId: string }) => peerId);
    assert.deepEqual(paths, ['10.99.0.2']);
  });

  test('a default route of the leaf is taken, and never in the way of the static one', async () => {
    await eventually(
      'the leaf offers one',
      () => a.router.namespace.ip('route show default proto 111').length,
    );
    assert.equal(a.router.namespace.ip('route get 203.0.113.1')[0].gateway, '10.99.0.254');
    const metrics = a.router.namespace.ip('route show default').map(({ metric = 0 }) => metric);
    assert.deepEqual(metrics, [0, 1024]);
  });

  test('the commands of the CLI answer through the agent’s socket', () => {
    assert.match(a.cli('status'), /IPv4 BGP status\n[\s\S]*\| 10\.99\.0\.254 +\| leaf of the node +\| up /);
    assert.match(
      a.cli('bgp', 'neighbors'),
      /^AS 64512, router 10\.99\.0\.1\n[\s\S]*leaf +65001 +Established/,
    );
    assert.match(a.cli('bgp', 'rib'), /10\.77\.1\.0\/24[\s\S]*10\.77\.2\.0\/24 +10\.99\.0\.2 +node b/);
    assert.match(a.cli('bgp', 'routes'), /10\.77\.3\.0\/24 +10\.88\.0\.3/);
    assert.match(a.cli('bgp', 'kernel'), /10\.77\.2\.0\/24 +installed +10\.99\.0\.2%\d+/);
    assert.match(a.cli('bgp', 'explain', '10.77.2.9'), /node b: best[\s\S]*Sent/);
  });

  test('metrics say how the sessions fare', async () => {
    const { body } = await a.ask('GET', '/metrics');
    assert.match(body, /tombolo_bgp_session_up\{neighbour="leaf",address="10\.99\.0\.254"\} 1/);
    assert.match(
      body,
      /tombolo_bgp_prefixes\{neighbour="leaf",address="10\.99\.0\.254",family="ipv4-unicast",stage="advertised"\} [1-3]\n/,
    );
  });

  test('an agent that is killed and started again costs no packet', async () => {
    const target = pod.a?.address ?? '';
    const ping = leaf.router.namespace.start('ping', ['-n', '-q', '-i', '0.02', '-w', '12', target], {
      stdio: ['ignore', 'pipe', 'inherit'],
    });
    const ended = once(ping, 'close');
    let said = '';
    ping.stdout?.on('data', (text) => {
      said += String(text);
    });
    await sleep(500);
    await a.daemon.kill();
    await eventually('the leaf has noticed', () => !leaf.isUp('10.99.0.1'));
    assert.ok(leaf.learned(4).includes('10.77.1.0/24'), 'the leaf forgot the segment');
    assert.equal(via(a.router, '10.77.2.0/24'), '10.99.0.2', 'the kernel forgot the others');
    a.restart();
    await a.ready();
    await eventually('the session is back', () => a.isUp('leaf'));
    await ended;
    assert.match(said, /(\d+) packets transmitted, \1 received, 0% packet loss/, said);
    assert.equal((await a.neighbour('leaf'))?.negotiated?.gracefulRestart, true);
    assert.equal(via(a.router, '10.77.2.0/24'), '10.99.0.2');
  });

  test('an agent that comes back while the store is away speaks as it did before', async () => {
    // A cluster whose API server does not answer.
    const kubeconfig = b.router.file(
      'kubeconfig',
      JSON.stringify({
        clusters: [{ name: 'away', cluster: { server: 'http://127.0.0.1:1' } }],
        users: [{ name: 'agent', user: {} }],
        contexts: [{ name: 'away', context: { cluster: 'away', user: 'agent' } }],
        'current-context': 'away',
      }),
    );
    await b.daemon.kill();
    b.restart({ store: `kubernetes:${kubeconfig}` });
    await eventually('the session is back', () => b.isUp('leaf'), 60_000);
    assert.ok(leaf.learned(4).includes('10.77.2.0/24'));
    assert.match(b.cli('status'), /sessions go on as they were told last/);
    await b.daemon.kill();
    b.restart();
    await b.ready();
    await eventually('the session is back', () => b.isUp('leaf'));
    assert.doesNotMatch(b.cli('status'), /told last/);
  });

  test('a pool that is not to be exported takes its segments back, and the sessions stay', async () => {
    const before = (await b.neighbour('leaf'))?.established;
    store.put('IPPool/hidden', { spec: { cidr: '10.77.2.0/24', disableBGPExport: true } });
    await eventually('the leaf has let go', () => !leaf.learned(4).includes('10.77.2.0/24'));
    store.remove('IPPool/hidden');
    await eventually('the leaf has it again', () => leaf.learned(4).includes('10.77.2.0/24'));
    assert.equal((await b.neighbour('leaf'))?.established, before);
    assert.ok(await b.isUp('leaf'));
  });

  describe('service addresses', () => {
    const VIP = '203.0.113.5';
    const nodesOf = (prefix: string): string[] => {
      const paths: { peerId: string }[] = leaf.json('show bgp ipv4 unicast').routes[prefix] ?? [];
      return paths.map(({ peerId }) => peerId).sort();
    };
    const told = (prefix: string, ...nodes: string[]) =>
      eventually(
        `${prefix} leads to ${nodes.join(', ') || 'nobody'}`,
        () => nodesOf(prefix).join() === nodes.join(),
      );

    function service(externalTrafficPolicy: string, ...endpoints: { nodeName: string; ready?: boolean }[]) {
      store.put('EndpointSlice/shop/web-1', {
        metadata: { labels: { 'kubernetes.io/service-name': 'web' } },
        addressType: 'IPv4',
        ports: [{ port: 8080 }],
        endpoints: endpoints.map(({ nodeName, ready = true }) => ({
          addresses: [pod[nodeName]?.address],
          nodeName,
          conditions: { ready },
        })),
      });
      store.put('Service/shop/web', {
        spec: {
          type: 'LoadBalancer',
          clusterIP: '10.96.0.7',
          ports: [{ port: 80, targetPort: 8080 }],
          externalTrafficPolicy,
        },
        status: { loadBalancer: { ingress: [{ ip: VIP }] } },
      });
    }

    before(() => {
      store.put('BGPConfiguration/default', {
        spec: {
          serviceLoadBalancerIPs: [{ cidr: '203.0.113.0/24' }],
          serviceLoadBalancerAggregation: 'Disabled',
          communities: [{ name: 'vip', value: '65001:7' }],
          prefixAdvertisements: [{ cidr: '203.0.113.0/24', communities: ['vip'] }],
        },
      });
    });

    test('of policy Cluster are announced by every node, with the communities of the configuration', async () => {
      service('Cluster', { nodeName: 'a' });
      await told(`${VIP}/32`, '10.88.0.3', '10.99.0.1', '10.99.0.2');
      const [path] = leaf.json(`show bgp ipv4 unicast ${VIP}/32`).paths;
      assert.equal(path.community.string, '65001:7');
    });

    test('of policy Local are announced where a ready endpoint is, and withdrawn with the last one', async () => {
      service('Local', { nodeName: 'a' }, { nodeName: 'b' });
      await told(`${VIP}/32`, '10.99.0.1', '10.99.0.2');
      const began = performance.now();
      service('Local', { nodeName: 'a', ready: false }, { nodeName: 'b' });
      await told(`${VIP}/32`, '10.99.0.2');
      console.log(`withdrawn within ${Math.round(performance.now() - began)} ms, the probe included`);
      service('Local', { nodeName: 'a', ready: false }, { nodeName: 'b', ready: false });
      await told(`${VIP}/32`);
    });

    test('are never announced by a node that load balancers shall leave alone', async () => {
      service('Cluster', { nodeName: 'a' });
      await told(`${VIP}/32`, '10.88.0.3', '10.99.0.1', '10.99.0.2');
      store.edit('Node/b', {
        labels: { 'infra.tce.io/as': '65001', 'node.kubernetes.io/exclude-from-external-load-balancers': '' },
      });
      await told(`${VIP}/32`, '10.88.0.3', '10.99.0.1');
      assert.ok(leaf.learned(4).includes('10.77.2.0/24'), 'its pods are still announced');
      store.edit('Node/b', { labels: { 'infra.tce.io/as': '65001' } });
      await told(`${VIP}/32`, '10.88.0.3', '10.99.0.1', '10.99.0.2');
    });

    test('and segments carry GRACEFUL_SHUTDOWN while a node drains', async () => {
      const communityOf = (node: string) =>
        leaf
          .json(`show bgp ipv4 unicast ${VIP}/32`)
          .paths.find(({ peer }: { peer: { peerId: string } }) => peer.peerId === node)?.community?.string;
      store.edit('Node/a', { annotations: { 'network.tombolo.dev/drain': 'true' } });
      await eventually(
        'the leaf has been told',
        () => communityOf('10.99.0.1') === '65001:7 graceful-shutdown',
      );
      assert.equal(communityOf('10.99.0.2'), '65001:7');
      assert.match(a.cli('bgp', 'neighbors'), /^AS 64512, router 10\.99\.0\.1, draining\n/);
      store.edit('Node/a', { annotations: {} });
      await eventually('and told otherwise', () => communityOf('10.99.0.1') === '65001:7');
    });
  });

  test('a node becomes the reflector and ceases to be, and pods do not notice', async () => {
    const [from, to] = [pod.a, pod.c];
    assert.ok(from && to);
    const ping = from.namespace.start('ping', ['-n', '-q', '-i', '0.05', '-w', '44', to.address], {
      stdio: ['ignore', 'pipe', 'inherit'],
    });
    const ended = once(ping, 'close');
    let said = '';
    ping.stdout?.on('data', (text) => {
      said += String(text);
    });
    const sessions = async (node: AgentNode) => {
      const { neighbours } = await node.json<SpeakerStatus>('/v1/bgp/neighbors');
      return neighbours.map(({ name, state }) => (state === 'Established' ? name : `(${name})`)).join();
    };
    const established = (await a.neighbour('node b'))?.established;
    const labels = { 'infra.tce.io/as': '65001' };
    store.edit('Node/b', { labels: { ...labels, 'network.tombolo.dev/route-reflector': '1.0.0.1' } });
    await eventually('a and c are clients of b', async () => (await sessions(a)) === 'leaf,node b', 60_000);
    await eventually('c, too', async () => (await sessions(c)) === 'leaf,node b');
    assert.equal(await sessions(b), 'leaf,node a,node c');
    const best = async () => {
      const { paths } = await a.json<Explanation>('/v1/bgp/explain?prefix=10.77.3.0/24');
      return paths.find(({ verdict }) => verdict === 'best');
    };
    const reflected = await best();
    assert.equal(reflected?.peer, 'node b');
    assert.equal(reflected.attributes.nextHop, '10.88.0.3');
    assert.deepEqual(reflected.attributes.clusterList, ['1.0.0.1']);
    assert.match(a.cli('status'), /10\.99\.0\.2 +\| route reflection +\| up/);
    store.edit('Node/b', { labels });
    await eventually('the mesh is back', async () => (await sessions(a)) === 'leaf,node b,node c', 60_000);
    await ended;
    assert.match(said, /(\d+) packets transmitted, \1 received, 0% packet loss/, said);
    assert.equal(
      (await a.neighbour('node b'))?.established,
      established,
      'the session with b was never reset',
    );
    assert.equal((await best())?.peer, 'node c');
  });

  test('a password comes out of a Secret, and a changed one out of the changed Secret', async () => {
    const password = (text: string) => store.put('Secret/kube-system/bgp', { stringData: { mesh: text } });
    const reference = { secretKeyRef: { name: 'bgp', key: 'mesh' } };
    store.put('BGPPeer/upstream', {
      spec: { node: 'b', peerIP: '10.99.0.9', asNumber: 65009, password: reference },
    });
    await eventually('the missing key is a problem', () =>
      b.cli('status').includes('there is no key mesh in Secret bgp'),
    );
    password('first');
    const upstream = lab.router('upstream', 9);
    const speaker = (key: string) =>
      new Frr(
        upstream,
        [
          'router bgp 65009',
          'bgp router-id 10.99.0.9',
          'no bgp ebgp-requires-policy',
          'neighbor 10.99.0.2 remote-as 64512',
          `neighbor 10.99.0.2 password ${key}`,
          'neighbor 10.99.0.2 timers connect 1',
        ].join('\n'),
      );
    const other = speaker('first');
    await eventually('with the key', () => b.isUp('BGPPeer upstream'), 60_000);
    password('second');
    other.vtysh('configure terminal', 'router bgp 65009', 'neighbor 10.99.0.2 password second');
    await eventually(
      'with the other key',
      async () => (await b.isUp('BGPPeer upstream')) && other.isUp('10.99.0.2'),
      30_000,
    );
    store.remove('BGPPeer/upstream');
    await eventually('gone', async () => (await b.neighbour('BGPPeer upstream')) === undefined);
  });

  test('a session is reset by hand, and the table dumped', async () => {
    const before = (await a.neighbour('leaf'))?.established ?? 0;
    a.cli('bgp', 'refresh', 'leaf');
    a.cli('bgp', 'reset', 'leaf');
    await eventually(
      'it is back',
      async () => (await a.isUp('leaf')) && (await a.neighbour('leaf'))?.established === before + 1,
    );
    const file = a.router.file('table.mrt', '');
    a.cli('bgp', 'dump', file);
    assert.match(a.router.namespace.run('bgpdump', '-m', file), /\|10\.99\.0\.2\|64512\|10\.77\.2\.0\/24\|/);
  });

  test('a segment that is asked back is drained only when it is empty, and no router leads to it any more', async () => {
    const [kept, back] = ['10.77.2.0/24', '10.77.20.0/24'];
    const assign = (cidr: string, state: string, generation: number) =>
      store.put('NodeNetwork/b', { spec: { segments: [{ cidr: kept }, { cidr, state, generation }] } });
    const isDrained = () =>
      store
        .read('NodeNetwork/b')
        .status?.segments.some((one: { cidr: string; drained: boolean }) => one.cidr === back && one.drained);
    assign(back, 'active', 1);
    await eventually('it is announced', () => leaf.learned(4).includes(back));
    const guest = pods.create('guest');
    const address = await b.attach(guest, [`${back.replace('0/24', '9/24')}`]);
    assign(back, 'releasing', 2);
    await eventually('the agent has heard', () => a.cli('status') && b.cli('status').includes('releasing'));
    await sleep(1500);
    assert.ok(!isDrained(), 'it is in use');
    assert.ok(leaf.router.namespace.pings(address), 'what is in use is announced');
    await b.detach(guest);
    await eventually('it is drained', isDrained);
    assert.ok(!leaf.learned(4).includes(back), 'the leaf still has it');
    assert.equal(via(a.router, back), undefined, 'a still has it');
    assert.equal(via(b.router, back), undefined, 'b itself still drops what comes for it');
    assert.ok(leaf.learned(4).includes(kept));
  });

  test('a node that is given another address goes on by that, and everybody finds it there', async () => {
    const { namespace } = b.router;
    await eventually('the others talk', () => c.isUp('node a'), 30_000);
    const before = (await c.neighbour('node a'))?.established;
    for (const words of [
      ['address', 'del', '10.99.0.2/24', 'dev', 'eth0'],
      ['address', 'add', '10.99.0.22/24', 'dev', 'eth0'],
      ['route', 'replace', 'default', 'via', '10.99.0.254'],
    ])
      namespace.run('ip', ...words);
    const said = () =>
      store.read('Node/b').status.addresses.map(({ address }: { address: string }) => address);
    await eventually('the node says so', () => said()[0] === '10.99.0.22');
    const paths = (): { peerId: string }[] => leaf.json('show bgp ipv4 unicast').routes['10.77.2.0/24'] ?? [];
    await eventually(
      'the leaf hears of its segment from there',
      () => paths().some(({ peerId }) => peerId === '10.99.0.22'),
      30_000,
    );
    for (const node of [a, c]) {
      await eventually(`${node.name} has a session with it`, () => node.isUp('node b'), 30_000);
      assert.equal((await node.neighbour('node b'))?.address, '10.99.0.22');
    }
    await eventually('the way there', () => via(a.router, '10.77.2.0/24') === '10.99.0.22');
    const [from, to] = [pod.a, pod.b];
    assert.ok(from && to);
    await eventually('its pod', () => from.namespace.pings(to.address));
    assert.match(b.cli('bgp', 'neighbors'), /^AS 64512, router 10\.99\.0\.22\n/);
    assert.equal((await c.neighbour('node a'))?.established, before, 'sessions of others stay');
  });

  test('a node that is deleted says goodbye at once', async () => {
    store.remove('Node/c');
    await eventually('the leaf has let go', () => !leaf.learned(4).includes('10.77.3.0/24'), 30_000);
    await eventually('the others have, too', () => via(a.router, '10.77.3.0/24') === undefined, 30_000);
  });
});
