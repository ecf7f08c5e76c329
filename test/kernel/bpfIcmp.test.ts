import assert from 'node:assert/strict';
import { after, before, beforeEach, describe, test } from 'node:test';
import { Datapath } from './bpfRig.ts';
import { at, CASTS, TestPod } from './bpfTestPod.ts';
import { TestNamespaces } from './namespaces.ts';
import { type FrameFields, frame, icmp, type PacketFields, packet, sctp, tcp, udp } from './packets.ts';

const namespaces = new TestNamespaces('bpficmp');
let datapath: Datapath;
let pod: TestPod;

before(() => {
  datapath = new Datapath();
  pod = new TestPod(namespaces, datapath);
  for (const { service, backend, client } of CASTS) {
    datapath.addService({ frontend: at(service, 80), backends: [at(backend, 8080)] });
    datapath.addService({ frontend: at(service, 53), protocol: 'UDP', backends: [at(backend, 5353)] });
    datapath.addService({ frontend: at(service, 9), protocol: 'SCTP', backends: [at(backend, 9)] });
    datapath.addService({ frontend: at(service, 54), protocol: 'UDP', backends: [at(client, 5454)] });
  }
});

after(() => {
  datapath?.close();
  namespaces.close();
});

beforeEach(() => datapath.forget());

for (const { family, client, service, backend, other, router } of CASTS) {
  /** Too big for the next hop, with the MTU where each family has it. */
  const tooBig = (about: Buffer) => (family === 4 ? icmp(4, 3, 4, 1280, about) : icmp(6, 2, 0, 1280, about));
  const unreachable = (about: Buffer) => (family === 4 ? icmp(4, 3, 3, 0, about) : icmp(6, 1, 4, 0, about));
  const expired = (about: Buffer) => icmp(family, family === 4 ? 11 : 3, 0, 0, about);
  const header = family === 4 ? 20 : 40;

  const asked = { source: client, destination: service };
  const sent = { source: client, destination: backend };
  const answered = { source: backend, destination: client };
  const shown = { source: service, destination: client };

  const protocols = [
    {
      what: 'TCP',
      ask: tcp({ from: 40000, to: 80, flags: 'P.', payload: 'x'.repeat(99) }),
      sent: tcp({ from: 40000, to: 8080, flags: 'P.', payload: 'x'.repeat(99) }),
      answer: tcp({ from: 8080, to: 40000, flags: 'P.', payload: 'y'.repeat(50) }),
      shown: tcp({ from: 80, to: 40000, flags: 'P.', payload: 'y'.repeat(50) }),
    },
    {
      what: 'UDP',
      ask: udp({ from: 40000, to: 53, payload: 'x'.repeat(99) }),
      sent: udp({ from: 40000, to: 5353, payload: 'x'.repeat(99) }),
      answer: udp({ from: 5353, to: 40000, payload: 'y'.repeat(50) }),
      shown: udp({ from: 53, to: 40000, payload: 'y'.repeat(50) }),
    },
    {
      what: 'SCTP',
      ask: sctp({ from: 40000, to: 9, payload: 'x'.repeat(99) }),
      sent: sctp({ from: 40000, to: 9, payload: 'x'.repeat(99) }),
      answer: sctp({ from: 9, to: 40000, payload: 'y'.repeat(50) }),
      shown: sctp({ from: 9, to: 40000, payload: 'y'.repeat(50) }),
    },
  ] as const;

  describe(`an ICMP error over IPv${family}`, () => {
    for (const protocol of protocols) {
      // 8 bytes of transport are the least (RFC 792), and end before TCP's checksum.
      for (const quoted of [header + 8, header + 19, header + 64, undefined]) {
        const cut = (fields: PacketFields) => packet(fields).subarray(0, quoted);
        const size = quoted === undefined ? 'all' : `${quoted - header} bytes`;

        test(`from a router about ${protocol.what} to the backend is one about the service, with ${size} of it`, () => {
          pod.becomes(
            'tb_eth0_egress',
            { ...asked, transport: protocol.ask },
            { ...sent, transport: protocol.sent },
          );
          const about = cut({ ...sent, ttl: 63, transport: protocol.sent });
          const meant = cut({ ...asked, ttl: 63, transport: protocol.ask });
          for (const error of [tooBig, expired]) {
            pod.becomes(
              'tb_eth0_ingress',
              { source: router, destination: client, transport: error(about) },
              { source: router, destination: client, transport: error(meant) },
            );
          }
          assert.deepEqual(datapath.metrics(), { flow_created: 1, icmp_translated: 2 });
        });

        test(`from the backend itself about ${protocol.what} comes from the service, with ${size} of it`, () => {
          pod.becomes(
            'tb_eth0_egress',
            { ...asked, transport: protocol.ask },
            { ...sent, transport: protocol.sent },
          );
          pod.becomes(
            'tb_eth0_ingress',
            { ...answered, transport: unreachable(cut({ ...sent, transport: protocol.sent })) },
            { ...shown, transport: unreachable(cut({ ...asked, transport: protocol.ask })) },
          );
        });

        test(`of the client about ${protocol.what} from the service is about the backend, with ${size} of it`, () => {
          pod.becomes(
            'tb_eth0_egress',
            { ...asked, transport: protocol.ask },
            { ...sent, transport: protocol.sent },
          );
          pod.becomes(
            'tb_eth0_ingress',
            { ...answered, transport: protocol.answer },
            { ...shown, transport: protocol.shown },
          );
          pod.becomes(
            'tb_eth0_egress',
            { ...asked, transport: unreachable(cut({ ...shown, transport: protocol.shown })) },
            { ...sent, transport: unreachable(cut({ ...answered, transport: protocol.answer })) },
          );
        });
      }
    }

    test('about a packet of no flow passes untouched when it comes in', () => {
      const error: FrameFields = {
        source: router,
        destination: client,
        transport: tooBig(packet({ source: client, destination: other, transport: tcp({ from: 1, to: 2 }) })),
      };
      pod.passes('tb_eth0_ingress', error);
      pod.passes('tb_eth0_egress', { ...error, source: client, destination: router });
    });

    test('about a packet of no flow never leaves for the service', () => {
      const about = packet({ ...shown, transport: tcp({ from: 80, to: 41000, flags: '.' }) });
      pod.drops('tb_eth0_egress', { ...asked, transport: unreachable(about) }, 'icmp_without_flow');
    });

    test('that quotes less than the ports passes untouched', () => {
      const about = packet({ ...sent, transport: tcp({ from: 40000, to: 8080 }) }).subarray(0, header + 3);
      pod.passes('tb_eth0_ingress', { source: router, destination: client, transport: unreachable(about) });
    });

    test('about what the pod sent itself by way of the service comes from the service', () => {
      const ask = udp({ from: 40000, to: 54, payload: 'me' });
      pod.run('tb_eth0_egress', frame({ ...asked, transport: ask }));
      const itself = { source: client, destination: client };
      const about = packet({ ...itself, transport: udp({ from: 40000, to: 5454, payload: 'me' }) });
      pod.becomes(
        'tb_lo',
        { ...itself, transport: unreachable(about) },
        { ...shown, transport: unreachable(packet({ ...asked, transport: ask })) },
      );
    });

    test('about a direct connection whose source port was changed names the port the client has', () => {
      pod.becomes(
        'tb_eth0_egress',
        { ...asked, transport: tcp({ from: 40000, to: 80 }) },
        { ...sent, transport: tcp({ from: 40000, to: 8080 }) },
      );
      pod.run('tb_eth0_egress', frame({ ...sent, transport: tcp({ from: 40000, to: 8080 }) }));
      const direct = datapath
        .flows()
        .find(([key]) => key.direction === 'forward' && key.destination_port === 8080);
      const changed = direct?.[1].client_port ?? 0;
      assert.notEqual(changed, 40000);
      pod.becomes(
        'tb_eth0_ingress',
        {
          source: router,
          destination: client,
          transport: tooBig(packet({ ...sent, transport: tcp({ from: changed, to: 8080 }) })),
        },
        {
          source: router,
          destination: client,
          transport: tooBig(packet({ ...sent, transport: tcp({ from: 40000, to: 8080 }) })),
        },
      );
    });
  });
}

