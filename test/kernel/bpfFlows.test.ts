import assert from 'node:assert/strict';
import { after, before, beforeEach, describe, test } from 'node:test';
import { formatIP } from '../../src/address/ip.ts';
import { FLOW_FLAGS, type Flow, type FlowKey } from '../../src/datapath/layout.ts';
import { Datapath, endpointOf, type ServiceHandle } from './bpfRig.ts';
import { at, CASTS, TestPod, VERDICTS } from './bpfTestPod.ts';
import { TestNamespaces } from './namespaces.ts';
import { type FrameFields, frame, PROTOCOL, sctp, tcp, udp } from './packets.ts';

const namespaces = new TestNamespaces('bpfflows');
let datapath: Datapath;
let pod: TestPod;

const BACKENDS = ['10.1.0.11', '10.1.0.12', '10.1.0.13', '10.1.0.14'];
const CLIENT = '10.1.0.2';
const SERVICE = '10.96.0.1';
let web: ServiceHandle;
let dns: ServiceHandle;

before(() => {
  datapath = new Datapath();
  pod = new TestPod(namespaces, datapath);
});

after(() => {
  datapath?.close();
  namespaces.close();
});

beforeEach(() => {
  datapath.forget();
  web = datapath.addService({ frontend: at(SERVICE, 80), backends: BACKENDS.map((ip) => at(ip, 8080)) });
  dns = datapath.addService({
    frontend: at(SERVICE, 53),
    protocol: 'UDP',
    backends: BACKENDS.map((ip) => at(ip, 5353)),
  });
});

const asked = { source: CLIENT, destination: SERVICE };

/** Sends a packet of the client and tells where it went. */
function send(flags: string, from = 40000, fields: Partial<FrameFields> = {}): Sent {
  return sent({ ...asked, ...fields, transport: tcp({ from, to: 80, flags }) });
}

function ask(from = 40000): Sent {
  return sent({ ...asked, transport: udp({ from, to: 53 }) });
}

interface Sent {
  readonly to: string;
  readonly port: number;
  readonly from: number;
}

function sent(fields: FrameFields): Sent {
  const { verdict, data } = pod.run('tb_eth0_egress', frame(fields));
  assert.notEqual(verdict, VERDICTS.drop, `dropped: ${JSON.stringify(datapath.metrics())}`);
  return read(data);
}

function read(data: Buffer): Sent {
  return {
    to: [...data.subarray(30, 34)].join('.'),
    from: data.readUInt16BE(34),
    port: data.readUInt16BE(36),
  };
}

/** The backend answers; what the client sees: who says it, to which port. */
function answer(flags: string, backend: string, to = 40000): { from: string; to: number } {
  const { verdict, data } = pod.run(
    'tb_eth0_ingress',
    frame({ source: backend, destination: CLIENT, transport: tcp({ from: 8080, to, flags }) }),
  );
  assert.equal(verdict, VERDICTS.next, `dropped: ${JSON.stringify(datapath.metrics())}`);
  return { from: [...data.subarray(26, 30)].join('.'), to: data.readUInt16BE(36) };
}

function halves(): { forward: Flow; reply: Flow } {
  const flows = datapath.flows();
  const half = (direction: string) => flows.find(([key]) => key.direction === direction)?.[1];
  const [forward, reply] = [half('forward'), half('reply')];
  assert.ok(forward && reply && flows.length === 2, `expected one flow, found ${flows.length} halves`);
  return { forward, reply };
}

/** Lets time pass, as far as the table knows. */
function age(seconds: number, which: (key: FlowKey) => boolean = () => true): void {
  for (const [key, flow] of datapath.flows()) {
    if (!which(key)) continue;
    // 32 bits that wrap: the machine may have been up for less.
    const [seen, since] = [(flow.seen - seconds) >>> 0, (flow.since - seconds) >>> 0];
    datapath.maps.tb_flows.set(key, { ...flow, seen, since });
  }
}

const now = () => process.hrtime()[0];

