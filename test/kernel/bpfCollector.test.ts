import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import type { Flow, FlowKey } from '../../src/datapath/maps/flows.ts';
import {
  age,
  answer,
  ask,
  asked,
  BACKENDS,
  CLIENT,
  datapath,
  now,
  pod,
  SERVICE,
  send,
  sent,
  web,
} from './bpfFlowScene.ts';
import { Datapath, endpointOf } from './bpfRig.ts';
import { at, TestPod } from './bpfTestPod.ts';
import { TestNamespaces } from './namespaces.ts';
import { frame, PROTOCOL, tcp, udp } from './packets.ts';

describe('the marks of addresses that have flows', () => {
  test('are made by the collector for flows of earlier programs, and by the programs for their own', () => {
    const marked = new Datapath();
    const namespaces = new TestNamespaces('bpfmarks');
    try {
      const other = new TestPod(namespaces, marked);
      const answerOf = (backend: string, flags: string) =>
        other.run(
          'tb_eth0_ingress',
          frame({ source: backend, destination: CLIENT, transport: tcp({ from: 8080, to: 40000, flags }) }),
        );
      const [first, second] = ['10.96.7.1', '10.96.7.2'];
      const [one, two] = ['10.1.7.1', '10.1.7.2'];
      marked.addService({ frontend: at(first, 80), backends: [at(one, 8080)] });
      // As if programs of an earlier load had entered it: this one's have not seen its SYN.
      const earlier = new Datapath();
      try {
        earlier.addService({ frontend: at(first, 80), backends: [at(one, 8080)] });
        new TestPod(
          { create: (name: string) => namespaces.create(`earlier-${name}`) } as TestNamespaces,
          earlier,
        ).run(
          'tb_eth0_egress',
          frame({ source: CLIENT, destination: first, transport: tcp({ from: 40000, to: 80 }) }),
        );
        for (const [key, flow] of earlier.flows()) marked.maps.tb_flows.set(key, flow);
      } finally {
        earlier.close();
      }
      const toFirst = (flags: string) => ({
        source: CLIENT,
        destination: first,
        transport: tcp({ from: 40000, to: 80, flags }),
      });
      const ofFirst = (flags: string) => ({
        source: CLIENT,
        destination: one,
        transport: tcp({ from: 40000, to: 8080, flags }),
      });
      other.becomes('tb_eth0_egress', toFirst('.'), ofFirst('.'));
      assert.equal(
        read(answerOf(one, '.').data, 26),
        first,
        'before the collector every packet is looked up',
      );
      // What it serves is gone, but not its flows.
      marked.maps.tb_services.delete(endpointOf(at(first, 80)));
      marked.maps.tb_services.delete({ ...endpointOf(at(first, 0)), protocol: 0 });
      for (let run = 0; run < 2; run++) assert.equal(marked.collect('tb_flow_gc', 'tb_flows').open, 1);
      other.becomes('tb_eth0_egress', toFirst('P.'), ofFirst('P.'));
      assert.equal(read(answerOf(one, 'P.').data, 26), first, 'the collector has marked its addresses');

      marked.addService({ frontend: at(second, 80), backends: [at(two, 8080)] });
      other.becomes(
        'tb_eth0_egress',
        { ...toFirst('S'), destination: second },
        { ...ofFirst('S'), destination: two },
      );
      assert.equal(read(answerOf(two, 'S.').data, 26), second, 'the program has marked its own');
      other.passes('tb_eth0_egress', { ...toFirst('.'), destination: '10.1.7.9' });
      assert.equal(marked.metrics().flow_created, 1);
    } finally {
      marked.close();
      namespaces.close();
    }
  });
});

/** The IPv4 address in a frame. */
function read(data: Buffer, offset: number): string {
  return [...data.subarray(offset, offset + 4)].join('.');
}

