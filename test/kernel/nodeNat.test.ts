import assert from 'node:assert/strict';
import { once } from 'node:events';
import { after, before, describe, test } from 'node:test';
import { eventually } from '../../src/eventually.rig.ts';
import { counts } from './counting.ts';
import { type TestNamespace, TestNamespaces } from './namespaces.ts';
import { NodesRig, type RigNode, seenOn } from './nodesRig.ts';
import {
  addressOf,
  ELSEWHERE,
  expose,
  FAMILIES,
  type Heard,
  nodePortOf,
  OUTSIDE,
  outsideOf,
  peerOf,
  podAddress,
  put,
  serve,
  tcp,
  udp,
  VIP,
} from './outsideWorld.ts';
import { firstWord } from './within.ts';

const namespaces = new TestNamespaces('nodenat');
type Pod = Awaited<ReturnType<RigNode['rig']['pod']>>;

describe('between a node and the world outside', () => {
  let nodes: NodesRig;
  let first: RigNode;
  let second: RigNode;
  let outside: TestNamespace;
  let pod: Pod;
  let server: Pod;
  let far: Pod;

  before(async () => {
    nodes = new NodesRig(namespaces, 'nat', [
      {
        routing: 'underlay',
        config: { masquerade: true, masqueradeExceptions: ['198.51.100.64/26', '2001:db8:9::1:0/112'] },
      },
      { routing: 'underlay', config: { masquerade: true } },
    ]);
    [first, second] = [nodes.node(1), nodes.node(2)];
    outside = outsideOf(namespaces, 'nat', nodes);
    await nodes.start();
    pod = await first.rig.pod('client');
    server = await first.rig.pod('server');
    far = await second.rig.pod('far');
    await Promise.all([outside, server.namespace, far.namespace].map(serve));
  });
  after(async () => {
    await nodes?.remove();
    namespaces.close();
  });

  test('a pod that asks outside is hidden behind its node, by every protocol and in both families', () => {
    assert.deepEqual([tcp(pod.namespace, OUTSIDE[4]), udp(pod.namespace, OUTSIDE[4])].map(peerOf), [
      first.address,
      first.address,
    ]);
    assert.deepEqual([tcp(pod.namespace, OUTSIDE[6]), udp(pod.namespace, OUTSIDE[6])].map(peerOf), [
      '2001:db8::11',
      '2001:db8::11',
    ]);
    assert.ok(pod.namespace.pings(OUTSIDE[4]) && pod.namespace.pings(OUTSIDE[6]));
  });

  test('by a port that no socket of the node is ever given', () => {
    const heard = tcp(pod.namespace, OUTSIDE[4]);
    assert.ok(typeof heard === 'object' && heard.port >= 10240 && heard.port < 30000, JSON.stringify(heard));
  });

  test('large uploads come whole, and datagrams in fragments too', () => {
    for (const family of FAMILIES) {
      assert.deepEqual(
        { ...(tcp(pod.namespace, OUTSIDE[family], 8080, 3_000_000) as Heard), port: 0 },
        { peer: addressOf(first, family), port: 0, bytes: 3_000_000 },
      );
    }
    for (const address of [OUTSIDE[4], OUTSIDE[6]]) {
      const heard = udp(pod.namespace, address, 8080, 4000);
      assert.equal(typeof heard === 'object' ? heard.bytes : heard, 4000, address);
    }
  });

  test('nothing with a pod address is on the wire outside', async () => {
    const seen = await seenOn(nodes.fabric, 'out0', () => {
      for (const family of FAMILIES) {
        tcp(pod.namespace, OUTSIDE[family]);
        udp(pod.namespace, OUTSIDE[family], 8080, 4000);
        pod.namespace.pings(OUTSIDE[family]);
      }
    });
    assert.ok(seen.length > 16, `${seen.length}`);
    assert.deepEqual(
      seen.filter(({ outer }) => /10\.77\.|fd77:/.test(outer)),
      [],
    );
  });

  test('inside the cluster, and where people say so, pods keep their addresses', () => {
    for (const family of FAMILIES) {
      const own = podAddress(pod, family);
      assert.equal(peerOf(tcp(pod.namespace, podAddress(far, family))), own);
      assert.equal(peerOf(tcp(pod.namespace, ELSEWHERE[family])), own);
    }
  });

  test('a pool keeps its pods from being hidden, from one moment to the next', async () => {
    const pool = (natOutgoing: boolean) => ({
      apiVersion: 'network.tombolo.dev/v1alpha1',
      kind: 'IPPool',
      metadata: { name: 'pods' },
      spec: { cidr: '10.77.0.0/16', natOutgoing },
    });
    put(nodes.store, 'IPPool', 'pods', pool(false));
    await eventually(() => assert.equal(peerOf(udp(pod.namespace, OUTSIDE[4])), pod.address));
    put(nodes.store, 'IPPool', 'pods', pool(true));
    await eventually(() => assert.equal(peerOf(udp(pod.namespace, OUTSIDE[4])), first.address));
  });

  test('who asks a pod by its own address is answered from there', () => {
    for (const family of FAMILIES) {
      assert.equal(peerOf(tcp(outside, podAddress(server, family))), OUTSIDE[family]);
      assert.equal(peerOf(udp(outside, podAddress(server, family))), OUTSIDE[family]);
    }
  });

  test('the node itself is not translated', () => {
    for (const family of FAMILIES) {
      assert.equal(peerOf(tcp(first.rig.node, OUTSIDE[family])), addressOf(first, family));
      assert.ok(first.rig.node.pings(OUTSIDE[family]));
    }
  });

  test('five hundred short connections go through the node', () => {
    const script = `const net = require('net'); let left = 500, failed = 0, open = 0;
      const next = () => { if (left-- <= 0) { if (open === 0) console.log(failed); return; } open++;
        const s = net.connect(8080, '${OUTSIDE[4]}'); let got = ''; s.on('data', (d) => { got += d; }); s.on('error', () => {}); s.end('x');
        s.on('close', () => { open--; if (!got.includes('"peer":"${first.address}"')) failed++; next(); }); };
      for (let i = 0; i < 10; i++) next();`;
    const { stdout } = pod.namespace.attempt('env', '-i', process.execPath, '-e', script);
    assert.equal(stdout.trim().split('\n').at(-1), '0');
  });

  test('an error about a hidden packet finds the pod that sent it', () => {
    nodes.fabric.run('ip', ...'link set out0 mtu 1300'.split(' '));
    try {
      for (const family of FAMILIES) {
        const heard = tcp(pod.namespace, OUTSIDE[family], 8080, 400_000);
        assert.equal(typeof heard === 'object' ? heard.bytes : heard, 400_000);
        assert.match(pod.namespace.run('ip', 'route', 'get', OUTSIDE[family]), /mtu 1300/);
      }
    } finally {
      nodes.fabric.run('ip', ...'link set out0 mtu 1500'.split(' '));
    }
  });

  for (const family of FAMILIES) {
    const [client, vip, nodePort] = [OUTSIDE[family], VIP[family], nodePortOf(family)];
    const at = (node: RigNode) => addressOf(node, family);
    const here = () => [{ pod: server, node: first.name }];
    const elsewhere = () => [{ pod: far, node: second.name }];
    const web = (backends: ReturnType<typeof here>, spec = {}, ingress: string[] = []) =>
      expose(nodes.store, { family, spec, backends, ingress });

    test(`a node port leads to a backend of the node, which sees the client (IPv${family})`, async () => {
      web(here());
      await eventually(() => assert.equal(peerOf(tcp(outside, at(first), nodePort)), client));
      assert.equal(peerOf(udp(outside, at(first), nodePort)), client);
      const large = udp(outside, at(first), nodePort, 4000);
      assert.equal(typeof large === 'object' ? large.bytes : large, 4000);
    });

    test(`and to one elsewhere, which sees the node (IPv${family})`, async () => {
      web(elsewhere());
      await eventually(() => assert.equal(peerOf(tcp(outside, at(first), nodePort)), at(first)));
      assert.equal(peerOf(udp(outside, at(first), nodePort)), at(first));
      const large = udp(outside, at(first), nodePort, 4000);
      assert.equal(typeof large === 'object' ? large.bytes : large, 4000);
      const heard = tcp(outside, at(first), nodePort, 2_000_000);
      assert.equal(typeof heard === 'object' ? heard.bytes : heard, 2_000_000);
    });

    test(`which learns of a narrow way to the client (IPv${family})`, () => {
      nodes.fabric.run('ip', ...'link set out0 mtu 1300'.split(' '));
      try {
        assert.equal(peerOf(tcp(outside, at(first), nodePort, 1, 'long')), at(first));
        const learnt = far.namespace.run('ip', 'route', 'get', at(first));
        assert.match(learnt, /mtu 1300/);
      } finally {
        nodes.fabric.run('ip', ...'link set out0 mtu 1500'.split(' '));
      }
    });

    test(`a node port is there for pods and for the node itself (IPv${family})`, async () => {
      web(here());
      await eventually(() => assert.equal(peerOf(tcp(outside, at(first), nodePort)), client));
      assert.equal(peerOf(tcp(pod.namespace, at(first), nodePort)), podAddress(pod, family));
      assert.equal(peerOf(tcp(far.namespace, at(first), nodePort)), podAddress(far, family));
    });

    test(`an announced address leads to the service, and its other ports nowhere (IPv${family})`, async () => {
      web(here(), {}, [vip]);
      await eventually(() => assert.equal(peerOf(tcp(outside, vip, 80)), client));
      assert.equal(peerOf(udp(outside, vip, 80)), client);
      const before = (await counts(first)).get('outside_no_such_port') ?? 0;
      assert.equal(tcp(outside, vip, 81), 'ECONNREFUSED');
      assert.ok(((await counts(first)).get('outside_no_such_port') ?? 0) > before);
    });

    test(`and to a backend elsewhere, which sees the client as well (IPv${family})`, async () => {
      web(elsewhere(), {}, [vip]);
      await eventually(() => assert.equal(peerOf(tcp(outside, vip, 80)), client));
      assert.equal(peerOf(udp(outside, vip, 80)), client);
      const heard = tcp(outside, vip, 80, 2_000_000);
      assert.equal(typeof heard === 'object' ? heard.bytes : heard, 2_000_000);
    });

    test(`with policy Local a node without a backend serves nobody outside, and says so when it is asked (IPv${family})`, async () => {
      const spec = { externalTrafficPolicy: 'Local', healthCheckNodePort: 30_990 + family };
      const host = family === 4 ? at(first) : `[${at(first)}]`;
      const health = () => {
        const url = `http://${host}:${spec.healthCheckNodePort}/healthz`;
        const script = `fetch('${url}').then(async (r) => console.log(JSON.stringify([r.status, await r.json()])), () => console.log('null'))`;
        return JSON.parse(outside.attempt('env', '-i', process.execPath, '-e', script).stdout);
      };
      const service = { namespace: 'default', name: `web${family}` };
      web(elsewhere(), spec, [vip]);
      await eventually(() =>
        assert.deepEqual(health(), [503, { service, localEndpoints: 0, serviceProxyHealthy: true }]),
      );
      await eventually(() => assert.equal(tcp(outside, vip, 80), 'ECONNREFUSED'));
      web([...here(), ...elsewhere()], spec, [vip]);
      await eventually(() => assert.equal(peerOf(tcp(outside, vip, 80)), client));
      assert.deepEqual(health(), [200, { service, localEndpoints: 1, serviceProxyHealthy: true }]);
      const own = podAddress(pod, family);
      assert.equal(peerOf(tcp(pod.namespace, vip, 80)), own, 'inside, the policy is another');
    });

    test(`who is in none of the source ranges of a service is not let in (IPv${family})`, async () => {
      const ranges =
        family === 4 ? ['198.51.100.64/26', '198.51.100.0/24'] : ['2001:db8:a::/48', '2001:db8:9::/64'];
      web(here(), { loadBalancerSourceRanges: [ranges[0]] }, [vip]);
      await eventually(() => assert.equal(tcp(outside, vip, 80), 'timeout'));
      assert.ok(((await counts(first)).get('outside_range') ?? 0) > 0);
      web(here(), { loadBalancerSourceRanges: [ranges[1]] }, [vip]);
      await eventually(() => assert.equal(peerOf(tcp(outside, vip, 80)), client));
    });
  }

  test('connections go on through a restart of the agent', async () => {
    const script = `const s = require('net').connect(8080, '${OUTSIDE[4]}'); let n = 0, t; s.on('connect', () => { process.stdout.write('ready');
      t = setInterval(() => { s.write('x'); n++; }, 5); }); s.on('error', (e) => { console.log(e.code); process.exit(); });
      s.on('data', (d) => { console.log(String(d)); process.exit(); }); process.on('SIGTERM', () => { clearInterval(t); console.log(' ' + n + ' '); s.end(); });`;
    const client = pod.namespace.start(process.execPath, ['-e', script], {
      env: {},
      stdio: ['ignore', 'pipe', 'inherit'],
    });
    let said = '';
    client.stdout?.on('data', (text) => {
      said += String(text);
    });
    await firstWord(client);
    await first.rig.end('SIGKILL');
    await first.rig.start();
    client.kill('SIGTERM');
    await once(client, 'close');
    const [, sent = '', heard = '{}'] = /^ready (\d+) \s*(\{.*\})/s.exec(said) ?? [];
    assert.equal(JSON.parse(heard).bytes, Number(sent), said);
    assert.ok(Number(sent) > 20, said);
  });
});