describe('a TCP connection', () => {
  test('keeps its backend when the SYN is repeated', () => {
    const first = send('S');
    for (let repeat = 0; repeat < 20; repeat++) assert.deepEqual(send('S'), first);
    assert.deepEqual(datapath.metrics(), { flow_created: 1 });
  });

  test('is spread over all backends by its port', () => {
    const used = new Set(Array.from({ length: 200 }, (_, index) => send('S', 10000 + index).to));
    assert.deepEqual([...used].sort(), BACKENDS);
  });

  test('goes through its states in both halves alike', () => {
    const { to } = send('S');
    assert.deepEqual([halves().forward.state, halves().reply.state], ['new', 'new']);
    answer('S.', to);
    assert.deepEqual([halves().forward.state, halves().reply.state], ['open', 'open']);
    send('.');
    send('F.');
    assert.deepEqual([halves().forward.state, halves().reply.state], ['open', 'open']);
    assert.deepEqual(
      [halves().forward.flags, halves().reply.flags],
      [FLOW_FLAGS.clientFin, FLOW_FLAGS.clientFin],
    );
    answer('.', to);
    answer('F.', to);
    assert.deepEqual([halves().forward.state, halves().reply.state], ['closing', 'closing']);
  });

  test('whose answer is a RST is reset', () => {
    answer('R.', send('S').to);
    assert.equal(halves().forward.state, 'reset');
  });

  test('begins anew, perhaps elsewhere, when the same tuple is used after its end', () => {
    const seen = new Set<string>();
    for (let round = 0; round < 60; round++) {
      const { to } = send('S');
      seen.add(to);
      answer('S.', to);
      send('F.');
      answer('F.', to);
      assert.deepEqual(answer('.', to), { from: SERVICE, to: 40000 });
    }
    assert.equal(seen.size, BACKENDS.length);
    assert.deepEqual(datapath.metrics(), { flow_created: 60, flow_reused: 59 });
    assert.equal(datapath.flows().length, 2);
  });

  test('begins anew when the same tuple is used after it was forgotten, though not yet collected', () => {
    answer('S.', send('S').to);
    age(21600);
    send('S');
    assert.equal(datapath.metrics().flow_reused, 1);
    assert.equal(halves().forward.state, 'new');
  });

  test('stays where it is when its SYN comes again in the middle', () => {
    const first = send('S');
    answer('S.', first.to);
    assert.deepEqual(send('S'), first);
    assert.equal(halves().forward.state, 'open');
  });

  test('goes on after a RST that nobody believed', () => {
    const { to } = send('S');
    answer('S.', to);
    answer('R', to);
    send('.');
    assert.equal(halves().forward.state, 'reset', 'what was on its way counts for nothing');
    age(2);
    send('P.');
    assert.deepEqual([halves().forward.state, halves().reply.state], ['open', 'open']);
  });

  for (const state of ['none', 'draining'] as const) {
    test(`stays with a backend that is ${state}, and a new one goes elsewhere`, () => {
      const { to } = send('S');
      answer('S.', to);
      datapath.setBackendState(web.backends[BACKENDS.indexOf(to)] ?? 0, state);
      assert.equal(send('P.').to, to);
      assert.deepEqual(answer('.', to), { from: SERVICE, to: 40000 });
    });

    test(`whose SYN meets a backend that is ${state} is given another`, () => {
      const { to } = send('S');
      const gone = BACKENDS.indexOf(to);
      datapath.setBackendState(web.backends[gone] ?? 0, state);
      datapath.setSlots(
        at(SERVICE, 80),
        'TCP',
        web.backends.filter((_, index) => index !== gone),
      );
      assert.notEqual(send('S').to, to);
      assert.equal(datapath.metrics().backend_replaced, 1);
      assert.equal(datapath.flows().length, 2);
    });
  }

  test('that is seen first in the middle finds its backend again by the ring', () => {
    datapath.addService({
      frontend: at(SERVICE, 443),
      backends: BACKENDS.map((ip) => at(ip, 8443)),
      maglev: true,
    });
    const middle = (flags: string, from: number) =>
      sent({ ...asked, transport: tcp({ from, to: 443, flags }) }).to;
    const before = Array.from({ length: 50 }, (_, index) => middle('S', 20000 + index));
    datapath.forget();
    const after = Array.from({ length: 50 }, (_, index) => middle('P.', 20000 + index));
    assert.deepEqual(after, before);
  });

  test('writes its time once a second, in the half that saw a packet', () => {
    const { to } = send('S');
    answer('S.', to);
    age(5);
    send('.');
    const { forward, reply } = halves();
    assert.ok(now() - forward.seen <= 1);
    assert.ok(now() - reply.seen >= 5);
  });
});