describe('the table of flows', () => {
  test('when full drops what is new, leaves no half behind, and keeps what it has', () => {
    const small = new Datapath({ maxEntries: { tb_flows: 5 } });
    const other = new TestPod(new TestNamespaces('bpffull'), small);
    try {
      small.addService({ frontend: at(SERVICE, 80), backends: [at('10.1.0.7', 8080)] });
      const to = (from: number) => ({ ...asked, transport: tcp({ from, to: 80 }) });
      const translated = (from: number) => ({
        source: CLIENT,
        destination: '10.1.0.7',
        transport: tcp({ from, to: 8080 }),
      });
      other.becomes('tb_eth0_egress', to(1), translated(1));
      other.becomes('tb_eth0_egress', to(2), translated(2));
      other.drops('tb_eth0_egress', to(3), 'flow_table_full');
      assert.equal(small.flows().length, 4, 'the half that found room was taken out again');
      other.becomes('tb_eth0_egress', to(1), translated(1));
      other.becomes('tb_eth0_egress', to(2), translated(2));
      other.passes('tb_eth0_egress', translated(9));
      assert.equal(small.metrics().direct_untracked, 1);
      // Straight to the backend with the tuple of a translated flow: both would get the other's packets.
      other.drops('tb_eth0_egress', translated(1), 'flow_table_full');
    } finally {
      small.close();
    }
  });

  test('gives no more to a client that has its share, and all the others what they want', () => {
    const { address: client } = endpointOf(at(CLIENT, 1));
    send('S', 1);
    datapath.maps.tb_clients.set(client, { flows: 1, full: 1 });
    assert.equal(sent({ ...asked, transport: tcp({ from: 1, to: 80 }) }).port, 8080, 'what it has goes on');
    pod.drops('tb_eth0_egress', { ...asked, transport: tcp({ from: 2, to: 80 }) }, 'flow_share_full');
    const [backend = 0] = datapath
      .flows()
      .filter(([{ direction }]) => direction === 'forward')
      .map(([, { backend: number }]) => web.backends.indexOf(number));
    const straight = { source: CLIENT, destination: BACKENDS[backend] ?? '' };
    pod.drops('tb_eth0_egress', { ...straight, transport: tcp({ from: 1, to: 8080 }) }, 'flow_share_full');
    pod.passes('tb_eth0_egress', { ...straight, transport: tcp({ from: 2, to: 8080 }) });
    assert.equal(sent({ ...asked, source: '10.1.0.3', transport: tcp({ from: 2, to: 80 }) }).port, 8080);
    datapath.maps.tb_clients.set(client, { flows: 1, full: 0 });
    assert.equal(send('S', 2).port, 8080);
  });

  test('when every source port is taken drops what needs one', () => {
    const large = new Datapath({ maxEntries: { tb_flows: 70000 } });
    const other = new TestPod(new TestNamespaces('bpfports'), large);
    try {
      large.addService({ frontend: at(SERVICE, 80), backends: [at('10.1.0.7', 8080)] });
      large.addService({ frontend: at('10.96.0.2', 80), backends: [at('10.1.0.7', 8080)] });
      other.run('tb_eth0_egress', frame({ ...asked, transport: tcp({ from: 40000, to: 80 }) }));
      const pair = large.flows();
      const reply = pair.find(([key]) => key.direction === 'reply');
      assert.ok(reply);
      for (let port = 16384; port < 65536; port++)
        large.maps.tb_flows.set({ ...reply[0], destination_port: port }, reply[1]);
      other.drops(
        'tb_eth0_egress',
        { ...asked, destination: '10.96.0.2', transport: tcp({ from: 40000, to: 80 }) },
        'no_source_port',
      );
    } finally {
      large.close();
    }
  });
});

