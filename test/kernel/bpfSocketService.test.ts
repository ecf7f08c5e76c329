import assert from 'node:assert/strict';
import { after, afterEach, before, beforeEach, describe, test } from 'node:test';
import { eventually } from '../../src/eventually.rig.ts';
import { PodNetwork } from './bpfNetwork.ts';
import { Datapath } from './bpfRig.ts';
import { at } from './bpfTestPod.ts';
import { PythonProcess } from './pythonProcess.ts';

const FAMILIES = [
  { family: 4, type: 'AF_INET', service: '10.96.0.1', second: '10.96.0.2', deaf: '10.96.0.3' },
  { family: 6, type: 'AF_INET6', service: 'fd00:96::1', second: 'fd00:96::2', deaf: 'fd00:96::3' },
] as const;
/** Of no socket: cookies are counted up from 1. */
const STRANGER = 1n << 60n;

let network: PodNetwork;
let datapath: Datapath;
let python: PythonProcess;
const servers = new Map<4 | 6, string>();

before(async () => {
  network = new PodNetwork('bpfsocketservice');
  datapath = new Datapath();
  const [client, server] = [network.vethPod('client', 2), network.vethPod('server', 3)];
  await server.process.call('listenTcp', 8080);
  await server.process.call('listenUdp', 8080);
  // Connections of the server are the business of the programs, too.
  await network.attachSockets(datapath, server);
  network.serve(datapath, client, 'socket');
  python = new PythonProcess(client.namespace);
  await network.attachSockets(datapath, { process: python });
  for (const { family, service, second, deaf } of FAMILIES) {
    const address = family === 4 ? server.ipv4 : server.ipv6;
    servers.set(family, address);
    for (const [vip, port] of [
      [service, 8080],
      [second, 8080],
      [deaf, 9],
    ] as const) {
      datapath.addService({ frontend: at(vip, 80), backends: [at(address, port)] });
    }
    datapath.addService({ frontend: at(service, 80), protocol: 'UDP', backends: [at(address, 8080)] });
  }
});

after(async () => {
  python?.end();
  datapath?.close();
  await network?.close();
});

beforeEach(() => datapath.forget());
afterEach(async () => {
  await python.run('s = d = sockets = None');
  assert.deepEqual(takenPlaces(), []);
});

/** Cookies of the sockets that have a place. */
function takenPlaces(): bigint[] {
  return [...datapath.maps.tb_tcp_service.entries()]
    .map(([, { cookie }]) => cookie)
    .filter((cookie) => cookie !== 0n && cookie !== STRANGER);
}

/** Gives places to nobody, so that they are not free: those that `which` says. */
function occupy(which: (place: number) => boolean): void {
  const map = datapath.maps.tb_tcp_service;
  const places = Array.from({ length: map.info.maxEntries }, (_, place) => place);
  const known = Buffer.alloc(36);
  map.setAll(places.filter(which).map((place) => [place, { cookie: STRANGER, known }] as const));
}

function freeAll(): void {
  const map = datapath.maps.tb_tcp_service;
  const known = Buffer.alloc(36);
  map.setAll([...map.keys()].map((place) => [place, { cookie: 0n, known }] as const));
}

