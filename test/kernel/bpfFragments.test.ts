import assert from 'node:assert/strict';
import { after, afterEach, before, beforeEach, describe, test } from 'node:test';
import { setTimeout } from 'node:timers/promises';
import { type Pod, PodNetwork } from './bpfNetwork.ts';
import { Datapath } from './bpfRig.ts';
import { at } from './bpfTestPod.ts';
import { PacketSocket } from './packetSocket.ts';
import { fragmentsOf, udp } from './packets.ts';

const ROUTER_MAC = '02:00:00:00:01:01';

let network: PodNetwork;
let datapath: Datapath;
let client: Pod;
let server: Pod;
let other: Pod;
let fromClient: PacketSocket;
let atServer: PacketSocket;

before(async () => {
  network = new PodNetwork('bpffragments');
  datapath = new Datapath();
  client = network.vethPod('client', 2);
  server = network.vethPod('server', 3);
  other = network.vethPod('other', 4);
  for (const pod of [client, server, other]) network.attachPackets(datapath, pod);
  await server.process.call('listenUdp', 5353);
  await client.process.call('listenUdp', 5353);
  fromClient = new PacketSocket(client.namespace, 'eth0');
  atServer = new PacketSocket(server.namespace, 'eth0');
  for (const [service, backend, itself] of [
    ['10.96.0.1', server.ipv4, client.ipv4],
    ['fd00:96::1', server.ipv6, client.ipv6],
  ] as const) {
    datapath.addService({ frontend: at(service, 53), protocol: 'UDP', backends: [at(backend, 5353)] });
    datapath.addService({ frontend: at(service, 54), protocol: 'UDP', backends: [at(itself, 5353)] });
  }
});

after(async () => {
  fromClient?.close();
  atServer?.close();
  datapath?.close();
  await network?.close();
});

beforeEach(() => datapath.forget());
afterEach(() => assert.equal([...datapath.maps.tb_held.entries()].length, 0, 'fragments were left behind'));

const orders: [string, (fragments: Buffer[]) => Buffer[]][] = [
  ['in order', (fragments) => fragments],
  ['backwards', (fragments) => fragments.toReversed()],
  ['the first one last', ([first, ...rest]) => (first ? [...rest, first] : rest)],
  [
    'shuffled',
    (fragments) =>
      fragments
        .map((fragment, index) => ({ fragment, place: (index * 7 + 5) % 11 }))
        .sort((a, b) => a.place - b.place)
        .map(({ fragment }) => fragment),
  ],
  ['each one twice', (fragments) => fragments.toReversed().flatMap((fragment) => [fragment, fragment])],
];

let identification = 1000;
let port = 30000;