describe('a UDP flow', () => {
  test('keeps its backend while that lives, also while it drains', () => {
    const first = ask();
    datapath.setBackendState(dns.backends[BACKENDS.indexOf(first.to)] ?? 0, 'draining');
    for (let repeat = 0; repeat < 20; repeat++) assert.deepEqual(ask(), first);
  });

  test('is open once it is answered', () => {
    const { to } = ask();
    pod.run(
      'tb_eth0_ingress',
      frame({ source: to, destination: CLIENT, transport: udp({ from: 5353, to: 40000 }) }),
    );
    assert.deepEqual([halves().forward.state, halves().reply.state], ['open', 'open']);
  });

  test('is given another backend with the first packet after its own has gone', () => {
    const { to } = ask();
    const gone = BACKENDS.indexOf(to);
    datapath.setSlots(
      at(SERVICE, 53),
      'UDP',
      dns.backends.filter((_, index) => index !== gone),
    );
    datapath.setBackendState(dns.backends[gone] ?? 0, 'none');
    assert.notEqual(ask().to, to);
    assert.equal(datapath.metrics().backend_replaced, 1);
    assert.equal(datapath.flows().length, 2);
  });

  test('is given another backend when the number of its own was given to somebody else', () => {
    const { to } = ask();
    const number = dns.backends[BACKENDS.indexOf(to)] ?? 0;
    datapath.maps.tb_backends.set(number, {
      ...endpointOf('10.1.0.99:5353', 'UDP'),
      state: 'active',
      service: dns.number,
    });
    ask();
    assert.equal(datapath.metrics().backend_replaced, 1);
  });

  test('is given a backend as soon as the service has one', () => {
    datapath.setSlots(at(SERVICE, 53), 'UDP', []);
    assert.equal(
      pod.run('tb_eth0_egress', frame({ ...asked, transport: udp({ from: 40000, to: 53 }) })).verdict,
      VERDICTS.redirect,
    );
    datapath.setSlots(at(SERVICE, 53), 'UDP', dns.backends);
    assert.ok(BACKENDS.includes(ask().to));
  });
});

