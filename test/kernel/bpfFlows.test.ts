import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { formatIP } from '../../src/address/ip.ts';
import { FLOW_FLAGS } from '../../src/datapath/maps/flows.ts';
import {
  age,
  answer,
  ask,
  asked,
  BACKENDS,
  CLIENT,
  datapath,
  dns,
  halves,
  now,
  pod,
  read,
  SERVICE,
  send,
  sent,
  web,
} from './bpfFlowScene.ts';
import { endpointOf } from './bpfRig.ts';
import { at, VERDICTS } from './bpfTestPod.ts';
import { frame, tcp, udp } from './packets.ts';

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

  test('begins anew in its old place when the same tuple is used with the same backend', () => {
    datapath.addService({ frontend: at(SERVICE, 81), backends: [at('10.1.0.19', 8081)] });
    const given = (flags: string) => sent({ ...asked, transport: tcp({ from: 40000, to: 81, flags }) });
    const answered = (flags: string) => {
      const transport = tcp({ from: 8081, to: 40000, flags });
      return pod.run('tb_eth0_ingress', frame({ source: '10.1.0.19', destination: CLIENT, transport })).data;
    };
    const first = given('S');
    answered('S.');
    answered('F.');
    given('F.');
    assert.equal(halves().forward.flags, FLOW_FLAGS.clientFin | FLOW_FLAGS.serverFin | FLOW_FLAGS.lingers);
    age(7);
    assert.deepEqual(given('S'), first);
    for (const half of Object.values(halves())) {
      assert.deepEqual([half.state, half.flags], ['new', 0]);
      assert.ok(now() - half.since <= 1 && now() - half.seen <= 1, 'it is as young as one that was entered');
    }
    assert.equal(read(answered('S.')).port, 40000);
    assert.deepEqual([halves().forward.state, halves().reply.state], ['open', 'open']);
    assert.deepEqual(datapath.metrics(), { flow_created: 2, flow_reused: 1 });
  });

  test('does not begin in its old place when another one has its answers', () => {
    datapath.addService({ frontend: at(SERVICE, 81), backends: [at('10.1.0.19', 8081)] });
    const given = (flags: string) => sent({ ...asked, transport: tcp({ from: 40000, to: 81, flags }) });
    const first = given('S');
    pod.run('tb_eth0_egress', frame({ ...asked, transport: tcp({ from: 40000, to: 81, flags: 'R' }) }));
    const [replyKey, reply] = datapath.flows().find(([key]) => key.direction === 'reply') ?? [];
    assert.ok(replyKey && reply);
    // A flow of another frontend of the backend.
    datapath.maps.tb_flows.set(replyKey, { ...reply, port: 82, state: 'open' });
    const second = given('S');
    assert.deepEqual([second.to, second.port], [first.to, first.port]);
    assert.equal(datapath.flows().filter(([key]) => key.direction === 'forward').length, 1);
    const back = datapath.flows().filter(([key]) => key.direction === 'reply');
    assert.ok(back.some(([key, { port }]) => key.destination_port === second.from && port === 81));
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
