import assert from 'node:assert/strict';
import { test } from 'node:test';
import { formatIP, parseIP } from '../../src/address/ip.ts';
import { FlowCollector, listFlows } from '../../src/datapath/flows.ts';
import { MAPS } from '../../src/datapath/layout.ts';
import { PROTOCOLS } from '../../src/datapath/maps/endpoint.ts';
import type { FlowKey } from '../../src/datapath/maps/flows.ts';
import { readFill, readReasons } from '../../src/datapath/metrics.ts';
import { listNamespace, unlistNamespace } from '../../src/datapath/namespaces.ts';
import { openMap } from '../../src/ebpf/map.ts';
import { silentLog } from '../../src/log.ts';
import { addFlow, bpfDir, directory, flows } from './datapathScene.ts';

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
