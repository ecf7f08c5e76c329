import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { formatIP, parseIP } from '../../src/address/ip.ts';
import type { ServiceInput } from '../../src/agent/serviceFeed.ts';
import { ServiceTable } from '../../src/agent/serviceTable.ts';
import type { BackendSetView } from '../../src/datapath/backendSet.ts';
import { MAPS } from '../../src/datapath/layout.ts';
import type { Endpoint } from '../../src/datapath/maps/endpoint.ts';
import { openServiceMaps, type ServiceMaps } from '../../src/datapath/serviceMaps.ts';
import { ServicePlanner } from '../../src/datapath/services.ts';
import type { ServiceView } from '../../src/datapath/serviceView.ts';
import { BpfMap, openMap, openMapById } from '../../src/ebpf/map.ts';
import { directory } from './datapathScene.ts';

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
