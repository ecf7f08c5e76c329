/** What services have to do for pods, whatever device they have and wherever the translation happens. */

import assert from 'node:assert/strict';
import { test } from 'node:test';
import { PROTOCOLS } from '../../src/datapath/maps/endpoint.ts';
import { type Pod, PodNetwork } from './bpfNetwork.ts';
import { Datapath } from './bpfRig.ts';
import { at } from './bpfTestPod.ts';
import { PacketSocket } from './packetSocket.ts';

export const KINDS = ['veth pair', 'NIC', 'NIC without a gateway'] as const;
export const MODES = ['packet', 'socket', 'both'] as const;
export type Kind = (typeof KINDS)[number];
export type Mode = (typeof MODES)[number];

/** Two pods, the programs on both, and an ear on the wire. */
export interface Stage {
  readonly mode: Mode;
  readonly network: PodNetwork;
  readonly datapath: Datapath;
  readonly client: Pod;
  readonly server: Pod;
  /** Where a packet would pass that takes the way to the gateway. */
  readonly wire: PacketSocket;
  close(): Promise<void>;
}

export async function raise(kind: Kind, mode: Mode): Promise<Stage> {
  const network = new PodNetwork('bpfpods');
  const datapath = new Datapath();
  const veth = kind === 'veth pair';
  if (!veth) network.addSegment();
  const pod = (name: string, number: number) =>
    veth ? network.vethPod(name, number) : network.nicPod(name, number, { gateway: kind === 'NIC' });
  const [client, server] = [pod('client', 2), pod('server', 3)];
  for (const each of [client, server]) {
    await attach(network, datapath, each, mode, veth ? 'clsact' : 'tcx');
    for (const port of [8080, 8081]) await each.process.call('listenTcp', port);
    await each.process.call('listenUdp', 5353);
  }
  for (const family of [4, 6] as const) addServices(datapath, partyOf(family, client, server));
  const wire = new PacketSocket(network.router, veth ? 'tboclient' : 'gateway');
  const close = async () => {
    wire.close();
    datapath.close();
    await network.close();
  };
  return { mode, network, datapath, client, server, wire, close };
}

async function attach(network: PodNetwork, datapath: Datapath, pod: Pod, mode: Mode, by: 'clsact' | 'tcx') {
  if (mode !== 'socket') network.attachPackets(datapath, pod, by);
  if (mode !== 'packet') await network.attachSockets(datapath, pod);
  network.serve(datapath, pod, ...(mode === 'both' ? (['packet', 'socket'] as const) : [mode]));
}

/** The addresses of one family. */
export interface Party {
  readonly family: 4 | 6;
  readonly client: string;
  readonly server: string;
  readonly service: string;
  /** Another service with the same backend. */
  readonly second: string;
  readonly moving: string;
}

export function partyOf(family: 4 | 6, client: Pod, server: Pod): Party {
  const service = (number: number) => (family === 4 ? `10.96.0.${number}` : `fd00:96::${number}`);
  return {
    family,
    client: family === 4 ? client.ipv4 : client.ipv6,
    server: family === 4 ? server.ipv4 : server.ipv6,
    service: service(1),
    second: service(2),
    moving: service(9),
  };
}

function addServices(datapath: Datapath, { client, server, service, second }: Party): void {
  for (const frontend of [service, second]) {
    datapath.addService({ frontend: at(frontend, 80), backends: [at(server, 8080)] });
    datapath.addService({ frontend: at(frontend, 53), protocol: 'UDP', backends: [at(server, 5353)] });
  }
  datapath.addService({ frontend: at(service, 81), backends: [at(client, 8080)] });
  datapath.addService({ frontend: at(service, 54), protocol: 'UDP', backends: [at(client, 5353)] });
  datapath.addService({ frontend: at(service, 82), backends: [] });
  datapath.addService({ frontend: at(service, 55), protocol: 'UDP', backends: [] });
}

/** Asks by UDP, or fails the test. */
export async function ask(
  pod: Pod,
  socket: number,
  host: string,
  port: number,
  size: number,
  connected = false,
) {
  const answer = await pod.process.call('ask', socket, host, port, size, connected);
  assert.ok(
    !('error' in answer),
    `${host} port ${port} does not answer ${size} bytes: ${JSON.stringify(answer)}`,
  );
  return answer;
}

/** A port is used once: its last connection may still be in TIME_WAIT. */
let nextPort = 41000;

type Scene = (stage: () => Stage, party: () => Party, over: string) => void;

/** Frames to an address of IPv4: where the table of routes has no way to a service, none may be on its way. */
function framesTo(stage: Stage, address: string): Buffer[] {
  const bytes = Buffer.from(address.split('.').map(Number));
  return stage.wire
    .frames()
    .filter((frame) => frame.readUInt16BE(12) === 0x0800 && frame.subarray(30, 34).equals(bytes));
}

