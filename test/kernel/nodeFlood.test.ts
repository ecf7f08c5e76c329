import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';
import { parseIP } from '../../src/address/ip.ts';
import { pinDirectory } from '../../src/datapath/directory.ts';
import { MAPS } from '../../src/datapath/layout.ts';
import { PROTOCOLS } from '../../src/datapath/maps/endpoint.ts';
import type { Flow, FlowKey } from '../../src/datapath/maps/flows.ts';
import type { BpfMap } from '../../src/ebpf/map.ts';
import { openMap } from '../../src/ebpf/map.ts';
import { TestNamespaces } from './namespaces.ts';
import { NodeWorld, type Pod } from './nodeWorld.ts';
import type { PodProcess } from './podProcess.ts';

const namespaces = new TestNamespaces('tbtflood');
const VIP = '10.96.2.1';
/** Entries left for the flood, which would need four times as many. */
const ROOM = 500;
const FLOOD = 1000;

describe('a flow table that is full', () => {
  let world: NodeWorld;
  let client: PodProcess;
  let clientPod: Pod;
  let live: number;
  let flows: BpfMap<FlowKey, Flow>;
  let others: FlowKey[];

  before(async () => {
    world = new NodeWorld(namespaces, 'flo', 'packet');
    await world.rig.start();
    const server = await world.server('server');
    clientPod = await world.pod('client');
    client = await world.client(clientPod);
    await world.service({ address: VIP, family: 4 }, [{ pod: server }]);
    live = (await client.connect(VIP, 80)).id;
    const path = pinDirectory(world.rig.bpfDir).map('tb_flows');
    flows = openMap(path, MAPS.tb_flows.key, MAPS.tb_flows.value);
    const there = openConnections((flows.info.maxEntries - ROOM) / 2);
    flows.setAll(there);
    others = there.map(([key]) => key);
  });

  after(async () => {
    flows.close();
    client.end();
    await world.remove();
    namespaces.close();
  });

  test('takes no new flows, which is counted as an error', async () => {
    assert.equal(await refusals(world), 0);
    const flood = `
import socket
sockets = []
for number in range(${FLOOD}):
    s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM); s.sendto(b'x', ('${VIP}', 80)); sockets.append(s)
print(len(sockets))
`;
    assert.equal(clientPod.namespace.run('python3', '-c', flood), `${FLOOD}\n`);
    const refused = await refusals(world);
    assert.ok(refused >= FLOOD - ROOM, `${refused} refused`);
    assert.equal('error' in (await client.call('connect', VIP, 80, {})), true);
  });

  test('keeps every connection there was', async () => {
    assert.equal(await client.call('echo', live, 10_000), true);
    const found = [...flows.keys()].filter(({ source }) => source === CLIENT || source === BACKEND);
    assert.equal(found.length, others.length);
  });

  test('says how full it is', async () => {
    const { body } = await world.rig.get('/metrics');
    const max = flows.info.maxEntries;
    const entries = Number(/^tombolo_map_entries\{map="tb_flows"\} (\d+)$/m.exec(body)?.[1]);
    assert.ok(entries > max * 0.99 && entries <= max, `${entries} of ${max}`);
    assert.match(body, new RegExp(`^tombolo_map_max_entries\\{map="tb_flows"\\} ${max}$`, 'm'));
  });

  test('serves new connections again as soon as there is room', async () => {
    flows.deleteAll(others);
    const { id } = await client.connect(VIP, 80);
    assert.equal(await client.call('echo', id, 100), true);
    assert.equal(await client.call('echo', live, 10_000), true);
  });
});

const [CLIENT, SERVICE, BACKEND] = [parseIP('10.200.0.1'), parseIP('10.200.0.2'), parseIP('10.200.0.3')];

/** Connections that concern nobody here, both halves of each; nothing would collect them for hours. */
function openConnections(count: number): [FlowKey, Flow][] {
  const now = Number(process.hrtime.bigint() / 1_000_000_000n);
  const common = { service: 1, backend: 1, seen: now, since: now, state: 'open', flags: 0 } as const;
  const next_hop = Buffer.alloc(6);
  return Array.from({ length: count }, (_, index): [FlowKey, Flow][] => {
    const port = 1024 + (index % 60_000);
    const at = 1 + Math.floor(index / 60_000);
    const protocol = PROTOCOLS.TCP;
    const forward = {
      source: CLIENT,
      destination: SERVICE,
      source_port: port,
      destination_port: at,
      protocol,
    };
    const reply = { source: BACKEND, destination: CLIENT, source_port: at, destination_port: port, protocol };
    return [
      [
        { ...forward, direction: 'forward' },
        { ...common, address: BACKEND, port: at, client_port: port, next_hop },
      ],
      [
        { ...reply, direction: 'reply' },
        { ...common, address: SERVICE, port: at, client_port: port, next_hop },
      ],
    ];
  }).flat();
}

async function refusals({ rig }: NodeWorld): Promise<number> {
  const { body } = await rig.get('/metrics');
  const found = /^tombolo_datapath_events_total\{reason="flow_table_full",kind="drop"\} (\d+)$/m.exec(body);
  assert.ok(found, 'there is no such metric');
  return Number(found[1]);
}
