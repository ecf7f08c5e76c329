import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { pinDirectory } from '../../src/datapath/directory.ts';
import { MAPS } from '../../src/datapath/layout.ts';
import { openMap } from '../../src/ebpf/map.ts';
import { eventually } from '../../src/eventually.rig.ts';
import { counted, countForwarded, counts } from './counting.ts';
import { CLIENT, FAMILIES, type Family, HandoverRig, type Server, VIP } from './handoverRig.ts';
import { TestNamespaces } from './namespaces.ts';
import { type Seen, seenOn, VXLAN_PORT } from './nodesRig.ts';
import { PacketSocket } from './packetSocket.ts';
import { frame, udp } from './packets.ts';

const namespaces = new TestNamespaces('tbdir');
/** So many choose between two backends that one of these is left out once in eight million runs. */
const MANY = 24;
/** Questions and answers of a conversation over one connection. */
const TURNS = 100;
/** By then every acknowledgement that TCP delays has been sent. */
const DELAYED_MS = 300;
after(() => namespaces.close());

/** Empties what a node knows of clients outside. */
function forget(bpfDir: string): void {
  for (const name of ['tb_nat', 'tb_handovers'] as const) {
    const map = openMap<unknown, unknown>(
      pinDirectory(bpfDir).map(name),
      MAPS[name].key as never,
      MAPS[name].value as never,
    );
    map.deleteAll([...map.keys()]);
    map.close();
  }
}