export const connections: Scene = (stage, party, over) => {
  test(`a connection reaches the backend, and shows the service to the client ${over}`, async () => {
    const { client } = stage();
    const connection = await client.process.connect(party().service, 80);
    assert.equal(connection.seenAddress, party().client);
    assert.equal(connection.seenPort, connection.localPort);
    assert.deepEqual([connection.peerAddress, connection.peerPort], [party().service, 80]);
    assert.equal(await client.process.call('echo', connection.id, 300_000), true);
    await client.process.call('close', connection.id);
    if (party().family === 4) assert.deepEqual(framesTo(stage(), party().service), []);
    if (stage().mode === 'both')
      assert.deepEqual(stage().datapath.flows(), [], 'its socket is record enough');
  });
};

export const datagrams: Scene = (stage, party, over) => {
  for (const fixed of [true, false]) {
    test(`UDP from ${fixed ? 'a fixed' : 'any'} port is answered by the service ${over}`, async () => {
      const { client } = stage();
      const options = fixed ? { localPort: 40001 } : {};
      const socket = await client.process.call('openUdp', party().service, 53, options);
      for (const size of [1, 1000, 1000]) {
        const answer = await ask(client, socket, party().service, 53, size);
        assert.deepEqual([answer.seenAddress, answer.whole], [party().client, true]);
        assert.deepEqual([answer.peerAddress, answer.peerPort], [party().service, 53]);
      }
      if (stage().mode === 'both')
        assert.deepEqual(stage().datapath.flows(), [], 'its socket is record enough');
      await client.process.call('close', socket);
    });
  }

  test(`connected UDP is answered by the service ${over}`, async () => {
    const { client } = stage();
    const socket = await client.process.call('openUdp', party().service, 53, { connected: true });
    const answer = await ask(client, socket, party().service, 53, 100, true);
    assert.equal(answer.seenAddress, party().client);
    assert.deepEqual([answer.peerAddress, answer.peerPort], [party().service, 53]);
    await client.process.call('close', socket);
  });

  test(`datagrams longer than the MTU go there and back ${over}`, async () => {
    const { client } = stage();
    const socket = await client.process.call('openUdp', party().service, 53, {});
    for (const size of [2000, 9000, 40_000]) {
      const answer = await ask(client, socket, party().service, 53, size);
      assert.deepEqual([answer.size, answer.whole, answer.peerAddress], [size, true, party().service]);
    }
    await client.process.call('close', socket);
  });

  test(`one UDP socket with two services of one backend is answered by the one it asked ${over}`, async () => {
    const { client, mode } = stage();
    const { service, second } = party();
    const socket = await client.process.call('openUdp', service, 53, {});
    // Where only sockets are translated there is no port to tell replies apart by: the last service counts.
    const order = mode === 'socket' ? [service, second] : [service, second, service, second];
    for (const asked of order) {
      const { peerAddress, peerPort } = await ask(client, socket, asked, 53, 10);
      assert.deepEqual([peerAddress, peerPort], [asked, 53]);
    }
    await client.process.call('close', socket);
  });
};

/** Where only sockets are translated there is nothing to tell such answers apart by. */
export const serviceAndBackend: Scene = (stage, party, over) => {
  for (const straightFirst of [true, false]) {
    test(`one UDP socket is answered by a service and by its backend, each for itself, ${straightFirst ? 'the backend' : 'the service'} first ${over}`, async () => {
      const { client, datapath } = stage();
      const { service, server } = party();
      const socket = await client.process.call('openUdp', service, 53, { localPort: nextPort++ });
      const [byService, straight] = [
        [service, 53],
        [server, 5353],
      ] as const;
      const turn = straightFirst ? [straight, byService] : [byService, straight];
      for (const [address, port] of [...turn, ...turn, ...turn]) {
        const { peerAddress, peerPort } = await ask(client, socket, address, port, 10);
        assert.deepEqual([peerAddress, peerPort], [address, port]);
      }
      // Those of UDP: the last segments of an earlier test's connections may have come since.
      const changed = datapath
        .flows()
        .filter(([key]) => key.protocol === PROTOCOLS.UDP && key.direction === 'forward')
        .map(([key, flow]) => flow.client_port !== key.source_port);
      assert.deepEqual(changed.sort(), [false, true], 'one of the two has another port');
      await client.process.call('close', socket);
    });
  }
};

export const selfAccess: Scene = (stage, party, over) => {
  test(`the pod reaches itself, and sees its own address ${over}`, async () => {
    const { client } = stage();
    const connection = await client.process.connect(party().service, 81);
    assert.deepEqual([connection.seenAddress, connection.seenPort], [party().client, connection.localPort]);
    assert.deepEqual([connection.peerAddress, connection.peerPort], [party().service, 81]);
    assert.equal(await client.process.call('echo', connection.id, 200_000), true);
    await client.process.call('close', connection.id);
  });

  test(`the pod reaches itself by UDP, also with fragments ${over}`, async () => {
    const { client } = stage();
    const socket = await client.process.call('openUdp', party().service, 54, {});
    for (const size of [10, 4000]) {
      const answer = await ask(client, socket, party().service, 54, size);
      assert.deepEqual([answer.seenAddress, answer.whole], [party().client, true]);
      assert.deepEqual([answer.peerAddress, answer.peerPort], [party().service, 54]);
    }
    await client.process.call('close', socket);
  });
};

