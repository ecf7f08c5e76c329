import assert from 'node:assert/strict';
import { after, afterEach, before, describe, test } from 'node:test';
import { Datapath } from './bpfRig.ts';
import { at, CASTS, TestPod, VERDICTS } from './bpfTestPod.ts';
import { TestNamespaces } from './namespaces.ts';
import { frame, tcp, udp } from './packets.ts';
import { PythonProcess } from './pythonProcess.ts';

/** As `flows.h` gives them. */
const [FIRST_PORT, LAST_PORT] = [16384, 65535];
/** Ports that no flow has, but sockets do: enough of them that tries at random come upon some. */
const [FIRST_HELD, HELD] = [50000, 200];
const PACKETS = 300;

const namespaces = new TestNamespaces('bpfports');
const kinds = {
  TCP: { type: 'SOCK_STREAM', segment: tcp, server: 8080 },
  UDP: { type: 'SOCK_DGRAM', segment: udp, server: 5353 },
} as const;

let datapath: Datapath;
let pod: TestPod;
let sockets: PythonProcess;
before(() => {
  datapath = new Datapath({ maxEntries: { tb_flows: 70000 } });
  pod = new TestPod(namespaces, datapath);
});
afterEach(() => sockets.end());
after(() => {
  datapath?.close();
  namespaces.close();
});

for (const { family, client, service, backend } of CASTS) {
  for (const [protocol, { type, segment, server }] of Object.entries(kinds)) {
    describe(`a source port, where all that are free are those of sockets (${protocol} over IPv${family})`, () => {
      const straight = {
        source: client,
        destination: backend,
        transport: segment({ from: 40000, to: server }),
      };
      const toService = { source: client, destination: service, transport: segment({ from: 40000, to: 80 }) };

      /** Takes all ports but one, and opens sockets for the others. */
      const take = async () => {
        datapath.forget();
        datapath.addService({
          frontend: at(service, 80),
          protocol: protocol as 'TCP' | 'UDP',
          backends: [at(backend, server)],
        });
        pod.run('tb_eth0_egress', frame(toService));
        const [key, flow] = datapath.flows().find(([each]) => each.direction === 'reply') ?? [];
        assert.ok(key && flow, 'the flow to the service is in the table');
        for (let port = FIRST_PORT; port <= LAST_PORT; port++) {
          if (port >= FIRST_HELD && port < FIRST_HELD + HELD) continue;
          datapath.maps.tb_flows.set({ ...key, destination_port: port }, flow);
        }
        sockets = new PythonProcess(pod.namespace);
        await sockets.run(
          `def held(port): s = socket.socket(socket.AF_INET${family === 6 ? '6' : ''}, socket.${type}); ` +
            `s.setblocking(False); s.bind(('${client}', port)); s.connect_ex(('${backend}', ${server})); return s`,
        );
        await sockets.run(`kept = [held(${FIRST_HELD} + i) for i in range(${HELD})]`);
        assert.equal(await sockets.run('len(kept)'), String(HELD));
      };

      const given = (fields: typeof straight) => {
        const ports = new Set<number>();
        for (let packet = 0; packet < PACKETS; packet++) {
          const { verdict, data } = pod.run('tb_eth0_egress', frame(fields));
          if (verdict !== VERDICTS.drop) ports.add(data.readUInt16BE(family === 4 ? 34 : 54));
        }
        return [...ports];
      };

      test('is not given to a flow straight to the backend', async () => {
        await take();
        assert.deepEqual(given(straight), []);
        assert.equal(datapath.metrics().no_source_port, PACKETS);
      });

      test('is not given to a flow to another service of the backend', async () => {
        await take();
        const other = family === 4 ? '10.96.0.2' : 'fd00:96::2';
        datapath.addService({
          frontend: at(other, 80),
          protocol: protocol as 'TCP' | 'UDP',
          backends: [at(backend, server)],
        });
        assert.deepEqual(given({ ...toService, destination: other }), []);
        assert.equal(datapath.metrics().no_source_port, PACKETS);
      });
    });
  }
}