for (const family of [4, 6] as const) {
  const service = family === 4 ? '10.96.0.1' : 'fd00:96::1';
  const mac = () => client.namespace.ip('link show eth0')[0].address;
  const addressOf = (pod: Pod) => (family === 4 ? pod.ipv4 : pod.ipv6);

  /** What the server's kernel answers shows that it got all of it: see `listenUdp`. */
  async function answerTo(payload: Buffer, from: number): Promise<string> {
    for (let tries = 0; tries < 50; tries++) {
      await setTimeout(10);
      const seen = fromClient.frames().map((frame) => frame.toString('latin1'));
      const found = seen.join('').match(new RegExp(`${addressOf(client)} ${from} ${payload.length}\\n`));
      if (found) return found[0];
    }
    return 'none';
  }

  describe(`fragments over IPv${family}`, () => {
    for (const [order, arrange] of orders) {
      test(`to a service, ${order}, reach its backend as one packet`, async () => {
        const from = port++;
        const payload = Buffer.alloc(12_000, 'fragmented ');
        const whole = {
          sourceMac: mac(),
          destinationMac: ROUTER_MAC,
          source: addressOf(client),
          destination: service,
          transport: udp({ from, to: 53, payload }),
        };
        for (const fragment of arrange(fragmentsOf(whole, 1400, identification++))) fromClient.send(fragment);
        assert.equal(await answerTo(payload, from), `${addressOf(client)} ${from} ${payload.length}\n`);
        assert.equal(datapath.metrics().fragment_held === undefined, order === 'in order');
      });

      test(`from a backend, ${order}, reach the client as the service's`, async () => {
        const from = port++;
        const socket = await client.process.call('openUdp', service, 53, { localPort: from });
        // Opens the flow, so that the backend's answer has one to belong to.
        await client.process.call('ask', socket, service, 53, 10, false);
        const answered = client.process.call('ask', socket, service, 53, 0, false);
        const payload = Buffer.alloc(9000, 'answered ');
        const whole = {
          sourceMac: server.namespace.ip('link show eth0')[0].address,
          destinationMac: ROUTER_MAC,
          source: addressOf(server),
          destination: addressOf(client),
          transport: udp({
            from: 5353,
            to: from,
            payload: Buffer.concat([Buffer.from('1.2.3.4 7 9000\n'), payload]),
          }),
        };
        await answered;
        const second = client.process.call('ask', socket, service, 9, 0, false).catch(() => undefined);
        await setTimeout(20);
        for (const fragment of arrange(fragmentsOf(whole, 1400, identification++))) atServer.send(fragment);
        const answer = await second;
        assert.ok(answer && !('error' in answer), JSON.stringify(answer));
        assert.deepEqual(
          [answer.seenAddress, answer.seenPort, answer.size, answer.peerAddress, answer.peerPort],
          ['1.2.3.4', 7, 9000, service, 53],
        );
        await client.process.call('close', socket);
      });
    }

    test('to the pod itself by way of a service, backwards, are one packet to its own server', async () => {
      const from = port++;
      const payload = Buffer.alloc(5000, 'self ');
      const lo = new PacketSocket(client.namespace, 'lo');
      const whole = {
        sourceMac: mac(),
        destinationMac: ROUTER_MAC,
        source: addressOf(client),
        destination: service,
        transport: udp({ from, to: 54, payload }),
      };
      for (const fragment of fragmentsOf(whole, 1400, identification++).toReversed())
        fromClient.send(fragment);
      await setTimeout(100);
      const text = lo
        .frames()
        .map((frame) => frame.toString('latin1'))
        .join('');
      lo.close();
      assert.match(text, new RegExp(`${addressOf(client)} ${from} ${payload.length}\\n`));
    });

    test('that belong to no service pass as they come', async () => {
      const fromOther = new PacketSocket(other.namespace, 'eth0');
      const atRouter = new PacketSocket(network.router, 'tboother');
      const whole = {
        sourceMac: other.namespace.ip('link show eth0')[0].address,
        destinationMac: ROUTER_MAC,
        source: addressOf(other),
        destination: addressOf(server),
        transport: udp({ from: 1, to: 2, payload: Buffer.alloc(5000, 'elsewhere ') }),
      };
      const sent = fragmentsOf(whole, 1400, identification++).toReversed();
      for (const fragment of sent) fromOther.send(fragment);
      await setTimeout(50);
      const arrived = atRouter.frames().filter((frame) => frame.includes('elsewhere'));
      assert.deepEqual(arrived.slice(0, sent.length), sent);
      assert.equal(datapath.metrics().fragment_held, undefined);
      fromOther.close();
      atRouter.close();
    });

    test('whose first one never comes are held, up to a number, and nothing leaves for the service', async () => {
      const whole = {
        sourceMac: mac(),
        destinationMac: ROUTER_MAC,
        source: addressOf(client),
        destination: service,
        transport: udp({ from: port++, to: 53, payload: Buffer.alloc(60_000) }),
      };
      for (const fragment of fragmentsOf(whole, 1000, identification++).slice(1)) fromClient.send(fragment);
      await setTimeout(20);
      const { fragment_held, fragments_full } = datapath.metrics();
      // 60 fragments, less the first.
      assert.deepEqual([fragment_held, fragments_full], [48, 60 - 48]);
      assert.deepEqual(datapath.collect('tb_held_gc', 'tb_held'), { waiting: 48, expired: 0 });
      for (const [key, held] of [...datapath.maps.tb_held.entries()]) {
        datapath.maps.tb_held.set(key, { ...held, seen: held.seen - 31 });
      }
      assert.deepEqual(datapath.collect('tb_held_gc', 'tb_held'), { waiting: 0, expired: 48 });
    });

    test('held too long ago do not go out with a later packet of the same identification', async () => {
      const from = port++;
      const payload = Buffer.alloc(3000, 'later ');
      const id = identification++;
      const whole = {
        sourceMac: mac(),
        destinationMac: ROUTER_MAC,
        source: addressOf(client),
        destination: service,
        transport: udp({ from, to: 53, payload }),
      };
      const [first, ...rest] = fragmentsOf(whole, 1400, id);
      const old = fragmentsOf(
        { ...whole, transport: udp({ from, to: 53, payload: Buffer.alloc(3000, 'older ') }) },
        1400,
        id,
      );
      for (const fragment of old.slice(1)) fromClient.send(fragment);
      await setTimeout(20);
      for (const [key, held] of [...datapath.maps.tb_held.entries()]) {
        datapath.maps.tb_held.set(key, { ...held, seen: held.seen - 31 });
      }
      for (const fragment of rest) fromClient.send(fragment);
      assert.ok(first);
      fromClient.send(first);
      assert.equal(await answerTo(payload, from), `${addressOf(client)} ${from} ${payload.length}\n`);
    });
  });
}
