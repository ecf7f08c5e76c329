import assert from 'node:assert/strict';
import { existsSync, mkdirSync, mkdtempSync, rmdirSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { setTimeout } from 'node:timers/promises';
import { formatIP, parseIP } from '../../src/address/ip.ts';
import type { ServiceInput } from '../../src/agent/serviceFeed.ts';
import { ServiceTable } from '../../src/agent/serviceTable.ts';
import type { BackendSetView } from '../../src/datapath/backendSet.ts';
import { pinDirectory } from '../../src/datapath/directory.ts';
import { FlowCollector, listFlows } from '../../src/datapath/flows.ts';
import { type Endpoint, type FlowKey, MAPS, PROTOCOLS } from '../../src/datapath/layout.ts';
import { readFill, readReasons } from '../../src/datapath/metrics.ts';
import { listNamespace, unlistNamespace } from '../../src/datapath/namespaces.ts';
import { loadDatapath, OBJECTS } from '../../src/datapath/programs.ts';
import { openServiceMaps, type ServiceMaps } from '../../src/datapath/serviceMaps.ts';
import { ServicePlanner } from '../../src/datapath/services.ts';
import type { ServiceView } from '../../src/datapath/serviceView.ts';
import { withDescriptor } from '../../src/ebpf/bpf.ts';
import { cgroupRoot } from '../../src/ebpf/cgroup.ts';
import { isDefunct, linkInfo } from '../../src/ebpf/link.ts';
import { BpfMap, mapInfo, openMap, openMapById } from '../../src/ebpf/map.ts';
import { listPins, openPin, unpin } from '../../src/ebpf/pin.ts';
import { programInfo } from '../../src/ebpf/program.ts';
import { type Log, silentLog } from '../../src/log.ts';

const bpfDir = `/sys/fs/bpf/tbt-datapath-${process.pid}`;
const objects = join(import.meta.dirname, '../../dist/bpf');
const directory = pinDirectory(bpfDir);
const cgroup = join(cgroupRoot() ?? '', `tbt-datapath-${process.pid}`);
const sizes = { tb_flows: 4096, tb_slots: 4096, tb_held: 64, tb_services: 1024 };

function load(
  maxEntries: Record<string, number> = sizes,
  log: Log = silentLog,
  to: string | undefined = cgroup,
) {
  return loadDatapath({ bpfDir, objects, maxEntries, cgroup: to, log });
}

before(() => {
  mkdirSync(cgroup);
  load()[Symbol.dispose]();
});

after(() => {
  for (const path of [directory.maps, directory.programs, directory.cgroup, directory.links]) {
    for (const name of listPins(path)) unpin(join(path, name));
    if (existsSync(path)) rmdirSync(path);
  }
  if (existsSync(bpfDir)) rmdirSync(bpfDir);
  rmdirSync(cgroup);
});

function programId(name: string): number {
  return withDescriptor(openPin(directory.program(name)), (fd) => programInfo(fd).id);
}

function mapId(name: string): number {
  return withDescriptor(openPin(directory.map(name)), (fd) => mapInfo(fd).id);
}

function link(name: string) {
  return withDescriptor(openPin(directory.cgroupLink(name)), linkInfo);
}

function flows() {
  return openMap(directory.map('tb_flows'), MAPS.tb_flows.key, MAPS.tb_flows.value);
}

function tcpServices() {
  return openMap(directory.map('tb_tcp_service'), MAPS.tb_tcp_service.key, MAPS.tb_tcp_service.value);
}

function occupyPlace(): void {
  const map = tcpServices();
  map.set(7, { cookie: 7n, known: Buffer.alloc(36, 1) });
  map.close();
}

function takenPlaces(): number[] {
  const map = tcpServices();
  const places = [...map.entries()].filter(([, { cookie }]) => cookie !== 0n).map(([place]) => place);
  map.close();
  return places;
}

/** A flow that will not time out during a test: both halves. */
function addFlow(
  map: ReturnType<typeof flows>,
  client: string,
  port: number,
  protocol: number = PROTOCOLS.TCP,
): void {
  const now = Number(process.hrtime.bigint() / 1_000_000_000n);
  const [source, service, backend] = [client, '10.96.0.1', '10.1.0.1'].map(parseIP) as [never, never, never];
  const common = {
    service: 1,
    backend: 1,
    seen: now,
    since: now,
    state: 'open' as const,
    flags: 0,
    next_hop: Buffer.alloc(6),
  };
  const forward = { source, destination: service, source_port: port, destination_port: 80, protocol };
  const reply = { source: backend, destination: source, source_port: 8080, destination_port: port, protocol };
  map.set(
    { ...forward, direction: 'forward' },
    { ...common, address: backend, port: 8080, client_port: port },
  );
  map.set({ ...reply, direction: 'reply' }, { ...common, address: service, port: 80, client_port: port });
}

describe('the datapath', () => {
  test('is loaded: every map and program is pinned under its name, every socket program attached', () => {
    assert.deepEqual(listPins(directory.programs), Object.values(OBJECTS).flat().sort());
    for (const name of Object.keys(MAPS)) assert.ok(existsSync(directory.map(name)), name);
    assert.equal(listPins(directory.cgroup).length, OBJECTS.socket.length);
    assert.equal(link('tb_connect4').programId, programId('tb_connect4'));
  });

  test('is loaded again with the same maps, and new programs in the same links', () => {
    const before = {
      flows: mapId('tb_flows'),
      program: programId('tb_connect4'),
      link: link('tb_connect4').id,
    };
    load()[Symbol.dispose]();
    assert.equal(mapId('tb_flows'), before.flows);
    assert.equal(link('tb_connect4').id, before.link);
    assert.notEqual(programId('tb_connect4'), before.program);
    assert.equal(link('tb_connect4').programId, programId('tb_connect4'));
  });

  test('carries flows over into a map of another size, also those that come meanwhile', () => {
    const old = flows();
    addFlow(old, '10.1.0.9', 1001);
    const upgrade = load({ ...sizes, tb_flows: 8192 });
    addFlow(old, '10.1.0.9', 1002);
    upgrade.settle();
    upgrade[Symbol.dispose]();
    old.close();
    const map = flows();
    assert.equal(map.info.maxEntries, 8192);
    assert.deepEqual([...listFlows(bpfDir)].map(({ key }) => key.source_port).sort(), [1001, 1002]);
    assert.ok([...map.entries()].every(([, flow]) => flow.state === 'open' && flow.backend === 1));
    map.deleteAll([...map.entries()].map(([key]) => key));
    map.close();
    load()[Symbol.dispose]();
  });

  test('says what found no room in a smaller map', () => {
    load({ ...sizes, tb_flows: 8192 })[Symbol.dispose]();
    const old = flows();
    for (let port = 1; port <= 20; port++) addFlow(old, '10.1.0.9', port);
    old.close();
    const said: unknown[] = [];
    const log = { ...silentLog, warning: (_: string, fields: unknown) => said.push(fields) };
    load({ ...sizes, tb_flows: 30 }, log)[Symbol.dispose]();
    assert.deepEqual(said, [{ map: 'tb_flows', copied: 30, lost: 10 }]);
    load()[Symbol.dispose]();
    const map = flows();
    map.deleteAll([...map.entries()].map(([key]) => key));
    map.close();
  });

  test('that does not load leaves everything as it was', () => {
    const before = [programId('tb_lo'), mapId('tb_flows'), link('tb_connect4').programId];
    const empty = mkdtempSync(join(tmpdir(), 'tbt-datapath-'));
    assert.throws(
      () => loadDatapath({ bpfDir, objects: empty, cgroup, log: silentLog }),
      /Cannot load .*ENOENT/,
    );
    rmSync(empty, { recursive: true });
    assert.deepEqual([programId('tb_lo'), mapId('tb_flows'), link('tb_connect4').programId], before);
  });

  test('moves to another cgroup, and out of any', async () => {
    const other = `${cgroup}-other`;
    mkdirSync(other);
    const before = link('tb_connect4').cgroup;
    occupyPlace();
    load()[Symbol.dispose]();
    assert.deepEqual(takenPlaces(), [7]);
    load(sizes, silentLog, other)[Symbol.dispose]();
    assert.notEqual(link('tb_connect4').cgroup, before);
    // From here on nobody would free the places of sockets in the cgroup that was left.
    assert.deepEqual(takenPlaces(), []);
    rmdirSync(other);
    // The kernel lets go of a removed cgroup's links a little later.
    for (let tries = 0; tries < 100 && !isDefunct(link('tb_connect4')); tries++) await setTimeout(20);
    assert.equal(isDefunct(link('tb_connect4')), true);
    load()[Symbol.dispose]();
    assert.equal(link('tb_connect4').cgroup, before);
    loadDatapath({ bpfDir, objects, maxEntries: sizes, cgroup: undefined, log: silentLog })[Symbol.dispose]();
    assert.deepEqual(listPins(directory.cgroup), []);
    load()[Symbol.dispose]();
  });
});

describe('services', () => {
  const service = (name: string, address: string, pods: string[], more: Partial<BackendSetView> = {}) => ({
    key: `default/${name}`,
    view: view(name, address, pods, more),
  });

  test('are programmed, adopted by the next run, and removed', () => {
    using maps = openServiceMaps(directory.maps);
    const options = { backendLimit: maps.backendLimit, ringLimit: maps.ringLimit, now: () => 0 };
    const first = new ServicePlanner(options);
    maps.apply(first.plan([service('a', '10.96.0.1', ['10.1.0.1', '10.1.0.2'])]));
    maps.apply(
      first.plan([service('b', 'fd00::1', ['fd01::1'], { balance: 'maglev', affinitySeconds: 30 })]),
    );
    const programmed = read(maps);
    assert.deepEqual(
      [
        programmed.services.length,
        programmed.slots.length,
        programmed.backends.length,
        programmed.endpoints.length,
      ],
      [4, 3, 3, 6],
    );
    const second = new ServicePlanner(options);
    maps.apply(second.adopt(maps.programmed));
    assert.deepEqual(read(maps), programmed);
    maps.apply(second.plan([service('a', '10.96.0.1', ['10.1.0.2', '10.1.0.3'])]));
    maps.apply(second.reconcile() ?? assert.fail('nothing is left over'));
    const rest = read(maps);
    assert.deepEqual(
      [rest.services.length, rest.slots.length, rest.endpoints.length, rest.rings.length],
      [2, 2, 4, 0],
    );
    maps.apply(second.plan([{ key: 'default/a', view: undefined }]));
    assert.deepEqual(read(maps).services, []);
    assert.deepEqual(read(maps).endpoints, []);
    assert.ok(read(maps).backends.every(([, { state }]) => state === 'none'));
  });

  test('that find no room are refused as a whole, and the others stay', () => {
    using maps = openServiceMaps(directory.maps);
    const planner = new ServicePlanner({
      backendLimit: maps.backendLimit,
      ringLimit: maps.ringLimit,
      now: () => 0,
    });
    maps.apply(planner.plan([service('kept', '10.96.0.1', ['10.1.0.1'])]));
    const before = read(maps);
    const many = Array.from({ length: 600 }, (_, index) =>
      service(`s${index}`, `10.97.${index >> 8}.${index & 255}`, ['10.1.0.1']),
    );
    assert.throws(
      () => maps.apply(planner.plan(many)),
      /Cannot program services: cannot write to map tb_services: E2BIG \(it is full: 1024 entries\)/,
    );
    planner.rollback();
    const after = read(maps);
    assert.deepEqual(
      { ...after, backends: after.backends.filter(([, { state }]) => state !== 'none') },
      { ...before, backends: before.backends.filter(([, { state }]) => state !== 'none') },
    );
    maps.apply(planner.plan([{ key: 'default/kept', view: undefined }]));
    assert.deepEqual(read(maps).services, []);
  });

  test('with a Maglev ring have one whose every entry is a backend', () => {
    using maps = openServiceMaps(directory.maps);
    const planner = new ServicePlanner({
      backendLimit: maps.backendLimit,
      ringLimit: maps.ringLimit,
      now: () => 0,
    });
    maps.apply(planner.plan([service('a', '10.96.0.1', ['10.1.0.1', '10.1.0.2'], { balance: 'maglev' })]));
    const [number] = read(maps).rings;
    assert.ok(number !== undefined);
    const outer = openMap(directory.map('tb_maglev'), MAPS.tb_maglev.key, MAPS.tb_maglev.value);
    const ring = new BpfMap(openMapById(outer.get(number) ?? 0), MAPS.tb_maglev.key, MAPS.tb_maglev.value);
    const numbers = new Set([...ring.entries()].map(([, backend]) => backend));
    const active = read(maps).backends.filter(([, { state }]) => state === 'active');
    assert.deepEqual([...numbers].sort(), active.map(([number]) => number).sort());
    ring.close();
    outer.close();
    maps.apply(planner.plan([{ key: 'default/a', view: undefined }]));
    assert.deepEqual(read(maps).rings, []);
  });
});

describe('the service table', () => {
  function service(name: string, clusterIP: string, ...pods: string[]): ServiceInput {
    const meta = { namespace: 'default', uid: '', resourceVersion: '1', creationTimestamp: '' };
    return {
      key: `default/${name}`,
      service: {
        metadata: { ...meta, name },
        spec: { clusterIPs: [clusterIP], ports: [{ name: 'http', port: 80 }] },
      } as unknown as NonNullable<ServiceInput['service']>,
      slices: [
        {
          metadata: { ...meta, name: `${name}-1` },
          addressType: 'IPv4',
          ports: [{ name: 'http', port: 8080 }],
          endpoints: pods.map((pod) => ({ addresses: [pod] })),
        } as unknown as ServiceInput['slices'][number],
      ],
    };
  }

  const gone = (key: string): ServiceInput => ({ key, service: undefined, slices: [] });

  function newTable(
    maps: ServiceMaps,
    retired: (places: readonly Endpoint[]) => void = () => {},
  ): ServiceTable {
    return new ServiceTable({
      maps,
      node: { name: 'node', addresses: [], announcedClusterIPs: [] },
      now: () => 0,
      retired,
    });
  }

  function active({ programmed }: ServiceMaps): string[] {
    return [...programmed.backends]
      .filter(([, { state }]) => state === 'active')
      .map(([, { address }]) => formatIP(address))
      .sort();
  }

  test('adopts what an earlier one has left, and drops the rest once everything is known', async () => {
    using maps = openServiceMaps(directory.maps);
    const retired: string[] = [];
    const note = (places: readonly Endpoint[]) =>
      retired.push(...places.map(({ address }) => formatIP(address)));
    await newTable(maps).update([
      service('a', '10.96.0.1', '10.1.0.1'),
      service('b', '10.96.0.2', '10.1.0.2'),
    ]);
    const second = newTable(maps, note);
    await second.update([service('a', '10.96.0.1', '10.1.0.4')]);
    assert.deepEqual(active(maps), ['10.1.0.2', '10.1.0.4']);
    await second.reconcile();
    assert.deepEqual(active(maps), ['10.1.0.4']);
    await second.update([gone('default/a')]);
    assert.deepEqual(active(maps), []);
    assert.deepEqual(retired, ['10.1.0.1', '10.1.0.2', '10.1.0.4']);
  });

  test('programs what has room, names what has none, and takes that when there is', async () => {
    using maps = openServiceMaps(directory.maps);
    const table = newTable(maps);
    const services = Array.from({ length: 520 }, (_, index) =>
      service(`s${index}`, `10.97.${index >> 8}.${index & 255}`, '10.1.0.1'),
    );
    const failed = await table.update(services);
    assert.equal([...maps.programmed.services].length, 1024);
    assert.deepEqual(failed, services.slice(512));
    assert.match(
      table.problems()[0] ?? '',
      /^default\/s512: .*tb_services: E2BIG \(it is full: 1024 entries\)/,
    );
    await table.update(services.slice(0, 8).map(({ key }) => gone(key)));
    assert.deepEqual(await table.update(failed), []);
    await table.update(services.map(({ key }) => gone(key)));
    assert.deepEqual([...maps.programmed.services], []);
  });
});

test('finished flows are collected, the others are counted and listed', () => {
  const map = flows();
  addFlow(map, '10.1.0.9', 2001);
  addFlow(map, '10.1.0.9', 2002, PROTOCOLS.UDP);
  for (const [key, flow] of map.entries()) {
    if (key.protocol === PROTOCOLS.UDP)
      map.set(key, { ...flow, seen: flow.seen - 200, since: flow.since - 200 });
  }
  {
    using collector = new FlowCollector(bpfDir, silentLog);
    const counts = collector.run();
    assert.deepEqual([counts.open, counts.expired, counts.lonely], [1, 1, 0]);
    assert.equal(collector.fill, 2 / 4096);
  }
  assert.deepEqual(
    [...listFlows(bpfDir)].map(({ key }) => key.source_port),
    [2001],
  );
  map.deleteAll([...map.entries()].map(([key]) => key));
  map.close();
});

test('a client with half of the table is named and given no more, until it has less', () => {
  const map = flows();
  for (let port = 1; port <= 1024; port++) addFlow(map, '10.1.0.9', port);
  using collector = new FlowCollector(bpfDir, silentLog);
  const clients = openMap(directory.map('tb_clients'), MAPS.tb_clients.key, MAPS.tb_clients.value);
  const marks = () => [...clients.entries()].map(([client, { full }]) => [formatIP(client), full]);
  collector.run();
  assert.deepEqual([...collector.byClient.values()], [1024]);
  assert.deepEqual(collector.full.map(formatIP), ['10.1.0.9']);
  assert.deepEqual(marks(), [['10.1.0.9', 1]]);
  const ofOne = ({ source_port, destination_port }: FlowKey) => source_port === 1 || destination_port === 1;
  map.deleteAll([...map.keys()].filter(ofOne));
  collector.run();
  assert.deepEqual([collector.full, marks()], [[], [['10.1.0.9', 0]]]);
  map.deleteAll([...map.keys()]);
  collector.run();
  assert.deepEqual(marks(), []);
  clients.close();
  map.close();
});

test('namespaces are listed with what serves them, until they are not any more', () => {
  const [v4, v6] = [parseIP('10.1.0.1'), parseIP('fd01::1')];
  listNamespace(bpfDir, 11n, { socket: true, packet: true }, [v4, v6]);
  listNamespace(bpfDir, 12n, { socket: true, packet: false }, []);
  const map = openMap(directory.map('tb_netns'), MAPS.tb_netns.key, MAPS.tb_netns.value);
  assert.deepEqual(map.get(11n), { flags: 3, ipv4: v4, ipv6: v6 });
  listNamespace(bpfDir, 11n, { socket: true, packet: false }, [parseIP('10.1.0.2')]);
  assert.deepEqual(map.get(11n), { flags: 1, ipv4: v4, ipv6: v6 });
  unlistNamespace(bpfDir, 11n);
  assert.deepEqual([...map.keys()], [12n]);
  for (const cookie of [11n, 12n]) unlistNamespace(bpfDir, cookie);
  assert.deepEqual([...map.entries()], []);
  map.close();
});

test('what the programs count and how full the maps are can be read', () => {
  assert.ok(readReasons(bpfDir).every(({ count }) => count === 0n));
  listNamespace(bpfDir, 13n, { socket: true, packet: true }, []);
  const fill = new Map(
    readFill(bpfDir).map(({ map, entries, maxEntries }) => [map, `${entries}/${maxEntries}`]),
  );
  assert.equal(fill.get('tb_netns'), '1/4096');
  assert.equal(fill.get('tb_flows'), '0/4096');
  assert.equal(fill.has('tb_backends'), false);
  unlistNamespace(bpfDir, 13n);
});

/** A service on port 80 with these pods behind it, on their port 8080. */
function view(
  name: string,
  address: string,
  pods: string[],
  more: Partial<BackendSetView> = {},
): ServiceView {
  const key = `default/${name}`;
  const set: BackendSetView = {
    key: `${key}:80/TCP/4`,
    protocol: 'TCP',
    port: 80,
    frontends: [{ address: parseIP(address), shared: false }],
    backends: pods.map((pod) => ({ address: parseIP(pod), port: 8080, state: 'active' as const })),
    affinitySeconds: 0,
    balance: 'random',
    ...more,
  };
  return { key, sets: [set], problems: [] };
}

/** What is programmed, at this moment. */
function read({ programmed }: ServiceMaps) {
  return {
    services: [...programmed.services],
    slots: [...programmed.slots],
    backends: [...programmed.backends],
    endpoints: [...programmed.endpoints],
    rings: [...programmed.rings],
  };
}