for (const { family, client, service, backend } of CASTS) {
  describe(`two flows with one tuple after translation, over IPv${family}`, () => {
    const header = family === 4 ? 34 : 54;
    const ports = (data: Buffer) => [data.readUInt16BE(header), data.readUInt16BE(header + 2)];
    const second = family === 4 ? '10.96.0.2' : 'fd00:96::2';

    beforeEach(() => {
      for (const frontend of [service, second]) {
        datapath.addService({ frontend: at(frontend, 80), backends: [at(backend, 8080)] });
        datapath.addService({ frontend: at(frontend, 53), protocol: 'UDP', backends: [at(backend, 5353)] });
        datapath.addService({ frontend: at(frontend, 9), protocol: 'SCTP', backends: [at(backend, 9)] });
      }
      datapath.addService({ frontend: at(service, 82), backends: [at(client, 8082)] });
    });

    const transports = {
      tcp: {
        toService: tcp({ from: 40000, to: 80 }),
        toBackend: tcp({ from: 40000, to: 8080 }),
        answer: (to: number) => tcp({ from: 8080, to, flags: 'S.' }),
        shown: tcp({ from: 80, to: 40000, flags: 'S.' }),
        direct: tcp({ from: 8080, to: 40000, flags: 'S.' }),
      },
      udp: {
        toService: udp({ from: 40000, to: 53 }),
        toBackend: udp({ from: 40000, to: 5353 }),
        answer: (to: number) => udp({ from: 5353, to }),
        shown: udp({ from: 53, to: 40000 }),
        direct: udp({ from: 5353, to: 40000 }),
      },
    };

    for (const [name, { toService, toBackend, answer, shown, direct }] of Object.entries(transports)) {
      const first = { source: client, destination: service, transport: toService };
      const other = { source: client, destination: second, transport: toService };
      const straight = { source: client, destination: backend, transport: toBackend };
      const back = { source: backend, destination: client };

      const kinds = [
        {
          what: 'to two services of one backend',
          one: first,
          two: other,
          from: service,
          shownOne: shown,
          fromTwo: second,
          shownTwo: shown,
        },
        {
          what: 'to a service, then straight to its backend',
          one: first,
          two: straight,
          from: service,
          shownOne: shown,
          fromTwo: backend,
          shownTwo: direct,
        },
        {
          what: 'straight to a backend, then to its service',
          one: straight,
          two: first,
          from: backend,
          shownOne: direct,
          fromTwo: service,
          shownTwo: shown,
        },
      ];
      for (const { what, one, two, from, shownOne, fromTwo, shownTwo } of kinds) {
        test(`${what}: the second one's source port changes (${name})`, () => {
          assert.equal(ports(pod.run('tb_eth0_egress', frame(one)).data)[0], 40000);
          const [changed = 0] = ports(pod.run('tb_eth0_egress', frame(two)).data);
          assert.ok(changed >= 16384 && changed !== 40000, `source port ${changed}`);
          assert.deepEqual(
            ports(pod.run('tb_eth0_egress', frame(two)).data)[0],
            changed,
            'it keeps the one it got',
          );
          assert.equal(datapath.metrics().source_port_changed, 1);
          pod.becomes(
            'tb_eth0_ingress',
            { ...back, transport: answer(40000) },
            { source: from, destination: client, transport: shownOne },
          );
          pod.becomes(
            'tb_eth0_ingress',
            { ...back, transport: answer(changed) },
            { source: fromTwo, destination: client, transport: shownTwo },
          );
        });
      }
    }

    test('in the pod itself are told apart on lo, whichever comes first', () => {
      const own = { source: client, destination: client };
      const toSelf = { source: client, destination: service, transport: tcp({ from: 40000, to: 82 }) };
      const straight = { ...own, transport: tcp({ from: 40000, to: 8082 }) };
      const shown = {
        source: service,
        destination: client,
        transport: tcp({ from: 82, to: 40000, flags: 'S.' }),
      };
      const unchanged = { ...own, transport: tcp({ from: 8082, to: 40000, flags: 'S.' }) };

      assert.deepEqual(ports(pod.run('tb_eth0_egress', frame(toSelf)).data), [40000, 8082]);
      const [changed = 0] = ports(pod.run('tb_lo', frame(straight)).data);
      assert.notEqual(changed, 40000);
      pod.becomes('tb_lo', { ...own, transport: tcp({ from: 8082, to: 40000, flags: 'S.' }) }, shown);
      pod.becomes('tb_lo', { ...own, transport: tcp({ from: 8082, to: changed, flags: 'S.' }) }, unchanged);

      datapath.forget();
      pod.passes('tb_lo', straight);
      const [moved = 0] = ports(pod.run('tb_eth0_egress', frame(toSelf)).data);
      assert.notEqual(moved, 40000);
      pod.passes('tb_lo', unchanged);
      pod.becomes('tb_lo', { ...own, transport: tcp({ from: 8082, to: moved, flags: 'S.' }) }, shown);
    });

    test('of SCTP cannot be: its checksum covers the port', () => {
      pod.run(
        'tb_eth0_egress',
        frame({ source: client, destination: service, transport: sctp({ from: 40000, to: 9 }) }),
      );
      pod.drops(
        'tb_eth0_egress',
        { source: client, destination: second, transport: sctp({ from: 40000, to: 9 }) },
        'sctp_port',
      );
    });

    test('are no matter once the first has ended', () => {
      const transport = tcp({ from: 40000, to: 80 });
      pod.run('tb_eth0_egress', frame({ source: client, destination: service, transport }));
      pod.run(
        'tb_eth0_ingress',
        frame({
          source: backend,
          destination: client,
          transport: tcp({ from: 8080, to: 40000, flags: 'R.' }),
        }),
      );
      age(10);
      assert.equal(
        ports(pod.run('tb_eth0_egress', frame({ source: client, destination: second, transport })).data)[0],
        40000,
      );
      assert.equal(datapath.flows().length, 2);
    });
  });
}

describe('session affinity', () => {
  const sticky = '10.96.0.5';
  let service: ServiceHandle;
  beforeEach(() => {
    service = datapath.addService({
      frontend: at(sticky, 80),
      backends: BACKENDS.map((ip) => at(ip, 8080)),
      affinitySeconds: 100,
    });
  });
  const visit = (from: number) => send('S', from, { destination: sticky }).to;
  const rest = (seconds: number) => {
    for (const [key, value] of [...datapath.maps.tb_affinity.entries()]) {
      datapath.maps.tb_affinity.set(key, {
        ...value,
        used_ns: process.hrtime.bigint() - BigInt(seconds * 1e9),
      });
    }
  };

  test('keeps a client at its backend, whatever its port', () => {
    const first = visit(1000);
    for (let port = 1001; port < 1050; port++) assert.equal(visit(port), first);
  });

  test('holds until just before its time, and every new connection renews it', () => {
    const first = visit(1000);
    for (let port = 1001; port < 1030; port++) {
      rest(99.9);
      assert.equal(visit(port), first);
    }
  });

  test('is over at its time', () => {
    const seen = new Set<string>();
    for (let port = 1000; port < 1100; port++) {
      seen.add(visit(port));
      rest(100);
    }
    assert.equal(seen.size, BACKENDS.length);
  });

  for (const state of ['none', 'draining'] as const) {
    test(`does not hold to a backend that is ${state}`, () => {
      const first = visit(1000);
      const gone = BACKENDS.indexOf(first);
      datapath.setBackendState(service.backends[gone] ?? 0, state);
      datapath.setSlots(
        at(sticky, 80),
        'TCP',
        service.backends.filter((_, index) => index !== gone),
      );
      const second = visit(1001);
      assert.notEqual(second, first);
      assert.equal(visit(1002), second);
    });
  }

  test('does not hold to a backend that now serves another service', () => {
    const first = visit(1000);
    const number = service.backends[BACKENDS.indexOf(first)] ?? 0;
    const backend = datapath.maps.tb_backends.get(number);
    assert.ok(backend);
    datapath.maps.tb_backends.set(number, { ...backend, service: 9999 });
    datapath.setSlots(
      at(sticky, 80),
      'TCP',
      service.backends.filter((other) => other !== number),
    );
    assert.notEqual(visit(1001), first);
  });
});

