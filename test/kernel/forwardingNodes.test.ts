import assert from 'node:assert/strict';
import { once } from 'node:events';
import { mkdirSync, rmSync, writeFileSync } from 'node:fs';
import { dirname } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { changeThisNode } from '../../src/datapath/uplink.ts';
import { eventually } from '../../src/store/compliance.ts';
import { serviceYaml, sliceYaml } from './agentRig.ts';
import { counted, countForwarded, events } from './counting.ts';
import { TestNamespaces } from './namespaces.ts';
import { NodesRig, type RigNode, type Seen, seenOn, VXLAN_PORT } from './nodesRig.ts';
import { PacketSocket } from './packetSocket.ts';
import { checksum, frame, tcp, udp } from './packets.ts';
import { firstWord } from './within.ts';

const namespaces = new TestNamespaces('forwarding');
type Pod = Awaited<ReturnType<RigNode['rig']['pod']>>;

/** Serves TCP on port 8080 of both families: says who asks, then counts the bytes of the upload. */
const SERVER = `require('net').createServer({ allowHalfOpen: true }, (s) => { let n = 0; s.on('data', (d) => { n += d.length; });
  s.on('error', () => {}); s.on('end', () => s.end(JSON.stringify({ peer: s.remoteAddress.replace('::ffff:', ''), bytes: n }))); })
  .listen(8080, '::', () => process.stdout.write('ready'));`;

async function serve(pod: Pod): Promise<void> {
  const server = pod.namespace.start(process.execPath, ['-e', SERVER], {
    stdio: ['ignore', 'pipe', 'inherit'],
    env: {},
  });
  await firstWord(server);
}

/** Uploads so many bytes; what the server says of it. */
function upload(from: Pod['namespace'], address: string, bytes = 1): { peer: string; bytes: number } {
  const script = `const s = require('net').connect(8080, '${address}'); s.setTimeout(8000, () => { console.log('"timeout"'); process.exit(); });
    s.on('error', (e) => console.log(JSON.stringify(e.code))); s.on('data', (d) => process.stdout.write(d)); s.end(Buffer.alloc(${bytes}));`;
  return JSON.parse(from.attempt('env', '-i', process.execPath, '-e', script).stdout);
}

/** Lengths and checksums of a frame and of what is in it, as its end will see them. @param whole No device has any checksum left to make. */
function checkTunnelled(bytes: Buffer, whole: boolean): void {
  const outer = bytes.subarray(14);
  assert.equal(checksum(outer.subarray(0, 20)), 0);
  assert.equal(outer.readUInt16BE(2), outer.length);
  assert.equal(outer.readUInt16BE(6), 0, 'neither DF nor a fragment');
  assert.equal(outer.readUInt16BE(24), outer.length - 20);
  assert.equal(outer.readUInt16BE(26), 0);
  assert.ok(outer.readUInt16BE(20) >= 49152, 'from a dynamic port');
  assert.equal(outer.readUInt16BE(22), VXLAN_PORT);
  assert.equal(outer.subarray(28, 36).toString('hex'), '0800000000006f00');
  const inner = outer.subarray(50);
  const six = inner[0] === 0x60 || (inner[0] ?? 0) >> 4 === 6;
  if (!six) assert.equal(checksum(inner.subarray(0, 20)), 0);
  assert.equal(six ? inner.readUInt16BE(4) + 40 : inner.readUInt16BE(2), inner.length);
  if (!whole) return;
  const transport = inner.subarray(six ? 40 : 20);
  const pseudo = Buffer.alloc(4);
  pseudo.writeUInt16BE(six ? (inner[6] ?? 0) : (inner[9] ?? 0), 0);
  pseudo.writeUInt16BE(transport.length, 2);
  assert.equal(checksum(inner.subarray(six ? 8 : 12, six ? 40 : 20), pseudo, transport), 0);
}

const isTunnelled = ({ inner }: Seen) => inner !== undefined;