for (const { family, type, service, second, deaf } of FAMILIES) {
  const open = `s = socket.socket(socket.${type})`;
  const connect = (address: string, port = 80) => python.run(`s.connect(('${address}', ${port}))`);
  const peer = () => python.run('s.getpeername()[:2]');
  const named = (address: string, port = 80) => `('${address}', ${port})`;
  const server = () => servers.get(family) ?? '';

  describe(`a TCP socket over IPv${family}`, () => {
    test('has a place of its own from connect to close', async () => {
      await python.run(open);
      assert.deepEqual(takenPlaces(), []);
      await connect(service);
      assert.equal(takenPlaces().length, 1);
      assert.equal(await peer(), named(service));
      await python.run('s.shutdown(socket.SHUT_RDWR)');
      assert.equal(takenPlaces().length, 1);
      await python.run('s.close()');
      assert.deepEqual(takenPlaces(), []);
    });

    test('keeps it for as long as any process has the socket', async () => {
      await python.run(open);
      await connect(service);
      await python.run('d = s.dup(); s.close()');
      assert.equal(await python.run('d.getpeername()[:2]'), named(service));
      const child = await python.run('os.fork() or signal.pause()');
      await python.run('d.close()');
      assert.equal(takenPlaces().length, 1);
      await python.run(`os.kill(${child}, 9); os.waitpid(${child}, 0)`);
      await eventually(async () => assert.deepEqual(takenPlaces(), []));
    });

    test('is told the service it was connected to last', async () => {
      await python.run(open);
      assert.equal(await connect(deaf), 'Connection refused');
      await connect(second);
      assert.equal(await peer(), named(second));
      assert.equal(takenPlaces().length, 1);
    });

    test('that is connected anew straight to its backend is told the backend', async () => {
      await python.run(open);
      await connect(service);
      assert.equal(await python.run('ctypes.CDLL(None).connect(s.fileno(), bytes(16), 16)'), '0');
      assert.equal(await peer(), 'Transport endpoint is not connected');
      await connect(server(), 8080);
      assert.equal(await peer(), named(server(), 8080));
      assert.deepEqual(takenPlaces(), []);
    });

    test('that finds its place taken has its service in its storage', async () => {
      try {
        occupy(() => true);
        await python.run(open);
        await connect(service);
        assert.equal(await peer(), named(service));
        assert.equal(datapath.metrics().socket_stored, 1);
        // Free again, it is what the socket was told last that counts.
        freeAll();
        assert.equal(await peer(), named(service));
        await python.run('ctypes.CDLL(None).connect(s.fileno(), bytes(16), 16)');
        await connect(second);
        assert.equal(takenPlaces().length, 1);
        assert.equal(await peer(), named(second));
        await python.run('ctypes.CDLL(None).connect(s.fileno(), bytes(16), 16)');
        await connect(server(), 8080);
        assert.equal(await peer(), named(server(), 8080));
      } finally {
        freeAll();
      }
    });

    test('is told its service among a thousand others, wherever each one has it', async () => {
      try {
        occupy((place) => place % 3 === 0);
        await python.run(`sockets = [socket.socket(socket.${type}) for _ in range(900)]`);
        await python.run(`[s.connect(('${service}', 80)) for s in sockets[0::2]]`);
        await python.run(`[s.connect(('${second}', 80)) for s in sockets[1::2]]`);
        assert.equal(await python.run('{s.getpeername()[:2] for s in sockets[0::2]}'), `{${named(service)}}`);
        assert.equal(await python.run('{s.getpeername()[:2] for s in sockets[1::2]}'), `{${named(second)}}`);
        const { socket_stored = 0 } = datapath.metrics();
        assert.equal(takenPlaces().length + socket_stored, 900);
        assert.equal(socket_stored >= 290, true, `${socket_stored} in storage`);
        await python.run('[s.close() for s in sockets]');
        const strangers = [...datapath.maps.tb_tcp_service.entries()].filter(
          ([, { cookie }]) => cookie === STRANGER,
        );
        assert.equal(strangers.length, Math.ceil(datapath.maps.tb_tcp_service.info.maxEntries / 3));
      } finally {
        freeAll();
      }
    });

    test('of MPTCP takes no place that nobody would free', async () => {
      await python.run(`s = socket.socket(socket.${type}, socket.SOCK_STREAM, 262)`);
      await connect(service);
      assert.equal(await python.run('s.send(b"hello")'), '5');
      await python.run('s.close()');
      assert.deepEqual(takenPlaces(), []);
    });
  });

  test(`a UDP socket over IPv${family} takes no place`, async () => {
    await python.run(`s = socket.socket(socket.${type}, socket.SOCK_DGRAM)`);
    await connect(service);
    assert.equal(await peer(), named(service));
    assert.deepEqual(takenPlaces(), []);
  });
}

test('a socket of IPv6 that speaks IPv4 is told its service', async () => {
  await python.run('s = socket.socket(socket.AF_INET6)');
  await python.run("s.connect(('::ffff:10.96.0.1', 80))");
  assert.equal(takenPlaces().length, 1);
  assert.equal(await python.run('s.getpeername()[:2]'), "('::ffff:10.96.0.1', 80)");
});