describe('a Maglev service', () => {
  const ringed = '10.96.0.6';
  const visit = (from: number) => send('S', from, { destination: ringed }).to;

  test('gives a tuple the same backend every time, and all backends to many tuples', () => {
    datapath.addService({
      frontend: at(ringed, 80),
      backends: BACKENDS.map((ip) => at(ip, 8080)),
      maglev: true,
    });
    const first = Array.from({ length: 200 }, (_, index) => visit(10000 + index));
    datapath.forget();
    assert.deepEqual(
      Array.from({ length: 200 }, (_, index) => visit(10000 + index)),
      first,
    );
    const shares = BACKENDS.map((ip) => first.filter((to) => to === ip).length);
    assert.ok(
      shares.every((share) => share > 25 && share < 75),
      `shares ${shares}`,
    );
  });

  test('with affinity leaves the port out of the choice', () => {
    datapath.addService({
      frontend: at(ringed, 80),
      backends: BACKENDS.map((ip) => at(ip, 8080)),
      maglev: true,
      affinitySeconds: 10,
    });
    const first = visit(1000);
    for (let port = 1001; port < 1030; port++) {
      datapath.forget();
      assert.equal(visit(port), first);
    }
  });

  test('whose ring names a backend that has gone takes another of its slots', () => {
    const service = datapath.addService({
      frontend: at(ringed, 80),
      backends: BACKENDS.map((ip) => at(ip, 8080)),
      maglev: true,
    });
    const first = visit(1000);
    const gone = BACKENDS.indexOf(first);
    datapath.setBackendState(service.backends[gone] ?? 0, 'none');
    datapath.setSlots(
      at(ringed, 80),
      'TCP',
      service.backends.filter((_, index) => index !== gone),
    );
    assert.notEqual(visit(1000), first);
  });
});

describe('a service under a new generation', () => {
  test('gives new flows its new backends only', () => {
    datapath.setSlots(at(SERVICE, 80), 'TCP', web.backends.slice(0, 1));
    for (let port = 1000; port < 1050; port++) assert.equal(send('S', port).to, BACKENDS[0]);
  });

  test('whose slots still name a backend that has gone tries others', () => {
    for (const number of web.backends.slice(1)) datapath.setBackendState(number, 'none');
    const verdicts = Array.from({ length: 50 }, (_, index) =>
      pod.run('tb_eth0_egress', frame({ ...asked, transport: tcp({ from: 1000 + index, to: 80 }) })),
    );
    const served = verdicts.filter(({ verdict }) => verdict === VERDICTS.next);
    // Four tries of one in four: two out of three on average.
    assert.ok(served.length > 20, `${served.length} of 50`);
    for (const { data } of served) assert.equal(read(data).to, BACKENDS[0]);
  });
});

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
      other.passes('tb_eth0_egress', {
        source: CLIENT,
        destination: '10.1.0.7',
        transport: tcp({ from: 9, to: 8080 }),
      });
      assert.equal(small.metrics().direct_untracked, 1);
    } finally {
      small.close();
    }
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

describe('a flow in the table', () => {
  test('says in words what it is', () => {
    const { to } = send('S');
    const [key, flow] = datapath.flows().find(([key]) => key.direction === 'forward') ?? [];
    assert.ok(key && flow);
    assert.equal(formatIP(key.source), CLIENT);
    assert.equal(formatIP(key.destination), SERVICE);
    assert.equal(formatIP(flow.address), to);
    assert.equal(flow.service, web.number);
    assert.equal(flow.backend, web.backends[BACKENDS.indexOf(to)]);
  });
});
