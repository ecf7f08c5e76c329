import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';
import { changeThisNode } from '../../src/datapath/uplink.ts';
import { eventually } from '../../src/eventually.rig.ts';
import { counted, counts } from './counting.ts';
import { TestNamespaces } from './namespaces.ts';
import { NodesRig, type RigNode, VXLAN_PORT } from './nodesRig.ts';
import { PacketSocket } from './packetSocket.ts';
import { checksum, frame, tcp, udp } from './packets.ts';
import { serveUploads, upload } from './uploads.ts';
import { firstWord } from './within.ts';

const namespaces = new TestNamespaces('forwardingtunnels');
type Pod = Awaited<ReturnType<RigNode['rig']['pod']>>;

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

describe('the tunnels of three nodes, two of them in the overlay', () => {
  let rig: NodesRig;
  let pods: Pod[];
  /** A second one on the first node. */
  let neighbour: Pod;
  const pod = (number: number): Pod => pods[number - 1] as Pod;

  before(async () => {
    rig = new NodesRig(namespaces, 'tunl', [
      { routing: 'overlay' },
      { routing: 'overlay' },
      { routing: 'underlay' },
    ]);
    await rig.start();
    pods = await Promise.all(rig.nodes.map(({ rig }) => rig.pod('pod')));
    neighbour = await rig.node(1).rig.pod('neighbour');
    await serveUploads(pod(2).namespace);
  });

  after(async () => {
    await rig?.remove();
    namespaces.close();
  });

  test('programs make the tunnels, tbvxlan takes what they leave, and either understands the other', async () => {
    const nodes = [rig.node(1), rig.node(2)] as const;
    const both = async (reason: string) =>
      (await Promise.all(nodes.map(async (node) => (await counts(node)).get(reason) ?? 0))) as [
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
    try {
      // One of them leaves it all to its device. An agent that still hears of other nodes writes over that.
      await eventually(async () => {
        changeThisNode(nodes[1].rig.bpfDir, { tunnel_port: 0 });
        const [first, second] = await done('encapsulated', async () => {
          const [taken, left] = await done('decapsulated', ask);
          assert.ok((taken ?? 0) >= 90, `${taken} taken out by programs`);
          assert.equal(left, 0);
        });
        assert.ok((first ?? 0) >= 100, `${first} put in by programs`);
        assert.ok((second ?? 1) <= 1, 'what had its way may go it for a moment');
      });
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
});