/** Only for packets: with sockets translated, the kernel itself refuses to use a tuple twice. */
export const onePortTwice: Scene = (stage, party, over) => {
  for (const itself of [true, false]) {
    for (const serviceFirst of [true, false]) {
      const what = `${itself ? 'itself' : 'another pod'}, ${serviceFirst ? 'the service' : 'the backend'} first`;
      test(`one client port serves a service of and the way straight to ${what} ${over}`, async () => {
        const { client } = stage();
        const localPort = nextPort++;
        const { service, client: own, server } = party();
        const backend = itself ? own : server;
        const toService = () => client.process.connect(service, itself ? 81 : 80, { localPort });
        const straight = () => client.process.connect(backend, 8080, { localPort });
        const [one, two] = serviceFirst
          ? [await toService(), await straight()]
          : [await straight(), await toService()];
        assert.deepEqual([one.localPort, two.localPort], [localPort, localPort]);
        assert.equal(one.seenPort, localPort);
        assert.notEqual(two.seenPort, localPort);
        assert.deepEqual(new Set([one.peerAddress, two.peerAddress]), new Set([service, backend]));
        for (const { id } of [one, two, one, two])
          assert.equal(await client.process.call('echo', id, 5000), true);
        for (const { id } of [one, two]) await client.process.call('close', id);
      });
    }
  }
};

export const refusals: Scene = (stage, party, over) => {
  const cases = [
    { what: 'a port the service does not have', tcp: 99, udp: 99 },
    { what: 'a service without backends', tcp: 82, udp: 55 },
  ];
  for (const { what, tcp, udp } of cases) {
    test(`a connection to ${what} is refused at once ${over}`, async () => {
      const { client } = stage();
      const result = await client.process.call('connect', party().service, tcp, {});
      assert.ok('error' in result);
      assert.equal(result.error, 'ECONNREFUSED');
      // Before the first SYN is repeated.
      assert.ok(result.tookMs < 950, `it took ${result.tookMs} ms`);
      if (party().family === 4) assert.deepEqual(framesTo(stage(), party().service), []);
    });

    test(`connected UDP to ${what} is refused at once ${over}`, async () => {
      const { client, mode } = stage();
      const open = client.process.call('openUdp', party().service, udp, { connected: true });
      if (mode === 'socket') {
        await assert.rejects(open, /ECONNREFUSED/);
        return;
      }
      // With both, sockets refuse what there is no backend for before packets are asked.
      const refused = await open.then(
        (socket) => client.process.call('ask', socket, party().service, udp, 10, true),
        () => ({ error: 'ECONNREFUSED' }),
      );
      assert.deepEqual(refused, { error: 'ECONNREFUSED' });
    });
  }
};

export const departures: Scene = (stage, party, over) => {
  for (const connected of [false, true]) {
    test(`${connected ? 'connected' : 'unconnected'} UDP follows the service when its backend goes ${over}`, async (t) => {
      const { client, datapath, mode } = stage();
      const { moving, server, client: own } = party();
      const backends = [at(server, 5353), at(own, 5353)];
      const handle = datapath.addService({ frontend: at(moving, 53), protocol: 'UDP', backends });
      const [onServer = 0, onClient = 0] = handle.backends;
      datapath.setSlots(at(moving, 53), 'UDP', [onServer]);
      const socket = await client.process.call('openUdp', moving, 53, { connected, localPort: nextPort++ });
      await ask(client, socket, moving, 53, 10, connected);
      datapath.setSlots(at(moving, 53), 'UDP', [onClient]);
      datapath.setBackendState(onServer, 'none');
      if (connected && mode === 'socket') {
        // The kernel has the backend's address by now, and its packets are nobody's business.
        t.diagnostic('not where only sockets are translated');
        const { peerAddress } = await ask(client, socket, moving, 53, 10, connected);
        assert.equal(peerAddress, moving);
      } else {
        const { peerAddress, peerPort } = await ask(client, socket, moving, 53, 10, connected);
        assert.deepEqual([peerAddress, peerPort], [moving, 53]);
        const flows = datapath.flows().filter(([, flow]) => flow.backend === onServer);
        assert.deepEqual(flows, []);
      }
      await client.process.call('close', socket);
    });
  }
};

export const offload: Scene = (stage, party, over) => {
  for (const tx of ['off', 'on']) {
    test(`transfers are whole with checksum offload ${tx} ${over}`, async () => {
      const { client, server } = stage();
      for (const pod of [client, server]) pod.namespace.attempt('ethtool', '-K', 'eth0', 'tx', tx);
      for (const port of [80, 81]) {
        const connection = await client.process.connect(party().service, port);
        assert.equal(await client.process.call('echo', connection.id, 100_000), true);
        await client.process.call('close', connection.id);
      }
      const socket = await client.process.call('openUdp', party().service, 53, {});
      assert.equal((await ask(client, socket, party().service, 53, 1000)).whole, true);
      await client.process.call('close', socket);
    });
  }
};
