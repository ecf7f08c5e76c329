import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';
import { setTimeout } from 'node:timers/promises';
import { pinDirectory } from '../../src/datapath/directory.ts';
import { MAPS } from '../../src/datapath/layout.ts';
import { openMap } from '../../src/ebpf/map.ts';
import { TestNamespaces } from './namespaces.ts';
import { type Attachment, type Family, NodeWorld, type Pod } from './nodeWorld.ts';
import type { PodProcess } from './podProcess.ts';

const namespaces = new TestNamespaces('tbtnode');
after(() => namespaces.close());

/** "At once": before a first SYN is repeated, which is after a second. */
const AT_ONCE_MS = 950;

for (const mode of ['packet', 'socket', 'both'] as const) {
  describe(`services by ${mode}`, () => {
    const name = mode.slice(0, 3);
    const udpAtSocket = mode === 'socket';
    const clients = new Map<Attachment, PodProcess>();
    let world: NodeWorld;
    let servers: Pod[];
    let next = 1;

    before(async () => {
      world = new NodeWorld(namespaces, name, mode);
      await world.rig.start();
      servers = await Promise.all(['a', 'b', 'c'].map((server) => world.server(server)));
      for (const attachment of ['veth', 'nic'] as const) {
        clients.set(attachment, await world.client(await world.pod(attachment, attachment)));
      }
    });

    after(async () => {
      for (const client of clients.values()) client.end();
      await world.remove();
    });

    for (const attachment of ['veth', 'nic'] as const) {
      for (const family of [4, 6] as const) {
        describe(`of a pod on a ${attachment}, IPv${family}`, () => {
          scenarios(family, () => {
            const client = clients.get(attachment);
            assert.ok(client);
            const number = next++;
            const address = family === 4 ? `10.96.1.${number}` : `fd96::1:${number.toString(16)}`;
            const [a, b, c] = servers as [Pod, Pod, Pod];
            return { world, client, udpAtSocket, a, b, c, service: { address, family } };
          });
        });
      }
    }
  });
}

interface Scenario {
  readonly world: NodeWorld;
  readonly client: PodProcess;
  /** Whether connected UDP sockets are translated when they connect: not where packets can be moved elsewhere later. */
  readonly udpAtSocket: boolean;
  readonly a: Pod;
  readonly b: Pod;
  readonly c: Pod;
  readonly service: { readonly address: string; readonly family: Family };
}

