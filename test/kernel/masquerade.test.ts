import assert from 'node:assert/strict';
import { mkdirSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { eventually } from '../../src/eventually.rig.ts';
import { counts } from './counting.ts';
import { type TestNamespace, TestNamespaces } from './namespaces.ts';
import { NodesRig, type RigNode, type Seen, seenOn } from './nodesRig.ts';
import { firstWord } from './within.ts';

const namespaces = new TestNamespaces('masq');
type Pod = Awaited<ReturnType<RigNode['rig']['pod']>>;

/** Few enough that 2,000 connections have to use each again. */
const PORTS = { first: 20_000, last: 20_999 };

/** TCP and UDP on port 8080 of both families: says who asks, and from which port. */
const SERVER = `const tell = (a, p) => JSON.stringify({ peer: a.replace('::ffff:', ''), port: p });
  require('net').createServer({ allowHalfOpen: true }, (s) => { s.on('error', () => {}); s.resume();
    s.on('end', () => s.end(tell(s.remoteAddress, s.remotePort))); }).listen(8080, '::', 2000);
  const udp = require('dgram').createSocket('udp6');
  udp.on('message', (m, { address, port }) => udp.send(tell(address, port).padEnd(m.length), port, address));
  udp.bind(8080, '::', () => process.stdout.write('ready'));`;

async function serve(namespace: TestNamespace): Promise<void> {
  const server = namespace.start(process.execPath, ['-e', SERVER], {
    stdio: ['ignore', 'pipe', 'inherit'],
    env: {},
  });
  await firstWord(server);
}

interface Said {
  readonly peer: string;
  readonly port: number;
}

function run(from: TestNamespace, script: string) {
  const { stdout, stderr } = from.attempt('env', '-i', process.execPath, '-e', script);
  assert.notEqual(stdout, '', stderr);
  return JSON.parse(stdout);
}

/** What the server says of a connection over which so many bytes were sent. */
function connect(from: TestNamespace, address: string, bytes = 1): Said {
  return run(
    from,
    `const s = require('net').connect(8080, '${address}'); s.setTimeout(4000, () => { console.log('"timeout"'); process.exit(); });
     s.on('error', (e) => console.log(JSON.stringify(e.code))); s.on('data', (d) => process.stdout.write(d)); s.end(Buffer.alloc(${bytes}));`,
  );
}

function datagram(from: TestNamespace, address: string, bytes = 1): Said {
  const type = address.includes(':') ? 'udp6' : 'udp4';
  return run(
    from,
    `const s = require('dgram').createSocket('${type}'); s.on('message', (m) => { process.stdout.write(m); s.close(); clearTimeout(t); });
     const t = setTimeout(() => { console.log('"timeout"'); s.close(); }, 4000); s.send(Buffer.alloc(${bytes}), 8080, '${address}');`,
  );
}

/** Sixteen at a time; how many were answered, and the ports they came from. */
function connectMany(
  from: TestNamespace,
  address: string,
  count: number,
): { done: number; ports: number[]; failed: string[] } {
  return run(
    from,
    `const net = require('net'); let left = ${count}, done = 0, open = 0; const ports = new Set(), failed = [];
     const next = () => { if (left-- <= 0) { if (open === 0) console.log(JSON.stringify({ done, ports: [...ports], failed })); return; }
       open++; const s = net.connect(8080, '${address}'); let text = ''; s.on('data', (d) => { text += d; }); s.setTimeout(10000, () => s.destroy(new Error('timeout')));
       s.on('error', (e) => failed.push(e.message)); s.on('close', () => { open--; try { ports.add(JSON.parse(text).port); done++; } catch {} next(); }); s.end('x'); };
     for (let i = 0; i < 16; i++) next();`,
  );
}

async function natFlows({ rig }: RigNode): Promise<number> {
  const { body } = await rig.get('/metrics');
  const flows = [...body.matchAll(/^tombolo_nat_flows\{.*\} (\d+)$/gm)].map(([, count]) => Number(count));
  return flows.reduce((sum, count) => sum + count, 0);
}

const texts = (seen: Seen[]) => seen.map(({ outer }) => outer).join('\n');

describe('pods behind their node', () => {
  let rig: NodesRig;
  let far: TestNamespace;
  let pod: Pod;
  let other: Pod;
  const node = () => rig.node(1);

  /** One hop behind the router, over a link of 1400 bytes. */
  const outside = { 4: '198.51.100.2', 6: '2001:db8:100::2' } as const;
  const hidden = { 4: '192.0.2.11', 6: '2001:db8::11' } as const;
  const exception = { 4: '203.0.113.2', 6: '2001:db8:200::2' } as const;

  before(async () => {
    const config = {
      masquerade: true,
      masqueradePorts: `${PORTS.first}-${PORTS.last}`,
      masqueradeExceptions: ['203.0.113.0/24', '2001:db8:200::/64'],
    };
    rig = new NodesRig(namespaces, 'masq', [
      { routing: 'underlay', config },
      { routing: 'underlay', config },
    ]);
    far = namespaces.create('masq-far');
    rig.fabric.run(
      'ip',
      ...`link add far0 mtu 1400 type veth peer name near0 mtu 1400 netns ${far.name}`.split(' '),
    );
    for (const [at, device, number] of [
      [rig.fabric, 'far0', 1],
      [far, 'near0', 2],
    ] as const) {
      for (const prefix of [`198.51.100.${number}/24`, `2001:db8:100::${number}/64`]) {
        at.run('ip', 'address', 'add', prefix, 'dev', device, ...(prefix.includes(':') ? ['nodad'] : []));
      }
      at.run('ip', 'link', 'set', device, 'up');
    }
    far.run('ip', 'address', 'add', '203.0.113.2/32', 'dev', 'near0');
    far.run('ip', 'address', 'add', '2001:db8:200::2/128', 'dev', 'near0', 'nodad', 'preferred_lft', '0');
    far.run('ip', 'route', 'add', 'default', 'via', '198.51.100.1');
    far.run('ip', 'route', 'add', 'default', 'via', '2001:db8:100::1');
    rig.fabric.run('ip', 'route', 'add', '203.0.113.0/24', 'via', '198.51.100.2');
    rig.fabric.run('ip', 'route', 'add', '2001:db8:200::/64', 'via', '2001:db8:100::2');
    await rig.start();
    pod = await node().rig.pod('pod');
    other = await rig.node(2).rig.pod('pod');
    await Promise.all([serve(far), serve(other.namespace), serve(pod.namespace)]);
    await eventually(() => assert.equal(connect(pod.namespace, outside[4]).peer, hidden[4]));
  });

  after(async () => {
    await rig.remove();
    namespaces.close();
  });

  for (const family of [4, 6] as const) {
    const index = family === 4 ? 0 : 1;
    const own = () => pod.addresses[index] ?? '';

    test(`a router's word about the size of packets reaches the pod (IPv${family})`, async () => {
      const before = (await counts(node())).get('icmp_translated') ?? 0;
      // Larger than the far link takes, and not to be fragmented.
      const refused = pod.namespace.attempt(
        'ping',
        '-c2',
        '-i0.3',
        '-W1',
        '-M',
        'do',
        '-s',
        '1420',
        outside[family],
      );
      assert.match(refused.stdout + refused.stderr, /mtu\s?=\s?1400/);
      const route = pod.namespace.run('ip', 'route', 'get', outside[family]);
      assert.match(route, /mtu 1400/);
      assert.ok(((await counts(node())).get('icmp_translated') ?? 0) > before);
    });

    test(`a pod's connection leaves with the node's address and a port of the range (IPv${family})`, async () => {
      let said: Said | undefined;
      // Whole checksums, so that the wire shows whether they are right.
      pod.namespace.run('ethtool', '-K', 'eth0', 'tx', 'off');
      const seen = await seenOn(rig.fabric, node().port, () => {
        said = connect(pod.namespace, outside[family], 100_000);
      });
      pod.namespace.run('ethtool', '-K', 'eth0', 'tx', 'on');
      assert.equal(said?.peer, hidden[family]);
      assert.ok(said && said.port >= PORTS.first && said.port <= PORTS.last, `port ${said?.port}`);
      assert.ok(!texts(seen).includes(own()), 'the address of the pod was seen on the wire');
      const sent = seen.filter(({ outer }) => outer.includes(`${hidden[family]} > `));
      assert.ok(sent.length > 0);
      assert.ok(!texts(sent).includes('(bad'), 'a checksum is wrong');
    });

    test(`datagrams and their answers do, in fragments too (IPv${family})`, async () => {
      const seen = await seenOn(rig.fabric, node().port, () => {
        for (const bytes of [10, 5_000]) {
          assert.equal(
            datagram(pod.namespace, outside[family], bytes).peer,
            hidden[family],
            `${bytes} bytes`,
          );
        }
      });
      assert.ok(!texts(seen).includes(own()));
    });

    test(`pings do, large ones too (IPv${family})`, async () => {
      const seen = await seenOn(rig.fabric, node().port, () => {
        for (const size of ['56', '3000']) {
          pod.namespace.run('ping', '-c1', '-W2', '-s', size, outside[family]);
        }
      });
      assert.ok(!texts(seen).includes(own()));
    });

    test(`an unreachable port is told to the pod (IPv${family})`, () => {
      const type = `udp${family}`;
      const script = `const s = require('dgram').createSocket('${type}'); s.on('error', (e) => { console.log(JSON.stringify(e.code)); process.exit(); });
        s.connect(9, '${outside[family]}', () => s.send('x')); setTimeout(() => { console.log('"nothing"'); process.exit(); }, 2000);`;
      assert.equal(run(pod.namespace, script), 'ECONNREFUSED');
    });

    test(`what stays in the cluster keeps its address (IPv${family})`, () => {
      assert.equal(connect(pod.namespace, other.addresses[index] ?? '').peer, own());
      assert.equal(datagram(pod.namespace, other.addresses[index] ?? '').peer, own());
    });

    test(`so does what is sent to an exception (IPv${family})`, () => {
      assert.equal(connect(pod.namespace, exception[family]).peer, own());
    });

    test(`a pod answers clients outside with the address they called (IPv${family})`, async () => {
      const seen = await seenOn(rig.fabric, node().port, () => {
        assert.equal(connect(far, own()).peer, outside[family]);
        assert.equal(datagram(far, own()).peer, outside[family]);
      });
      assert.ok(!texts(seen).includes(`${hidden[family]} >`) || family === 6);
    });
  }

  test("the node's own connections keep their ports", () => {
    const said = connect(node().rig.node, outside[4]);
    assert.equal(said.peer, hidden[4]);
    assert.ok(said.port > PORTS.last);
  });

  test('pods of a pool with natOutgoing: false keep their addresses', async () => {
    const file = join(rig.store, 'IPPool/own.yaml');
    mkdirSync(dirname(file), { recursive: true });
    const pool = (natOutgoing: boolean) =>
      writeFileSync(
        file,
        JSON.stringify({
          apiVersion: 'network.tombolo.dev/v1alpha1',
          kind: 'IPPool',
          metadata: { name: 'own' },
          spec: { cidr: '10.77.0.0/16', natOutgoing, disabled: true },
        }),
      );
    pool(false);
    await eventually(() => assert.equal(connect(pod.namespace, outside[4]).peer, pod.addresses[0]));
    pool(true);
    await eventually(() => assert.equal(connect(pod.namespace, outside[4]).peer, hidden[4]));
  });

  test('2,000 short connections share 1,000 ports, and finished flows are collected', async () => {
    const { done, ports, failed } = connectMany(pod.namespace, outside[4], 2_000);
    assert.deepEqual(failed, []);
    assert.equal(done, 2_000);
    assert.ok(ports.length > 500 && ports.length <= 1_000, `${ports.length} ports`);
    assert.ok(ports.every((port) => port >= PORTS.first && port <= PORTS.last));
    await eventually(async () => assert.ok((await natFlows(node())) > 0), 10_000);
    await eventually(async () => assert.ok((await natFlows(node())) < 50), 30_000);
  });

  test('an agent that is started anew leaves connections as they are', async () => {
    const script = `const s = require('net').connect(8080, '${outside[4]}'); s.on('connect', () => process.stdout.write('up'));
      s.on('error', (e) => { console.log(e.code); process.exit(); }); s.on('data', (d) => { console.log(String(d)); process.exit(); }); process.stdin.on('data', () => s.end('x'));`;
    const client = pod.namespace.start(process.execPath, ['-e', script], {
      stdio: ['pipe', 'pipe', 'inherit'],
      env: {},
    });
    assert.ok(client.stdout && client.stdin);
    await firstWord(client);
    await node().rig.end('SIGKILL');
    await node().rig.start();
    client.stdin.write('go');
    const answer = await firstWord(client);
    assert.equal(JSON.parse(String(answer)).peer, hidden[4]);
  });
});
