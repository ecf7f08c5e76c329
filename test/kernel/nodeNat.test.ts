import assert from 'node:assert/strict';
import { once } from 'node:events';
import { mkdirSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { eventually } from '../../src/store/compliance.ts';
import { type TestNamespace, TestNamespaces } from './namespaces.ts';
import { NodesRig, type RigNode, seenOn } from './nodesRig.ts';

const namespaces = new TestNamespaces('nodenat');
type Pod = Awaited<ReturnType<RigNode['rig']['pod']>>;

const OUTSIDE = { 4: '198.51.100.9', 6: '2001:db8:9::9' };
const VIP = '203.0.113.10';

/** Serves TCP and UDP on port 8080: says who asks, by which port, and how many bytes came. */
const SERVER = `
const text = (a, p, n) => JSON.stringify({ peer: a.replace('::ffff:', ''), port: p, bytes: n });
require('net').createServer({ allowHalfOpen: true }, (s) => { let n = 0; s.on('data', (d) => { n += d.length; });
  s.on('error', () => {}); s.on('end', () => s.end(text(s.remoteAddress, s.remotePort, n))); }).listen(8080, '::', () => {
  const u = require('dgram').createSocket({ type: 'udp6' });
  u.on('message', (d, p) => u.send(text(p.address, p.port, d.length), p.port, p.address));
  u.bind(8080, '::', () => process.stdout.write('ready')); });`;

async function serve(at: TestNamespace): Promise<void> {
  const server = at.start(process.execPath, ['-e', SERVER], {
    stdio: ['ignore', 'pipe', 'inherit'],
    env: {},
  });
  if (server.stdout) await once(server.stdout, 'data');
}

interface Heard {
  readonly peer: string;
  readonly port: number;
  readonly bytes: number;
}

/** What the server says of an upload, or why there is no answer. */
function tcp(from: TestNamespace, address: string, port = 8080, bytes = 1): Heard | string {
  const script = `const s = require('net').connect(${port}, '${address}'); s.setTimeout(3000, () => { console.log('"timeout"'); process.exit(); });
    s.on('error', (e) => console.log(JSON.stringify(e.code))); s.on('data', (d) => process.stdout.write(d)); s.end(Buffer.alloc(${bytes}));`;
  return JSON.parse(from.attempt('env', '-i', process.execPath, '-e', script).stdout);
}

/** One datagram, and the answer. */
function udp(from: TestNamespace, address: string, port = 8080, bytes = 1): Heard | string {
  const type = address.includes(':') ? 'udp6' : 'udp4';
  const script = `const u = require('dgram').createSocket('${type}'); setTimeout(() => { console.log('"timeout"'); process.exit(); }, 3000);
    u.connect(${port}, '${address}', () => u.send(Buffer.alloc(${bytes}))); u.on('error', (e) => { console.log(JSON.stringify(e.code)); process.exit(); });
    u.on('message', (d) => { process.stdout.write(d); process.exit(); });`;
  return JSON.parse(from.attempt('env', '-i', process.execPath, '-e', script).stdout);
}

function peerOf(heard: Heard | string): string {
  return typeof heard === 'string' ? heard : heard.peer;
}

async function counts({ rig }: RigNode): Promise<Map<string, number>> {
  const { body } = await rig.get('/metrics');
  const lines = body.matchAll(/^tombolo_datapath_events_total\{reason="(\w+)".*\} (\d+)$/gm);
  return new Map([...lines].map(([, reason = '', count]) => [reason, Number(count)]));
}

describe('between a node and the world outside', () => {
  let nodes: NodesRig;
  let first: RigNode;
  let second: RigNode;
  let outside: TestNamespace;
  let pod: Pod;
  let server: Pod;
  let far: Pod;

  function put(kind: string, name: string, object: object): void {
    const file = join(nodes.store, kind, kind === 'IPPool' ? '' : 'default', `${name}.yaml`);
    mkdirSync(dirname(file), { recursive: true });
    writeFileSync(file, JSON.stringify(object));
  }

  function expose(
    name: string,
    spec: object,
    backends: readonly { pod: Pod; node: string }[],
    ingress: string[] = [],
  ): void {
    const metadata = { name, namespace: 'default' };
    const ports = [
      { name: 'tcp', protocol: 'TCP', port: 80, targetPort: 8080, nodePort: 30080 },
      { name: 'udp', protocol: 'UDP', port: 80, targetPort: 8080, nodePort: 30080 },
    ];
    put('Service', name, {
      apiVersion: 'v1',
      kind: 'Service',
      metadata,
      spec: { type: 'LoadBalancer', clusterIP: '10.96.0.10', ports, ...spec },
      status: { loadBalancer: { ingress: ingress.map((ip) => ({ ip })) } },
    });
    put('EndpointSlice', `${name}-1`, {
      apiVersion: 'discovery.k8s.io/v1',
      kind: 'EndpointSlice',
      metadata: { ...metadata, name: `${name}-1`, labels: { 'kubernetes.io/service-name': name } },
      addressType: 'IPv4',
      ports: ['TCP', 'UDP'].map((protocol) => ({ name: protocol.toLowerCase(), protocol, port: 8080 })),
      endpoints: backends.map(({ pod: { address }, node }) => ({ addresses: [address], nodeName: node })),
    });
  }

  before(async () => {
    nodes = new NodesRig(namespaces, 'nat', [
      { routing: 'underlay', config: { masquerade: true, masqueradeExceptions: ['198.51.100.64/26'] } },
      { routing: 'underlay', config: { masquerade: true } },
    ]);
    [first, second] = [nodes.node(1), nodes.node(2)];
    outside = namespaces.create('nat-outside');
    nodes.fabric.run('ip', ...`link add out0 type veth peer name eth0 netns ${outside.name}`.split(' '));
    for (const words of [
      'address add 198.51.100.1/24 dev out0',
      'address add 2001:db8:9::1/64 dev out0 nodad',
      'link set out0 up',
    ])
      nodes.fabric.run('ip', ...words.split(' '));
    for (const words of [
      `address add ${OUTSIDE[4]}/24 dev eth0`,
      'address add 198.51.100.70/24 dev eth0',
      `address add ${OUTSIDE[6]}/64 dev eth0 nodad`,
      'link set eth0 up',
      'route add default via 198.51.100.1',
      'route add default via 2001:db8:9::1',
    ])
      outside.run('ip', ...words.split(' '));
    nodes.fabric.run('ip', ...`route add ${VIP}/32 via ${first.address}`.split(' '));
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
    assert.deepEqual(
      { ...(tcp(pod.namespace, OUTSIDE[4], 8080, 3_000_000) as Heard), port: 0 },
      { peer: first.address, port: 0, bytes: 3_000_000 },
    );
    for (const address of [OUTSIDE[4], OUTSIDE[6]]) {
      const heard = udp(pod.namespace, address, 8080, 4000);
      assert.equal(typeof heard === 'object' ? heard.bytes : heard, 4000, address);
    }
  });

  test('nothing with a pod address is on the wire outside', async () => {
    const seen = await seenOn(nodes.fabric, 'out0', () => {
      tcp(pod.namespace, OUTSIDE[4]);
      udp(pod.namespace, OUTSIDE[4], 8080, 4000);
      pod.namespace.pings(OUTSIDE[4]);
    });
    assert.ok(seen.length > 8, `${seen.length}`);
    assert.deepEqual(
      seen.filter(({ outer }) => outer.includes('10.77.')),
      [],
    );
  });

  test('inside the cluster, and where people say so, pods keep their addresses', () => {
    assert.equal(peerOf(tcp(pod.namespace, far.address)), pod.address);
    assert.equal(peerOf(tcp(pod.namespace, '198.51.100.70')), pod.address);
  });

  test('a pool keeps its pods from being hidden, from one moment to the next', async () => {
    const pool = (natOutgoing: boolean) => ({
      apiVersion: 'network.tombolo.dev/v1alpha1',
      kind: 'IPPool',
      metadata: { name: 'pods' },
      spec: { cidr: '10.77.0.0/16', natOutgoing },
    });
    put('IPPool', 'pods', pool(false));
    await eventually(() => assert.equal(peerOf(udp(pod.namespace, OUTSIDE[4])), pod.address));
    put('IPPool', 'pods', pool(true));
    await eventually(() => assert.equal(peerOf(udp(pod.namespace, OUTSIDE[4])), first.address));
  });

  test('who asks a pod by its own address is answered from there', () => {
    assert.equal(peerOf(tcp(outside, server.address)), OUTSIDE[4]);
    assert.equal(peerOf(udp(outside, server.address)), OUTSIDE[4]);
  });

  test('the node itself is not translated', () => {
    assert.equal(peerOf(tcp(first.rig.node, OUTSIDE[4])), first.address);
    assert.ok(first.rig.node.pings(OUTSIDE[4]));
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
      const heard = tcp(pod.namespace, OUTSIDE[4], 8080, 400_000);
      assert.equal(typeof heard === 'object' ? heard.bytes : heard, 400_000);
      assert.match(pod.namespace.run('ip', 'route', 'get', OUTSIDE[4]), /mtu 1300/);
    } finally {
      nodes.fabric.run('ip', ...'link set out0 mtu 1500'.split(' '));
    }
  });

  test('a node port leads to a backend of the node, which sees the client', async () => {
    expose('web', {}, [{ pod: server, node: first.name }]);
    await eventually(() => assert.equal(peerOf(tcp(outside, first.address, 30080)), OUTSIDE[4]));
    assert.equal(peerOf(udp(outside, first.address, 30080)), OUTSIDE[4]);
  });

  test('and to one elsewhere, which sees the node', async () => {
    expose('web', {}, [{ pod: far, node: second.name }]);
    await eventually(() => assert.equal(peerOf(tcp(outside, first.address, 30080)), first.address));
    assert.equal(peerOf(udp(outside, first.address, 30080)), first.address);
    const heard = tcp(outside, first.address, 30080, 2_000_000);
    assert.equal(typeof heard === 'object' ? heard.bytes : heard, 2_000_000);
  });

  test('a node port is there for pods and for the node itself', async () => {
    expose('web', {}, [{ pod: server, node: first.name }]);
    await eventually(() => assert.equal(peerOf(tcp(outside, first.address, 30080)), OUTSIDE[4]));
    assert.equal(peerOf(tcp(pod.namespace, first.address, 30080)), pod.address);
    assert.equal(peerOf(tcp(far.namespace, first.address, 30080)), far.address);
  });

  test('an announced address leads to the service, and its other ports nowhere', async () => {
    expose('web', {}, [{ pod: server, node: first.name }], [VIP]);
    await eventually(() => assert.equal(peerOf(tcp(outside, VIP, 80)), OUTSIDE[4]));
    const before = (await counts(first)).get('outside_no_such_port') ?? 0;
    assert.equal(tcp(outside, VIP, 81), 'timeout');
    assert.ok(((await counts(first)).get('outside_no_such_port') ?? 0) > before);
  });

  test('with policy Local a node without a backend serves nobody outside, and says so when it is asked', async () => {
    const spec = { externalTrafficPolicy: 'Local', healthCheckNodePort: 30999 };
    const health = () => {
      const url = `http://${first.address}:30999/healthz`;
      const script = `fetch('${url}').then(async (r) => console.log(JSON.stringify([r.status, await r.json()])), () => console.log('null'))`;
      return JSON.parse(outside.attempt('env', '-i', process.execPath, '-e', script).stdout);
    };
    const service = { namespace: 'default', name: 'web' };
    expose('web', spec, [{ pod: far, node: second.name }], [VIP]);
    await eventually(() =>
      assert.deepEqual(health(), [503, { service, localEndpoints: 0, serviceProxyHealthy: true }]),
    );
    await eventually(() => assert.equal(tcp(outside, VIP, 80), 'timeout'));
    expose(
      'web',
      spec,
      [
        { pod: server, node: first.name },
        { pod: far, node: second.name },
      ],
      [VIP],
    );
    await eventually(() => assert.equal(peerOf(tcp(outside, VIP, 80)), OUTSIDE[4]));
    assert.deepEqual(health(), [200, { service, localEndpoints: 1, serviceProxyHealthy: true }]);
    assert.equal(peerOf(tcp(pod.namespace, VIP, 80)), pod.address, 'inside, the policy is another');
  });

  test('who is in none of the source ranges of a service is not let in', async () => {
    const spec = { loadBalancerSourceRanges: ['198.51.100.64/26'] };
    expose('web', spec, [{ pod: server, node: first.name }], [VIP]);
    await eventually(() => assert.equal(tcp(outside, VIP, 80), 'timeout'));
    assert.ok(((await counts(first)).get('outside_range') ?? 0) > 0);
    expose(
      'web',
      { loadBalancerSourceRanges: ['198.51.100.0/24'] },
      [{ pod: server, node: first.name }],
      [VIP],
    );
    await eventually(() => assert.equal(peerOf(tcp(outside, VIP, 80)), OUTSIDE[4]));
  });

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
    if (client.stdout) await once(client.stdout, 'data');
    await first.rig.end('SIGKILL');
    await first.rig.start();
    client.kill('SIGTERM');
    await once(client, 'close');
    const [, sent = '', heard = '{}'] = /^ready (\d+) \s*(\{.*\})/s.exec(said) ?? [];
    assert.equal(JSON.parse(heard).bytes, Number(sent), said);
    assert.ok(Number(sent) > 20, said);
  });
});