describe('the collector', () => {
  const run = () => datapath.collect('tb_flow_gc', 'tb_flows');
  const nothing = { new: 0, open: 0, closing: 0, reset: 0, direct: 0, expired: 0, lonely: 0 };

  test('finds nothing in an empty table', () => assert.deepEqual(run(), nothing));

  test('counts the flows of each client', () => {
    for (const port of [1, 2, 3]) send('S', port);
    send('S', 1, { source: '10.1.0.3' });
    run();
    const counted = [...datapath.maps.tb_clients.entries()].map(([, { flows }]) => flows);
    assert.deepEqual(counted.sort(), [1, 3]);
  });

  test('counts flows by state, and leaves them alone', () => {
    send('S', 1);
    answer('S.', send('S', 2).to, 2);
    answer('R.', send('S', 3).to, 3);
    const closed = send('S', 4).to;
    answer('S.', closed, 4);
    send('F.', 4);
    answer('F.', closed, 4);
    sent({ source: CLIENT, destination: '10.1.0.11', transport: tcp({ from: 5, to: 8080 }) });
    assert.deepEqual(run(), { ...nothing, new: 2, open: 1, reset: 1, closing: 1, direct: 1 });
    assert.equal(datapath.flows().length, 10);
  });

  const answered = () => {
    const { to } = ask();
    const transport = udp({ from: 5353, to: 40000 });
    pod.run('tb_eth0_ingress', frame({ source: to, destination: CLIENT, transport }));
  };
  const lives: [what: string, seconds: number, begin: () => void][] = [
    ['a connection without an answer', 60, () => void send('S')],
    ['an open connection', 21600, () => void answer('S.', send('S').to)],
    [
      'a connection closed by one side',
      3600,
      () => {
        answer('S.', send('S').to);
        send('F.');
      },
    ],
    [
      'a connection that the client closed first',
      10,
      () => {
        const { to } = send('S');
        answer('S.', to);
        send('F.');
        answer('F.', to);
      },
    ],
    [
      'a connection that the server closed first, and is in TIME-WAIT with,',
      60,
      () => {
        const { to } = send('S');
        answer('S.', to);
        answer('F.', to);
        send('F.');
      },
    ],
    ['a connection that was reset', 10, () => void answer('R.', send('S').to)],
    ['a UDP question', 30, () => void ask()],
    ['a UDP question with its answer', 30, () => void answered()],
    [
      'a UDP flow that goes on',
      180,
      () => {
        answered();
        for (const [key, flow] of datapath.flows()) {
          datapath.maps.tb_flows.set(key, { ...flow, since: flow.since - 3 });
        }
      },
    ],
  ];
  for (const [what, seconds, begin] of lives) {
    test(`removes ${what} after ${seconds} seconds, not before`, () => {
      begin();
      age(seconds - 2);
      assert.equal(run().expired, 0);
      assert.equal(datapath.flows().length, 2);
      age(3);
      assert.deepEqual(run(), { ...nothing, expired: 1 });
      assert.equal(datapath.flows().length, 0);
    });
  }

  test('takes the timeouts it was loaded with', () => {
    const impatient = new Datapath({ constants: { tcp_new_seconds: 5 } });
    try {
      const [key, flow] = [forwardKey(), anyFlow()];
      impatient.maps.tb_flows.set(key, { ...flow, seen: now() - 6, since: now() - 6 });
      impatient.maps.tb_flows.set(replyKey(), {
        ...flow,
        ...replyParts(),
        seen: now() - 6,
        since: now() - 6,
      });
      impatient.collect('tb_flow_gc', 'tb_flows');
      assert.equal(impatient.flows().length, 0);
    } finally {
      impatient.close();
    }
  });

  test('does not wait for lingering servers once the table is half full', () => {
    const crowded = new Datapath({ maxEntries: { tb_flows: 64 } });
    const other = new TestPod(new TestNamespaces('bpfcrowd'), crowded);
    try {
      crowded.addService({ frontend: at(SERVICE, 80), backends: [at('10.1.0.7', 8080)] });
      const back = { source: '10.1.0.7', destination: CLIENT };
      for (let port = 1; port <= 20; port++) {
        const out = (flags: string) => frame({ ...asked, transport: tcp({ from: port, to: 80, flags }) });
        const into = (flags: string) => frame({ ...back, transport: tcp({ from: 8080, to: port, flags }) });
        other.run('tb_eth0_egress', out('S'));
        other.run('tb_eth0_ingress', into('S.'));
        other.run('tb_eth0_ingress', into('F.'));
        other.run('tb_eth0_egress', out('F.'));
      }
      for (const [key, flow] of crowded.flows()) {
        crowded.maps.tb_flows.set(key, { ...flow, seen: flow.seen - 11 });
      }
      const run = () => crowded.collect('tb_flow_gc', 'tb_flows');
      assert.deepEqual(
        [run().closing, crowded.flows().length],
        [20, 40],
        'that it is crowded shows in this run',
      );
      assert.deepEqual([run().expired, crowded.flows().length], [20, 0]);
    } finally {
      crowded.close();
    }
  });

  for (const direction of ['forward', 'reply'] as const) {
    test(`keeps both halves for a packet that the ${direction} half saw`, () => {
      answer('S.', send('S').to);
      age(30000, (key) => key.direction !== direction);
      assert.equal(run().open, 1);
      assert.equal(datapath.flows().length, 2);
    });

    test(`removes a ${direction} half without its other, once that could have come`, () => {
      send('S');
      const lost = datapath.flows().find(([key]) => key.direction !== direction);
      assert.ok(lost);
      datapath.maps.tb_flows.delete(lost[0]);
      assert.equal(datapath.flows().length, 1);
      assert.equal(run().lonely, 0);
      age(3);
      assert.equal(run().lonely, 1);
      assert.equal(datapath.flows().length, 0);
    });
  }

  test('removes thousands in one run', () => {
    for (let port = 1; port <= 1500; port++) send('S', port);
    age(61);
    assert.equal(run().expired, 1500);
    assert.equal(datapath.flows().length, 0);
  });

  function forwardKey(): FlowKey {
    const { address: source } = endpointOf(at(CLIENT, 1));
    const { address: destination } = endpointOf(at(SERVICE, 80));
    return {
      source,
      destination,
      source_port: 1,
      destination_port: 80,
      protocol: PROTOCOL.tcp,
      direction: 'forward',
    };
  }
  function replyKey(): FlowKey {
    const { address: source } = endpointOf(at('10.1.0.7', 8080));
    const { address: destination } = endpointOf(at(CLIENT, 1));
    return {
      source,
      destination,
      source_port: 8080,
      destination_port: 1,
      protocol: PROTOCOL.tcp,
      direction: 'reply',
    };
  }
  function anyFlow(): Flow {
    const { address, port } = endpointOf(at('10.1.0.7', 8080));
    return {
      address,
      port,
      client_port: 1,
      service: 1,
      backend: 1,
      seen: 0,
      since: 0,
      state: 'new',
      flags: 0,
      next_hop: Buffer.alloc(6),
    };
  }
  function replyParts(): Partial<Flow> {
    const { address, port } = endpointOf(at(SERVICE, 80));
    return { address, port };
  }
});
