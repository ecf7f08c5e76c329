import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';
import { CLIENT, counted, FAMILIES, type Family, HandoverRig, type Server, VIP } from './handoverRig.ts';
import { TestNamespaces } from './namespaces.ts';
import { type Seen, seenOn } from './nodesRig.ts';

const namespaces = new TestNamespaces('tbdir');
after(() => namespaces.close());

for (const routing of ['underlay', 'overlay'] as const) {
  describe(`a service for clients outside, on nodes of the ${routing}`, () => {
    let rig: HandoverRig;
    let a: Server;
    let b: Server;

    before(async () => {
      rig = new HandoverRig(namespaces, routing.slice(0, 2), [{ routing }, { routing }, { routing }]);
      await rig.start();
      a = await rig.server('a', 3);
      b = await rig.server('b', 2);
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

      test(`moves from node to node under an open connection and a conversation (IPv${family})`, async () => {
        await rig.expose([{ server: a }, { server: b }]);
        rig.route(1);
        const connections = await Promise.all(Array.from({ length: 12 }, () => connect(family)));
        assert.deepEqual([...new Set(connections.map(({ seenAddress }) => seenAddress[0]))].sort(), [
          'a',
          'b',
        ]);
        const sockets = await Promise.all(
          Array.from({ length: 8 }, () => rig.client.call('openUdp', VIP[family], 80, {})),
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
    }
  });
}
