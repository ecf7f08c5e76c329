import assert from 'node:assert/strict';
import { once } from 'node:events';
import { mkdirSync, rmSync, writeFileSync } from 'node:fs';
import { dirname } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { eventually } from '../../src/eventually.rig.ts';
import { serviceYaml, sliceYaml } from './agentRig.ts';
import { counted, countForwarded } from './counting.ts';
import { TestNamespaces } from './namespaces.ts';
import { NodesRig, type RigNode, type Seen, seenOn } from './nodesRig.ts';
import { PacketSocket } from './packetSocket.ts';
import { frame, udp } from './packets.ts';
import { serveUploads, upload } from './uploads.ts';

const namespaces = new TestNamespaces('forwarding');
type Pod = Awaited<ReturnType<RigNode['rig']['pod']>>;

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
    await Promise.all([...pods, neighbour].map(({ namespace }) => serveUploads(namespace)));
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
        const server = await serveUploads(rig.node(2).rig.node);
        assert.equal(upload(pod(1).namespace, target).peer, address(pod(1)));
        server.kill();
      });
    });
  }

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