describe('four nodes, two of them in the overlay', () => {
  let rig: NodesRig;
  /** Two on the first node, one on each of the others. */
  let pods: Pod[];
  let neighbour: Pod;
  const pod = (number: number): Pod => pods[number - 1] as Pod;
  let forwarded: (() => number)[];

  before(async () => {
    rig = new NodesRig(namespaces, 'four', [
      { routing: 'overlay' },
      { routing: 'overlay' },
      { routing: 'underlay' },
      { routing: 'underlay' },
    ]);
    await rig.start();
    forwarded = rig.nodes.map(countForwarded);
    pods = await Promise.all(rig.nodes.map(({ rig }) => rig.pod('pod')));
    neighbour = await rig.node(1).rig.pod('neighbour');
    await Promise.all([...pods, neighbour].map(serve));
  });

  after(async () => {
    await rig.remove();
    namespaces.close();
  });

  /** No stack of a node forwards anything while `body` runs. */
  async function pastTheStack(body: () => unknown): Promise<void> {
    const before = forwarded.map((count) => count());
    await body();
    assert.deepEqual(
      forwarded.map((count) => count()),
      before,
    );
  }

  for (const [family, index] of [
    ['IPv4', 0],
    ['IPv6', 1],
  ] as const) {
    const address = (of: Pod) => of.addresses[index] ?? '';

    test(`pods of one node reach each other past its stack (${family})`, async () => {
      await pastTheStack(async () => {
        const fast = await counted(rig.node(1), 'forwarded_to_pod', () => {
          assert.deepEqual(upload(pod(1).namespace, address(neighbour), 200_000), {
            peer: address(pod(1)),
            bytes: 200_000,
          });
        });
        assert.ok(fast > 8);
      });
    });

    test(`overlay to overlay: node addresses outside, pod addresses inside (${family})`, async () => {
      await pastTheStack(async () => {
        const seen = await seenOn(rig.fabric, rig.node(2).port, () => {
          assert.deepEqual(upload(pod(1).namespace, address(pod(2)), 300_000), {
            peer: address(pod(1)),
            bytes: 300_000,
          });
        });
        assert.deepEqual(
          seen.filter((one) => !isTunnelled(one)),
          [],
        );
        assert.ok(seen.some(({ outer }) => outer.includes(` 192.0.2.11 > 192.0.2.12 ttl 64 udp `)));
        assert.ok(seen.some(({ outer }) => outer.includes(` 192.0.2.12 > 192.0.2.11 ttl 64 udp `)));
        const there = `02:74:c0:00:02:0b > 02:74:c0:00:02:0c ${address(pod(1))} > ${address(pod(2))} ttl 63 tcp`;
        const back = `02:74:c0:00:02:0c > 02:74:c0:00:02:0b ${address(pod(2))} > ${address(pod(1))} ttl 63 tcp`;
        for (const { inner } of seen) assert.ok(inner?.startsWith(there) || inner?.startsWith(back), inner);
        assert.ok(seen.some(({ inner }) => inner?.startsWith(there)));
      });
    });

    test(`underlay to underlay: as they are (${family})`, async () => {
      await pastTheStack(async () => {
        const seen = await seenOn(rig.fabric, rig.node(3).port, () => {
          assert.deepEqual(upload(pod(3).namespace, address(pod(4)), 300_000), {
            peer: address(pod(3)),
            bytes: 300_000,
          });
        });
        assert.deepEqual(seen.filter(isTunnelled), []);
        assert.ok(
          seen.some(({ outer }) => outer.includes(` ${address(pod(3))} > ${address(pod(4))} ttl 63 tcp`)),
        );
        assert.ok(
          seen.some(({ outer }) => outer.includes(` ${address(pod(4))} > ${address(pod(3))} ttl 62 tcp`)),
        );
      });
    });

    for (const [from, to] of [
      [1, 3],
      [3, 1],
    ] as const) {
      test(`between overlay and underlay, ${from} to ${to}, both ways lead through the tunnel (${family})`, async () => {
        const seen = await seenOn(rig.fabric, rig.node(3).port, () => {
          assert.deepEqual(upload(pod(from).namespace, address(pod(to)), 300_000), {
            peer: address(pod(from)),
            bytes: 300_000,
          });
        });
        assert.deepEqual(
          seen.filter((one) => !isTunnelled(one)),
          [],
        );
        assert.ok(seen.length > 4);
      });
    }

    test(`a node reaches a pod elsewhere with its own overlay address (${family})`, async () => {
      const own = family === 'IPv4' ? '10.77.1.0' : 'fd77:1::';
      const seen = await seenOn(rig.fabric, rig.node(2).port, () => {
        assert.equal(upload(rig.node(1).rig.node, address(pod(2))).peer, own);
      });
      assert.ok(seen.some(({ inner }) => inner?.includes(` ${own} > ${address(pod(2))} `)));
      assert.deepEqual(
        seen.filter((one) => !isTunnelled(one)),
        [],
      );
    });

    test(`a pod reaches a node of the overlay by its address, and comes as itself (${family})`, async () => {
      const target = family === 'IPv4' ? '192.0.2.12' : '2001:db8::12';
      await seenOn(rig.fabric, rig.node(2).port, async () => {
        const server = rig.node(2).rig.node.start(process.execPath, ['-e', SERVER], {
          stdio: ['ignore', 'pipe', 'inherit'],
          env: {},
        });
        await firstWord(server);
        assert.equal(upload(pod(1).namespace, target).peer, address(pod(1)));
        server.kill();
      });
    });
  }

  test('programs make the tunnels, tbvxlan takes what they leave, and either understands the other', async () => {
    const nodes = [rig.node(1), rig.node(2)] as const;
    const both = async (reason: string) =>
      (await Promise.all(nodes.map(async (node) => (await events(node)).get(reason) ?? 0))) as [
        number,
        number,
      ];
    /** What programs did themselves while pods sent a datagram and its answer a hundred times: at the first node, and at the second. */
    const done = async (reason: string, body: () => unknown) => {
      const before = await both(reason);
      await body();
      const after = await both(reason);
      return after.map((count, index) => count - (before[index] ?? 0));
    };
    const ask = () => {
      const script = `const s = require('net').connect(8081, '${pod(2).address}'); let n = 0; const ask = () => s.write('x');
        s.on('connect', ask); s.on('data', () => { if (++n === 100) { console.log(n); s.end(); } else ask(); }); s.setTimeout(8000, () => process.exit(1));`;
      const { stdout } = pod(1).namespace.attempt('env', '-i', process.execPath, '-e', script);
      assert.equal(stdout.trim(), '100');
    };
    const echo = pod(2).namespace.start(
      process.execPath,
      [
        '-e',
        "require('net').createServer((s) => s.pipe(s)).listen(8081, () => process.stdout.write('ready'))",
      ],
      { stdio: ['ignore', 'pipe', 'inherit'], env: {} },
    );
    await firstWord(echo);
    const inPrograms = await done('encapsulated', async () => {
      const [first, second] = await done('decapsulated', ask);
      assert.ok((first ?? 0) >= 90 && (second ?? 0) >= 90, `${first} and ${second} taken out by programs`);
    });
    for (const count of inPrograms) assert.ok(count >= 100, `${count} put in by programs`);
    // One of them leaves it all to its device.
    changeThisNode(nodes[1].rig.bpfDir, { tunnel_port: 0 });
    try {
      const [first, second] = await done('encapsulated', async () => {
        const [taken, left] = await done('decapsulated', ask);
        assert.ok((taken ?? 0) >= 90, `${taken} taken out by programs`);
        assert.equal(left, 0);
      });
      assert.ok((first ?? 0) >= 100, `${first} put in by programs`);
      assert.ok((second ?? 1) <= 1, 'what had its way may go it for a moment');
    } finally {
      changeThisNode(nodes[1].rig.bpfDir, { tunnel_port: VXLAN_PORT });
      echo.kill();
    }
  });

  test('whoever makes segments of a tunnelled packet makes each one right', async () => {
    const { node } = rig.node(1).rig;
    const ways = [
      ['tx-udp_tnl-segmentation', 'off'],
      ['tx-udp_tnl-segmentation', 'off', 'tso', 'off'],
      ['tx', 'off', 'tso', 'off', 'gso', 'off'],
    ];
    for (const offloads of ways) {
      node.run('ethtool', '-K', 'up0', ...offloads);
      try {
        for (const address of pod(2).addresses) {
          const socket = new PacketSocket(rig.fabric, rig.node(1).port);
          try {
            assert.equal(upload(pod(1).namespace, address, 100_000).bytes, 100_000);
            const sent = socket
              .frames()
              .filter((bytes) => bytes.readUInt16BE(12) === 0x0800 && bytes.readUInt32BE(26) === 0xc000020b);
            const full = sent.filter(({ length }) => length === 1514);
            assert.ok(full.length > 50, `${full.length} of ${sent.length} frames are full`);
            for (const bytes of sent) checkTunnelled(bytes, offloads.includes('tx'));
            // What is made of one packet is told apart: the network may fragment it.
            const neighbours = full.map(
              (bytes, at) => bytes.readUInt16BE(18) - (full[at - 1]?.readUInt16BE(18) ?? 0),
            );
            assert.ok(neighbours.filter((step) => step === 1).length > full.length / 2);
          } finally {
            socket.close();
          }
        }
      } finally {
        node.run('ethtool', '-K', 'up0', ...offloads.map((word) => (word === 'off' ? 'on' : word)));
      }
    }
  });

  test('packets larger than any link arrive in fragments, whichever way they take', () => {
    for (const [from, to] of [
      [1, 2],
      [1, 3],
      [3, 1],
      [3, 4],
    ] as const) {
      for (const address of pod(to).addresses) {
        const ping = () =>
          pod(from).namespace.attempt('ping', '-n', '-c2', '-i0.2', '-W1', '-s4000', address);
        // In IPv6 it is the sender who has to learn that a tunnel has less room, be it of the question or of the answer.
        ping();
        assert.match(ping().stdout, / 0% packet loss/, `${from} to ${address}`);
      }
    }
  });

  test('checksums hold where no device completes them', () => {
    const offloads = ['tx', 'off', 'tso', 'off', 'gso', 'off', 'gro', 'off'];
    for (const { namespace } of pods) namespace.run('ethtool', '-K', 'eth0', ...offloads);
    try {
      for (const [from, to] of [
        [1, 2],
        [3, 1],
        [3, 4],
      ] as const) {
        for (const address of pod(to).addresses) {
          assert.equal(upload(pod(from).namespace, address, 100_000).bytes, 100_000, `${from} to ${address}`);
        }
      }
    } finally {
      const back = offloads.map((word) => (word === 'off' ? 'on' : word));
      for (const { namespace } of pods) namespace.run('ethtool', '-K', 'eth0', ...back);
    }
  });

  test('a service leads to a pod of another node, and its answers come from the service', async () => {
    const put = (path: string, text: string) => {
      const file = `${rig.store}/${path}`;
      mkdirSync(dirname(file), { recursive: true });
      writeFileSync(file, text);
    };
    put('Service/default/far.yaml', serviceYaml('far', '10.96.0.10', 8080));
    put('EndpointSlice/default/far-1.yaml', sliceYaml('far', [pod(2).address], 8080));
    for (const number of [1, 3]) {
      await eventually(() => {
        assert.deepEqual(upload(pod(number).namespace, '10.96.0.10', 50_000), {
          peer: pod(number).address,
          bytes: 50_000,
        });
      });
    }
  });

  test('the node that is asked for time exceeded answers', () => {
    const { stdout } = pod(1).namespace.attempt('ping', '-n', '-c1', '-W1', '-t1', pod(2).address);
    assert.match(stdout, /Time to live exceeded/);
  });

  test('pods of overlay nodes leave room for the tunnel, others are told when they meet one', () => {
    const mtu = (number: number) => pod(number).namespace.ip('link show eth0')[0].mtu;
    assert.deepEqual([mtu(1), mtu(3)], [1450, 1500]);
    const ping = (size: number) =>
      pod(3).namespace.attempt(
        'ping',
        '-n',
        '-c2',
        '-i0.2',
        '-W1',
        '-Mdo',
        '-s',
        String(size),
        pod(1).address,
      );
    assert.match(
      ping(1472).stdout + ping(1472).stderr,
      /Frag needed.*mtu = 1450|message too long, mtu[=:] ?1450/,
    );
    assert.equal(ping(1422).status, 0);
  });

  test('a pod that speaks with another address is not heard, and is counted', async () => {
    const { namespace, addresses } = pod(1);
    const link = namespace.ip('link show eth0')[0];
    const gateway = namespace.ip('neighbour show 169.254.1.1')[0].lladdr;
    const socket = new PacketSocket(namespace, 'eth0');
    const forge = (fields: { source: string; destination: string; sourceMac?: string }) =>
      socket.send(
        frame({
          sourceMac: link.address,
          destinationMac: gateway,
          transport: udp({ from: 5, to: 9999, payload: 'forged' }),
          ...fields,
        }),
      );
    const seen = await seenOn(rig.fabric, rig.node(1).port, async () => {
      const dropped = await counted(rig.node(1), 'spoofed_source', () => {
        forge({ source: neighbour.address, destination: pod(2).address });
        forge({ source: '192.0.2.11', destination: pod(2).address });
        forge({ source: addresses[0] ?? '', destination: pod(2).address, sourceMac: '02:00:00:00:00:01' });
        forge({ source: neighbour.addresses[1] ?? '', destination: pod(2).addresses[1] ?? '' });
        forge({ source: '2001:db8::99', destination: pod(2).addresses[1] ?? '' });
      });
      assert.equal(dropped, 5);
    });
    assert.deepEqual(seen, []);
    const honest = await seenOn(rig.fabric, rig.node(1).port, () =>
      forge({ source: addresses[0] ?? '', destination: pod(2).address }),
    );
    assert.ok(honest.some(({ inner }) => inner?.includes('666f72676564')));
    socket.close();
  });

  test('a tunnel that ends where its source is not, is not believed, and is counted', async () => {
    const mac = rig.node(1).rig.node.ip('link show up0')[0].address;
    const own = rig.fabric.ip('link show br0')[0].address;
    const socket = new PacketSocket(rig.fabric, rig.node(1).port);
    const datagram = udp({ from: 5, to: 9999, payload: 'hidden' });
    const tunnelled = (
      outer: string,
      inner: string,
      transport = datagram,
      outerSum: 'none' | 'made' = 'none',
    ) => {
      const body = frame({
        sourceMac: '02:74:c0:00:02:0c',
        destinationMac: '02:74:c0:00:02:0b',
        source: inner,
        destination: pod(1).address,
        transport,
      });
      const header = Buffer.from([8, 0, 0, 0, 0, 0, 111, 0]);
      return frame({
        sourceMac: own,
        destinationMac: mac,
        source: outer,
        destination: '192.0.2.11',
        transport: udp({
          from: 5,
          to: VXLAN_PORT,
          payload: Buffer.concat([header, body]),
          ...(outerSum === 'none' && { checksum: outerSum }),
        }),
      });
    };
    const arrived = new PacketSocket(pod(1).namespace, 'eth0');
    const wasHeard = () => arrived.frames().some((bytes) => bytes.includes('hidden'));
    const lies = [
      ['192.0.2.99', pod(2).address],
      ['192.0.2.12', pod(3).address],
      ['192.0.2.12', '198.51.100.1'],
      ['192.0.2.12', neighbour.address],
    ] as const;
    const dropped = await counted(rig.node(1), 'unknown_tunnel', () => {
      for (const [outer, inner] of lies) socket.send(tunnelled(outer, inner));
    });
    assert.equal(dropped, lies.length);
    assert.equal(wasHeard(), false);
    socket.send(tunnelled('192.0.2.12', pod(2).address));
    assert.equal(wasHeard(), true);
    // A flow whose way is known has it for packets from the same node alone. One with a checksum outside is for tbvxlan to look at.
    const segment = (payload: string) => tcp({ from: 5, to: 9999, flags: '.', payload });
    const byProgram = await counted(rig.node(1), 'decapsulated', async () => {
      const forged = await counted(rig.node(1), 'unknown_tunnel', () => {
        socket.send(tunnelled('192.0.2.12', pod(2).address, segment('honest')));
        socket.send(tunnelled('192.0.2.99', pod(2).address, segment('forged')));
        socket.send(tunnelled('192.0.2.12', pod(2).address, segment('honest too')));
        socket.send(tunnelled('192.0.2.12', pod(2).address, segment('summed'), 'made'));
        const damaged = tunnelled('192.0.2.12', pod(2).address, segment('damaged'), 'made');
        damaged[41] = (damaged[41] ?? 0) ^ 1;
        socket.send(damaged);
      });
      assert.equal(forged, 1);
    });
    assert.equal(byProgram, 1);
    const heard = arrived
      .frames()
      .map((bytes) => /honest( too)?|forged|summed|damaged/.exec(bytes.toString('latin1'))?.[0]);
    assert.deepEqual(
      heard.filter((text) => text !== undefined),
      ['honest', 'honest too', 'summed'],
    );
    socket.close();
    arrived.close();
  });

  test('the overlay takes two entries of the neighbour table, however many pods it leads to', () => {
    const { node } = rig.node(1).rig;
    const entries = node.ip('neighbour show dev tbvxlan');
    assert.deepEqual(entries.map(({ dst }) => dst).sort(), ['169.254.1.1', 'fe80::1']);
  });

  test('what somebody takes away of the overlay comes back', async () => {
    const { node } = rig.node(1).rig;
    for (const words of ['link delete tbvxlan', 'route delete 10.77.2.0/24']) {
      node.run('ip', ...words.split(' '));
      await eventually(() => {
        assert.deepEqual(
          node.ip('route show dev tbvxlan proto 111').map(({ dst }) => dst),
          ['10.77.2.0/24', '10.77.3.0/24', '10.77.4.0/24'],
        );
      });
      assert.equal(upload(pod(1).namespace, pod(2).address).peer, pod(1).address);
      assert.equal(upload(node, pod(2).address).peer, '10.77.1.0');
    }
  });

  test('a pod is listed with the way its packets take', async () => {
    const { stdout } = await rig.node(1).rig.cli(['endpoint', 'list']);
    assert.match(stdout, /FORWARDING/);
    assert.match(stdout, /tbo[0-9a-f]{11} +fast +attached/);
    const ways = await rig.node(3).rig.cli(['tunnel', 'list']);
    assert.match(ways.stdout, /^10\.77\.1\.0\/24 +pods +four1 +overlay +192\.0\.2\.11$/m);
    assert.match(ways.stdout, /^10\.77\.4\.0\/24 +pods +four4 +underlay +-$/m);
  });

  test('killed and started again, an agent loses no packet of its pods', async () => {
    const { rig: agent } = rig.node(1);
    const pinger = pod(1).namespace.start('ping', ['-n', '-q', '-i', '0.02', '-c', '120', pod(2).address], {
      stdio: ['ignore', 'pipe', 'inherit'],
    });
    let said = '';
    pinger.stdout?.on('data', (text) => {
      said += text;
    });
    const ended = once(pinger, 'close');
    assert.equal(await agent.end('SIGKILL'), 'SIGKILL');
    assert.equal(upload(pod(1).namespace, pod(2).address).peer, pod(1).address);
    await agent.start();
    await ended;
    assert.match(said, /120 packets transmitted, 120 received/);
    assert.equal(upload(rig.node(1).rig.node, pod(2).address).peer, '10.77.1.0');
  });

  test('nobody tunnels to a node any more that has left the cluster', async () => {
    await rig.node(2).rig.end('SIGTERM');
    rmSync(`${rig.store}/NodeNetwork/four2.yaml`);
    await eventually(async () => {
      const tunnels: { node?: string }[] = await rig.node(1).rig.json('/v1/tunnels');
      assert.equal(
        tunnels.some(({ node }) => node === 'four2'),
        false,
      );
    });
    const routes = rig.node(1).rig.node.ip('route show dev tbvxlan proto 111');
    assert.deepEqual(
      routes.map(({ dst }) => dst),
      ['10.77.3.0/24', '10.77.4.0/24'],
    );
  });
});