function scenarios(family: Family, begin: () => Scenario): void {
  test('a client with affinity keeps its backend until the timeout, or until that is gone', async () => {
    const { world, client, a, b, c, service } = begin();
    const timeoutSeconds = 2;
    const spec = { sessionAffinity: 'ClientIP', sessionAffinityConfig: { clientIP: { timeoutSeconds } } };
    const pods: Record<string, Pod> = { a, b, c };
    const members = Object.values(pods).map((pod) => ({ pod }));
    await world.service({ ...service, spec }, members);
    const chosen = await whoAnswers(client, service.address);
    assert.deepEqual(await answers(client, service.address, 8), [chosen]);
    const others = members.filter(({ pod }) => pod !== pods[chosen]);
    await world.service({ ...service, spec }, others);
    const second = await whoAnswers(client, service.address);
    assert.notEqual(second, chosen);
    assert.deepEqual(await answers(client, service.address, 8), [second]);
    await world.service({ ...service, spec }, members);
    assert.deepEqual(await answers(client, service.address, 4), [second]);
    let after = second;
    for (let tries = 0; after === second && tries < 12; tries++) {
      await setTimeout(timeoutSeconds * 1000 + 50);
      after = await whoAnswers(client, service.address);
    }
    assert.notEqual(after, second, 'the same backend after every timeout');
  });

  test('internalTrafficPolicy Local stays on the node, and refuses where it has no backend', async () => {
    const { world, client, a, b, c, service } = begin();
    const spec = { internalTrafficPolicy: 'Local' };
    const here = (await world.rig.json('/v1/status')).node;
    await world.service({ ...service, spec }, [
      { pod: a, node: 'elsewhere' },
      { pod: b, node: here },
      { pod: c },
    ]);
    assert.deepEqual(await answers(client, service.address, 12), ['b']);
    await world.service({ ...service, spec }, [{ pod: a, node: 'elsewhere' }]);
    await refusedAtOnce(client, service.address);
  });

  test('a terminating backend keeps its connections and gets no new ones', async () => {
    const { world, client, a, b, service } = begin();
    await world.service(service, [{ pod: a }]);
    const connection = await client.connect(service.address, 80);
    assert.equal(connection.seenAddress, 'a');
    await world.service(service, [{ pod: a, terminating: true }, { pod: b }]);
    assert.equal(await client.call('echo', connection.id, 5000), true);
    assert.deepEqual(await answers(client, service.address, 12), ['b']);
    assert.equal(await client.call('echo', connection.id, 5000), true);
    await client.call('close', connection.id);
  });

  test('an unconnected UDP socket moves off a backend that is gone', async () => {
    const { world, client, a, b, service } = begin();
    await world.service(service, [{ pod: a }]);
    const socket = await client.call('openUdp', service.address, 80, {});
    assert.equal(await askedBy(client, socket, service.address), 'a');
    await world.service(service, [{ pod: b }]);
    assert.equal(await askedBy(client, socket, service.address), 'b');
    assert.equal(await askedBy(client, socket, service.address), 'b');
    await client.call('close', socket);
  });

  test('a connected UDP socket moves off a backend that is gone, or is ended to connect again', async () => {
    const { world, client, udpAtSocket, a, b, service } = begin();
    await world.service(service, [{ pod: a }]);
    const socket = await client.call('openUdp', service.address, 80, { connected: true });
    const ask = (socket: number) => client.call('ask', socket, service.address, 80, 100, true);
    assert.equal((await ask(socket)).seenAddress, 'a');
    await world.service(service, [{ pod: b }]);
    const { seenAddress, error } = await ask(socket);
    if (udpAtSocket) assert.ok(error !== undefined && error !== 'timeout', `${seenAddress} ${error}`);
    else assert.equal(seenAddress, 'b', error);
    await client.call('close', socket);
    const another = await client.call('openUdp', service.address, 80, { connected: true });
    assert.equal((await ask(another)).seenAddress, 'b');
    await client.call('close', another);
  });

  test('a service without backends, and a port that is none, are refused at once', async () => {
    const { world, client, a, service } = begin();
    await world.service(service, []);
    await refusedAtOnce(client, service.address);
    await world.service(service, [{ pod: a }]);
    assert.deepEqual(await answers(client, service.address, 1), ['a']);
    await refusedAtOnce(client, service.address, 81);
  });

  test('by Maglev the same flow meets the same backend, and only those of a lost one meet another', async () => {
    const { world, client, a, b, c, service } = begin();
    const annotations = { 'network.tombolo.dev/balance': 'maglev' };
    await world.service({ ...service, annotations }, [{ pod: a }, { pod: b }, { pod: c }]);
    const sockets: number[] = [];
    for (let count = 0; count < 96; count++) {
      sockets.push(await client.call('openUdp', service.address, 80, {}));
    }
    /** Who answers each socket, with nothing remembered of it. */
    const chosen = async () => {
      forgetFlows(world);
      const names: string[] = [];
      for (const socket of sockets) names.push(await askedBy(client, socket, service.address));
      return names;
    };
    const first = await chosen();
    assert.deepEqual([...new Set(first)].sort(), ['a', 'b', 'c']);
    assert.deepEqual(await chosen(), first);
    await world.service({ ...service, annotations }, [{ pod: a }, { pod: c }]);
    const second = await chosen();
    assert.ok(!second.includes('b'));
    const moved = first.filter((name, index) => name !== 'b' && name !== second[index]).length;
    assert.ok(moved <= 16, `${moved} of ${sockets.length} flows moved though their backend is there`);
    for (const socket of sockets) await client.call('close', socket);
  });

  async function whoAnswers(client: PodProcess, address: string): Promise<string> {
    const { id, seenAddress } = await client.connect(address, 80);
    await client.call('close', id);
    return seenAddress;
  }

  /** All who answer so many connections. */
  async function answers(client: PodProcess, address: string, count: number): Promise<string[]> {
    const names = new Set<string>();
    for (let asked = 0; asked < count; asked++) names.add(await whoAnswers(client, address));
    return [...names].sort();
  }

  async function askedBy(client: PodProcess, socket: number, address: string): Promise<string> {
    const { seenAddress, error } = await client.call('ask', socket, address, 80, 100, false);
    assert.equal(error, undefined, `IPv${family}`);
    return seenAddress ?? '';
  }

  async function refusedAtOnce(client: PodProcess, address: string, port = 80): Promise<void> {
    const tcp = await client.call('connect', address, port, {});
    assert.ok('error' in tcp, `${address} port ${port} answers`);
    assert.equal(tcp.error, 'ECONNREFUSED');
    assert.ok(tcp.tookMs < AT_ONCE_MS, `${tcp.tookMs} ms`);
    const began = performance.now();
    assert.match(await udpError(client, address, port), /ECONNREFUSED/);
    assert.ok(performance.now() - began < AT_ONCE_MS, `${performance.now() - began} ms`);
  }

  /** What a connected socket is told, be it when it connects or when it sends. */
  async function udpError(client: PodProcess, address: string, port: number): Promise<string> {
    try {
      const socket = await client.call('openUdp', address, port, { connected: true });
      const { error } = await client.call('ask', socket, address, port, 100, true);
      await client.call('close', socket);
      return error ?? 'none';
    } catch (error) {
      return String(error);
    }
  }
}

function forgetFlows({ rig }: NodeWorld): void {
  const { map } = pinDirectory(rig.bpfDir);
  for (const name of ['tb_flows', 'tb_sock_peers'] as const) {
    const entries = openMap<unknown, unknown>(map(name), MAPS[name].key as never, MAPS[name].value as never);
    entries.deleteAll([...entries.keys()]);
    entries.close();
  }
}
