import assert from 'node:assert/strict';
import { existsSync, mkdirSync, mkdtempSync, rmdirSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, test } from 'node:test';
import { setTimeout } from 'node:timers/promises';
import { listFlows } from '../../src/datapath/flows.ts';
import { MAPS } from '../../src/datapath/layout.ts';
import { loadDatapath, OBJECTS } from '../../src/datapath/programs.ts';
import { withDescriptor } from '../../src/ebpf/bpf.ts';
import { isDefunct, linkInfo } from '../../src/ebpf/link.ts';
import { mapInfo, openMap } from '../../src/ebpf/map.ts';
import { listPins, openPin } from '../../src/ebpf/pin.ts';
import { programInfo } from '../../src/ebpf/program.ts';
import { silentLog } from '../../src/log.ts';
import { addFlow, bpfDir, cgroup, directory, flows, load, objects, sizes } from './datapathScene.ts';

function programId(name: string): number {
  return withDescriptor(openPin(directory.program(name)), (fd) => programInfo(fd).id);
}

function mapId(name: string): number {
  return withDescriptor(openPin(directory.map(name)), (fd) => mapInfo(fd).id);
}

function link(name: string) {
  return withDescriptor(openPin(directory.cgroupLink(name)), linkInfo);
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