describe('an ICMP error over IPv4', () => {
  test('that quotes a packet with options is translated behind them', () => {
    const options = Buffer.from('0101010101010100', 'hex');
    const ask = {
      source: '10.1.0.2',
      destination: '10.96.0.1',
      options,
      transport: tcp({ from: 40000, to: 80 }),
    };
    const sent = { ...ask, destination: '10.1.0.7', transport: tcp({ from: 40000, to: 8080 }) };
    pod.becomes('tb_eth0_egress', ask, sent);
    const error = (about: PacketFields) => ({
      source: '192.0.2.1',
      destination: '10.1.0.2',
      transport: icmp(4, 3, 4, 1280, packet(about)),
    });
    pod.becomes('tb_eth0_ingress', error(sent), error(ask));
  });

  test('about a later fragment passes: it says nothing of its flow', () => {
    const about = packet({
      source: '10.1.0.2',
      destination: '10.1.0.7',
      transport: udp({ from: 40000, to: 5353, payload: 'x'.repeat(64) }),
      fragment: { identification: 1, offset: 64, more: false },
    });
    pod.passes('tb_eth0_ingress', {
      source: '192.0.2.1',
      destination: '10.1.0.2',
      transport: icmp(4, 11, 1, 0, about),
    });
  });
});

describe('an ICMP error over IPv6', () => {
  test('that quotes a packet with extension headers and a first fragment is translated behind them', () => {
    const around = {
      extensions: [{ type: 60, body: Buffer.from('010400000000', 'hex') }],
      fragment: { identification: 7, offset: 0, more: true },
    };
    const ask = {
      ...around,
      source: 'fd00:1::2',
      destination: 'fd00:96::1',
      transport: udp({ from: 40000, to: 53, payload: 'x'.repeat(64) }),
    };
    const sent = {
      ...ask,
      destination: 'fd00:1::7',
      transport: udp({ from: 40000, to: 5353, payload: 'x'.repeat(64) }),
    };
    pod.becomes('tb_eth0_egress', ask, sent);
    const error = (about: PacketFields) => ({
      source: '2001:db8::1',
      destination: 'fd00:1::2',
      transport: icmp(6, 3, 1, 0, packet(about)),
    });
    pod.becomes('tb_eth0_ingress', error(sent), error(ask));
  });
});