for (const routing of ['underlay', 'overlay'] as const) {
  describe(`a service for clients outside, on nodes of the ${routing}`, () => {
    let rig: HandoverRig;
    let a: Server;
    let b: Server;
    let late: Server;
    let host: Server;
    /** Packets that the stack of each node has forwarded. */
    let forwarded: (() => number)[];

    before(async () => {
      rig = new HandoverRig(namespaces, routing.slice(0, 2), [{ routing }, { routing }, { routing }]);
      await rig.start();
      a = await rig.server('a', 3);
      b = await rig.server('b', 2);
      late = await rig.server('late', 3);
      host = await rig.nodeServer('host', 3);
      forwarded = rig.nodes.nodes.map(countForwarded);
    });
    after(async () => {
      await rig?.remove();
    });

    /** Who answers a datagram, and whom they see. */
    async function ask(socket: number, family: Family, bytes = 100, connected = false) {
      return rig.client.call('ask', socket, VIP[family], 80, bytes, connected);
    }

    const connect = (family: Family) => rig.client.connect(VIP[family], 80);
    const echo = (connection: { id: number }, bytes = 3000) => rig.client.call('echo', connection.id, bytes);

    for (const family of FAMILIES) {
      test(`goes to the backend's node as it is, and is answered from there (IPv${family})`, async () => {
        await rig.expose([{ server: a }]);
        rig.route(1);
        const seen: { asked: Seen[]; holder: Seen[] } = { asked: [], holder: [] };
        seen.asked = await seenOn(rig.nodes.fabric, rig.node(1).port, async () => {
          seen.holder = await seenOn(rig.nodes.fabric, rig.node(3).port, async () => {
            const connection = await connect(family);
            assert.equal(connection.seenAddress, `a|${CLIENT[family]}`);
            assert.equal(connection.peerAddress, VIP[family]);
            assert.equal(await echo(connection, 20_000), true);
            await rig.client.call('close', connection.id);
            const socket = await rig.client.call('openUdp', VIP[family], 80, {});
            const { seenAddress, peerAddress, error } = await ask(socket, family);
            assert.deepEqual([seenAddress, peerAddress], [`a|${CLIENT[family]}`, VIP[family]], error);
            await rig.client.call('close', socket);
          });
        });
        const question = `${CLIENT[family]} > ${VIP[family]} `;
        const answer = `${VIP[family]} > ${CLIENT[family]} `;
        assert.ok(
          seen.asked.some(
            ({ outer, inner }) => outer.includes('192.0.2.11 > 192.0.2.13') && inner?.includes(question),
          ),
        );
        assert.ok(
          !seen.asked.some(({ outer, inner }) => (inner ?? outer).includes(answer)),
          'answered by way of the node that was asked',
        );
        assert.ok(seen.holder.some(({ outer, inner }) => inner === undefined && outer.includes(answer)));
        assert.ok(!seen.holder.some(({ inner }) => inner?.includes(answer)), 'answered through a tunnel');
      });

      test(`goes past the stacks and tunnel devices of both nodes, once the flow is known (IPv${family})`, async () => {
        await rig.expose([{ server: a }]);
        rig.route(1);
        const connection = await connect(family);
        const seen = async () => ({
          asked: await counts(rig.node(1)),
          holder: await counts(rig.node(3)),
          byDevice: Number(rig.node(3).rig.node.ip('-s link show tbvxlan')[0].stats64.rx.packets),
          stacks: forwarded.map((count) => count()),
        });
        const before = await seen();
        assert.equal(await rig.client.call('converse', connection.id, TURNS), TURNS);
        await sleep(DELAYED_MS);
        const after = await seen();
        const grown = (node: 'asked' | 'holder', reason: string) =>
          (after[node].get(reason) ?? Number.NaN) - (before[node].get(reason) ?? Number.NaN);
        const handedOver = grown('asked', 'handed_over');
        assert.ok(handedOver >= TURNS, `${handedOver} handed over`);
        assert.equal(grown('asked', 'encapsulated'), handedOver, 'put into their tunnel by a program');
        const byProgram = grown('holder', 'decapsulated');
        // One that comes when its way is not believed any more is looked at anew, behind the device: on a crowded machine many.
        assert.ok(byProgram >= handedOver / 2, `${byProgram} of ${handedOver} taken out by a program`);
        assert.equal(
          byProgram + after.byDevice - before.byDevice,
          handedOver,
          'and the others by the device',
        );
        const brought = grown('holder', 'forwarded_to_pod');
        assert.ok(brought >= handedOver, `${brought} brought to the pod by a program`);
        assert.deepEqual(after.stacks, before.stacks);
        await rig.client.call('close', connection.id);
      });

      test(`moves from node to node under an open connection and a conversation (IPv${family})`, async () => {
        await rig.expose([{ server: a }, { server: b }]);
        rig.route(1);
        const connections = await Promise.all(Array.from({ length: MANY }, () => connect(family)));
        assert.deepEqual([...new Set(connections.map(({ seenAddress }) => seenAddress[0]))].sort(), [
          'a',
          'b',
        ]);
        const sockets = await Promise.all(
          Array.from({ length: MANY }, () => rig.client.call('openUdp', VIP[family], 80, {})),
        );
        const answers = () =>
          Promise.all(sockets.map(async (socket) => (await ask(socket, family)).seenAddress));
        const first = await answers();
        assert.deepEqual([...new Set(first.map((text) => text?.[0]))].sort(), ['a', 'b']);
        // Node 2 and 3 have backends of their own, node 1 has none.
        for (const next of [[2], [3], [1], [1, 2, 3]]) {
          rig.route(...next);
          assert.deepEqual(
            await Promise.all(connections.map((one) => echo(one, 5_000))),
            connections.map(() => true),
            `by ${next}`,
          );
          assert.deepEqual(await answers(), first, `by ${next}`);
        }
        for (const { id } of connections) await rig.client.call('close', id);
        for (const socket of sockets) await rig.client.call('close', socket);
      });

      test(`stays with its backend when others come and when it is to end (IPv${family})`, async () => {
        await rig.expose([{ server: a }]);
        rig.route(1);
        const open = await Promise.all(Array.from({ length: 8 }, () => connect(family)));
        await rig.expose([{ server: a }, { server: b }]);
        assert.deepEqual(
          await Promise.all(open.map((one) => echo(one))),
          open.map(() => true),
          'with another',
        );
        await rig.expose([{ server: a, terminating: true }, { server: b }]);
        assert.deepEqual(
          await Promise.all(open.map((one) => echo(one))),
          open.map(() => true),
          'ending',
        );
        assert.equal((await connect(family)).seenAddress[0], 'b');
        await rig.expose([{ server: b }]);
        assert.deepEqual(
          await Promise.all(open.map((one) => echo(one))),
          open.map(() => true),
          'out of the service',
        );
        for (const { id } of open) await rig.client.call('close', id);
      });

      test(`takes uploads and downloads of any size (IPv${family})`, async () => {
        await rig.expose([{ server: a }]);
        rig.route(1);
        const clamped = await counted(rig.node(3), 'mss_clamped', async () => {
          const connection = await connect(family);
          assert.equal(await echo(connection, 1_000_000), true);
          await rig.client.call('close', connection.id);
        });
        assert.equal(clamped, routing === 'underlay' ? 1 : 0, 'pods of the overlay leave room by themselves');
      });

      test(`tells the client of datagrams that do not fit into the tunnel, and carries fragments (IPv${family})`, async () => {
        await rig.expose([{ server: a }]);
        rig.route(1);
        const flush = () => rig.outside.run('ip', `-${family}`, 'route', 'flush', 'cache');
        flush();
        const socket = await rig.client.call('openUdp', VIP[family], 80, {});
        // As long as the client's own link takes: whole, and not to be fragmented.
        const size = 1500 - (family === 4 ? 28 : 48);
        const told = await counted(rig.node(1), 'handover_too_big', async () => {
          assert.equal((await ask(socket, family, size)).error, 'timeout');
        });
        assert.equal(told, 1);
        assert.match(rig.outside.run('ip', 'route', 'get', VIP[family]), /mtu 1450/);
        for (const bytes of [size, 4000]) {
          const { size, whole, error } = await ask(socket, family, bytes);
          assert.deepEqual([size, whole], [bytes, true], error);
        }
        flush();
        if (family === 4)
          assert.equal((await ask(socket, family, 4000)).size, 4000, 'fragments as long as the link');
        flush();
        await rig.client.call('close', socket);
      });

      test(`hears of the size of the way back, whichever node is told (IPv${family})`, async () => {
        await rig.expose([{ server: a }]);
        rig.route(1);
        const connection = await connect(family);
        rig.nodes.fabric.run('ip', ...'link set out0 mtu 1300'.split(' '));
        try {
          rig.route(2);
          assert.equal(await echo(connection, 300_000), true);
        } finally {
          rig.nodes.fabric.run('ip', ...'link set out0 mtu 1500'.split(' '));
          a.namespace.attempt('ip', `-${family}`, 'route', 'flush', 'cache');
        }
        await rig.client.call('close', connection.id);
      });

      test(`goes on where the backend's node has lost its table (IPv${family})`, async () => {
        await rig.expose([{ server: a }, { server: b }]);
        rig.route(1);
        const open = await Promise.all(Array.from({ length: 8 }, () => connect(family)));
        for (const { rig: agent } of rig.nodes.nodes) forget(agent.bpfDir);
        rig.route(2);
        assert.deepEqual(
          await Promise.all(open.map((one) => echo(one))),
          open.map(() => true),
        );
        for (const { id } of open) await rig.client.call('close', id);
      });

      test(`leads to a process of a node as well (IPv${family})`, async () => {
        await rig.expose([{ server: host }]);
        rig.route(1);
        const connection = await connect(family);
        assert.equal(connection.seenAddress, `host|${CLIENT[family]}`);
        assert.equal(await echo(connection, 100_000), true);
        rig.route(2);
        assert.equal(await echo(connection, 100_000), true);
        await rig.client.call('close', connection.id);
      });

      if (family === 4) {
        test('and does so where the node filters by the way back, loosely', async () => {
          const filter = (value: number) =>
            host.namespace.run('sysctl', '-qw', `net.ipv4.conf.all.rp_filter=${value}`);
          await rig.expose([{ server: host }]);
          rig.route(1);
          filter(2);
          const connection = await connect(family);
          assert.equal(connection.seenAddress, `host|${CLIENT[family]}`);
          assert.equal(await echo(connection, 100_000), true);
          await rig.client.call('close', connection.id);
          filter(0);
        });
      }

      test(`lets in whom its source ranges let in, and keeps a client's backend (IPv${family})`, async () => {
        const affinity = { sessionAffinity: 'ClientIP' };
        await rig.expose([{ server: a }, { server: b }], affinity);
        const names = new Set<string>();
        for (const number of [1, 2, 3]) {
          rig.route(number);
          for (let count = 0; count < 3; count++) {
            const { id, seenAddress } = await connect(family);
            names.add(seenAddress);
            await rig.client.call('close', id);
          }
        }
        assert.equal(names.size, 1, [...names].join());
        rig.route(1);
        const elsewhere = { loadBalancerSourceRanges: ['192.0.2.0/24', '2001:db8:77::/48'] };
        await rig.expose([{ server: a }], elsewhere);
        await eventually(async () => {
          const refused = await rig.client.call('connect', VIP[family], 80, {});
          assert.equal('error' in refused && refused.error, 'timeout');
        });
        await rig.expose([{ server: a }]);
      });
    }

    test('a node that does not know the backends yet serves with its own, or not at all, and hands nothing on', async () => {
      await rig.expose([{ server: a }]);
      rig.route(1);
      const third = rig.node(3).rig;
      await third.end('SIGKILL');
      const asked = [rig.node(1), rig.node(2)];
      try {
        // Only node 1 hears that there is another backend on node 3, and that the old one is gone.
        await rig.expose([{ server: late }], {}, asked);
        const { id, seenAddress } = await connect(4);
        assert.equal(seenAddress[0], 'a', 'node 3 has no other');
        await rig.client.call('close', id);
      } finally {
        await third.start();
      }
      await rig.expose([{ server: b }]);
      await third.end('SIGKILL');
      try {
        await rig.expose([{ server: late }], {}, asked);
        const seen = await seenOn(rig.nodes.fabric, rig.node(3).port, async () => {
          const refused = await rig.client.call('connect', VIP[4], 80, {});
          assert.equal('error' in refused && refused.error, 'timeout');
        });
        assert.ok(seen.some(({ inner }) => inner?.includes(`> ${VIP[4]} `)));
        const from = seen.filter(
          ({ outer, inner }) => outer.includes('192.0.2.13 > ') && inner?.includes(VIP[4]),
        );
        assert.deepEqual(from, []);
      } finally {
        await third.start();
      }
    });

    test('what is handed over by nobody of the cluster, or for no such service, is not taken', async () => {
      await rig.expose([{ server: a }]);
      const { node } = rig.node(3).rig;
      const socket = new PacketSocket(rig.nodes.fabric, rig.node(3).port);
      const tunnelled = (outer: string, port: number) => {
        const inner = frame({
          sourceMac: '02:74:c0:00:02:0b',
          destinationMac: '02:74:c0:00:02:0d',
          source: CLIENT[4],
          destination: VIP[4],
          transport: udp({ from: 5, to: port, payload: 'forged' }),
        });
        const header = Buffer.from([8, 0, 0, 0, 0, 0, 111, 0]);
        return frame({
          sourceMac: rig.nodes.fabric.ip('link show br0')[0].address,
          destinationMac: node.ip('link show up0')[0].address,
          source: outer,
          destination: '192.0.2.13',
          transport: udp({ from: 5, to: VXLAN_PORT, payload: Buffer.concat([header, inner]) }),
        });
      };
      try {
        const refused = await counted(rig.node(3), 'unknown_tunnel', () => {
          socket.send(tunnelled('192.0.2.99', 80));
          socket.send(tunnelled('192.0.2.11', 81));
        });
        assert.equal(refused, 2);
        const taken = await counted(rig.node(3), 'outside_service', () =>
          socket.send(tunnelled('192.0.2.11', 80)),
        );
        assert.equal(taken, 1);
      } finally {
        socket.close();
      }
    });

    test('a node that is lost takes along no connection to the others', async () => {
      await rig.expose([{ server: a }, { server: b }]);
      rig.route(1, 2, 3);
      const open = await Promise.all(Array.from({ length: 80 }, (_, index) => connect(index % 2 ? 6 : 4)));
      const byFirst = await counted(rig.node(1), 'handed_over', async () => {
        await Promise.all(open.map((one) => echo(one)));
      });
      assert.ok(byFirst > 0, `${byFirst} packets came by the first node`);
      rig.nodes.fabric.run('ip', 'link', 'set', rig.node(1).port, 'down');
      await rig.node(1).rig.end('SIGKILL');
      rig.route(2, 3);
      assert.deepEqual(
        await Promise.all(open.map((one) => echo(one, 20_000))),
        open.map(() => true),
      );
      for (const { id } of open) await rig.client.call('close', id);
    });

    test('nodes listen for tunnels while there is such a service', async () => {
      const devices = () =>
        rig
          .node(2)
          .rig.node.ip('link show type vxlan')
          .map(({ ifname }) => ifname);
      assert.deepEqual(devices(), ['tbvxlan']);
      rig.put('Service', 'web', undefined);
      if (routing === 'underlay') await eventually(() => assert.deepEqual(devices(), []));
    });
  });
}
