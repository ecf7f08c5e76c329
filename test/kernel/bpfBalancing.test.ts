import assert from 'node:assert/strict';
import { beforeEach, describe, test } from 'node:test';
import { asked, BACKENDS, datapath, pod, read, SERVICE, send, web } from './bpfFlowScene.ts';
import type { ServiceHandle } from './bpfRig.ts';
import { at, VERDICTS } from './bpfTestPod.ts';
import { frame, tcp } from './packets.ts';

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
      shares.every((share) => share > 10 && share < 100),
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
    assert.ok(served.length > 10, `${served.length} of 50`);
    for (const { data } of served) assert.equal(read(data).to, BACKENDS[0]);
  });
});
