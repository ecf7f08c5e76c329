import assert from 'node:assert/strict';
import { beforeEach, describe, test } from 'node:test';
import { age, datapath, pod } from './bpfFlowScene.ts';
import { at, CASTS } from './bpfTestPod.ts';
import { frame, sctp, tcp, udp } from './packets.ts';

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
