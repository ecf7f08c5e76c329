import assert from 'node:assert/strict';
import { after, before, beforeEach, describe, test } from 'node:test';
import { setTimeout } from 'node:timers/promises';
import {
  connections,
  datagrams,
  departures,
  KINDS,
  type Kind,
  MODES,
  type Mode,
  offload,
  onePortTwice,
  partyOf,
  raise,
  refusals,
  type Stage,
  selfAccess,
  serviceAndBackend,
} from './bpfPodScenarios.ts';
import { allowLookUps } from './bpfTestPod.ts';

for (const kind of KINDS) {
  // Without a gateway it is packets that have nowhere to go; a translated socket needs none.
  for (const mode of kind === 'NIC without a gateway' ? (['packet'] as const) : MODES) {
    describe(`pods on a ${kind}, services by ${mode}`, () => scenarios(kind, mode));
  }
}

function scenarios(kind: Kind, mode: Mode): void {
  let raised: Stage | undefined;
  const stage = () => {
    assert.ok(raised);
    return raised;
  };

  before(async () => {
    raised = await raise(kind, mode);
  });
  after(() => raised?.close());
  beforeEach(() => {
    stage().datapath.forget();
    stage().wire.frames();
  });

  // The first test: those after it take flows out of the table while the kernel still has something to say about them.
  test('a connection loses no packet for a reason of ours', () => losesNothing(stage()));

  for (const family of [4, 6] as const) {
    const party = () => partyOf(family, stage().client, stage().server);
    const scenes = [connections, datagrams, selfAccess, refusals, departures];
    if (mode === 'packet') scenes.push(onePortTwice);
    if (mode !== 'socket') scenes.push(offload, serviceAndBackend);
    for (const scene of scenes) scene(stage, party, `over IPv${family}`);
    if (kind === 'veth pair' || mode === 'socket') continue;
    for (const lookUps of [true, false]) {
      test(`a backend on the segment is reached without the gateway, look-ups ${lookUps ? 'allowed' : 'denied'}, over IPv${family}`, () =>
        reachesNeighbour(stage(), family, lookUps));
    }
  }

  test('an IPv6 socket that speaks IPv4 sees the service as it asked for it', async () => {
    const { client } = stage();
    const connection = await client.process.connect('::ffff:10.96.0.1', 80);
    assert.deepEqual([connection.peerAddress, connection.seenAddress], ['10.96.0.1', client.ipv4]);
    await client.process.call('close', connection.id);
  });
}

async function losesNothing({ client, datapath }: Stage): Promise<void> {
  const connection = await client.process.connect('10.96.0.1', 80);
  assert.ok(connection.tookMs < 950, 'the first packet was lost');
  await client.process.call('echo', connection.id, 10_000);
  await client.process.call('close', connection.id);
  await setTimeout(100);
  const expected = ['flow_created', 'socket_connected'];
  const others = Object.keys(datapath.metrics()).filter((reason) => !expected.includes(reason));
  assert.deepEqual(others, []);
}

const TCP_AT = { 4: { type: 0x0800, offset: 23 }, 6: { type: 0x86dd, offset: 20 } } as const;

async function reachesNeighbour(stage: Stage, family: 4 | 6, lookUps: boolean): Promise<void> {
  const { client, server, datapath, wire, mode } = stage;
  const { service, server: backend } = partyOf(family, client, server);
  allowLookUps(client.namespace, lookUps);
  client.namespace.attempt('ip', 'neighbour', 'delete', backend, 'dev', 'eth0');
  wire.frames();
  const connection = await client.process.connect(service, 80);
  assert.ok(connection.tookMs < 950, 'the first packet was lost');
  assert.equal(await client.process.call('echo', connection.id, 50_000), true);
  const { type, offset } = TCP_AT[family];
  const detour = wire.frames().filter((frame) => frame.readUInt16BE(12) === type && frame[offset] === 6);
  assert.deepEqual(detour, []);
  // A packet that comes again from the neighbour subsystem is no flow of its own, which would take another port.
  assert.equal(connection.seenPort, connection.localPort);
  assert.equal(datapath.metrics().flow_direct, undefined);
  if (mode === 'packet') {
    const forward = datapath
      .flows()
      .find(([key]) => key.direction === 'forward' && key.source_port === connection.localPort);
    const mac = server.namespace.ip('link show eth0')[0].address.replaceAll(':', '');
    assert.equal(forward?.[1].next_hop.toString('hex'), lookUps ? mac : '000000000000');
  }
  await client.process.call('close', connection.id);
  allowLookUps(client.namespace);
}
