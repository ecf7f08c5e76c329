import assert from 'node:assert/strict';
import { after, before, beforeEach, describe, test } from 'node:test';
import { Datapath } from './bpfRig.ts';
import { at, CASTS, type Cast, GATEWAY_MAC, POD_MAC, TestPod } from './bpfTestPod.ts';
import { TestNamespaces } from './namespaces.ts';
import { type FrameFields, frame, icmp, raw, sctp, type Transport, tcp, udp } from './packets.ts';

const namespaces = new TestNamespaces('bpftranslation');
let datapath: Datapath;
let pod: TestPod;

before(() => {
  datapath = new Datapath();
  pod = new TestPod(namespaces, datapath);
  for (const { service, backend, client } of CASTS) {
    datapath.addService({ frontend: at(service, 80), backends: [at(backend, 8080)] });
    datapath.addService({ frontend: at(service, 53), protocol: 'UDP', backends: [at(backend, 5353)] });
    datapath.addService({ frontend: at(service, 9), protocol: 'SCTP', backends: [at(backend, 9)] });
    datapath.addService({ frontend: at(service, 10), protocol: 'SCTP', backends: [at(backend, 11)] });
    datapath.addService({ frontend: at(service, 81), backends: [] });
    datapath.addService({ frontend: at(service, 82), backends: [at(client, 8082)] });
  }
});

after(() => {
  datapath?.close();
  namespaces.close();
});

beforeEach(() => datapath.forget());

const sides = { out: 'tb_eth0_egress', in: 'tb_eth0_ingress', lo: 'tb_lo' } as const;

/** Whole transports in every form they come in. */
interface Form {
  readonly what: string;
  readonly forward: [given: Transport, expected: Transport];
  readonly reply: [given: Transport, expected: Transport];
}

const FORMS: readonly Form[] = [
  {
    what: 'a TCP connection',
    forward: [tcp({ from: 40000, to: 80 }), tcp({ from: 40000, to: 8080 })],
    reply: [tcp({ from: 8080, to: 40000, flags: 'S.' }), tcp({ from: 80, to: 40000, flags: 'S.' })],
  },
  {
    what: 'a TCP segment with an odd number of bytes',
    forward: [
      tcp({ from: 40000, to: 80, flags: 'P.', payload: 'hello' }),
      tcp({ from: 40000, to: 8080, flags: 'P.', payload: 'hello' }),
    ],
    reply: [
      tcp({ from: 8080, to: 40000, flags: 'P.', payload: 'world!!' }),
      tcp({ from: 80, to: 40000, flags: 'P.', payload: 'world!!' }),
    ],
  },
  {
    what: 'UDP',
    forward: [
      udp({ from: 40000, to: 53, payload: 'question' }),
      udp({ from: 40000, to: 5353, payload: 'question' }),
    ],
    reply: [
      udp({ from: 5353, to: 40000, payload: 'answer' }),
      udp({ from: 53, to: 40000, payload: 'answer' }),
    ],
  },
  {
    what: 'SCTP whose target port is its port',
    forward: [sctp({ from: 40000, to: 9, payload: 'init' }), sctp({ from: 40000, to: 9, payload: 'init' })],
    reply: [sctp({ from: 9, to: 40000, payload: 'ack' }), sctp({ from: 9, to: 40000, payload: 'ack' })],
  },
];

for (const cast of CASTS) {
  const { client, service, backend, other } = cast;
  const out = { source: client, destination: service };
  const translated = { source: client, destination: backend };

  describe(`a pod that calls a service by IPv${cast.family}`, () => {
    for (const { what, forward, reply } of FORMS) {
      test(`has ${what} translated to the backend and back`, () => {
        pod.becomes(sides.out, { ...out, transport: forward[0] }, { ...translated, transport: forward[1] });
        const answer = { source: backend, destination: client };
        const shown = { source: service, destination: client };
        pod.becomes(sides.in, { ...answer, transport: reply[0] }, { ...shown, transport: reply[1] });
        assert.deepEqual(datapath.metrics(), { flow_created: 1 });
      });
    }

    for (const [what, shape] of shapesOf(cast)) {
      test(`has packets ${what} translated`, () => {
        pod.becomes(
          sides.out,
          { ...out, ...shape, transport: tcp({ from: 40000, to: 80 }) },
          { ...translated, ...shape, transport: tcp({ from: 40000, to: 8080 }) },
        );
        pod.becomes(
          sides.in,
          {
            source: backend,
            destination: client,
            ...shape,
            transport: tcp({ from: 8080, to: 40000, flags: 'S.' }),
          },
          {
            source: service,
            destination: client,
            ...shape,
            transport: tcp({ from: 80, to: 40000, flags: 'S.' }),
          },
        );
      });
    }

    test('keeps UDP checksums away from zero, which would mean that there is none', () => {
      // Some payload of two bytes makes the sum after translation come out as zero.
      const payloads = Array.from({ length: 65536 }, (_, number) => Buffer.from([number >> 8, number & 255]));
      const zero = payloads.find((payload) => {
        const fields = { ...translated, transport: udp({ from: 40000, to: 5353, payload }) };
        const header = cast.family === 4 ? 34 : 54;
        return frame(fields).readUInt16BE(header + 6) === 0xffff;
      });
      assert.ok(zero);
      pod.becomes(
        sides.out,
        { ...out, transport: udp({ from: 40000, to: 53, payload: zero }) },
        { ...translated, transport: udp({ from: 40000, to: 5353, payload: zero }) },
      );
    });

    test('gets a TCP RST for a port the service does not have, with the numbers of RFC 9293', () => {
      const back = { source: service, destination: client, sourceMac: GATEWAY_MAC, destinationMac: POD_MAC };
      pod.redirects(
        sides.out,
        { ...out, transport: tcp({ from: 40000, to: 99, seq: 4294967295 }) },
        { ...back, transport: tcp({ from: 99, to: 40000, flags: 'R.', seq: 0, ack: 0 }) },
      );
      pod.redirects(
        sides.out,
        { ...out, transport: tcp({ from: 40000, to: 99, flags: 'P.', seq: 5, ack: 77, payload: 'abc' }) },
        { ...back, transport: tcp({ from: 99, to: 40000, flags: 'R', seq: 77, ack: 0 }) },
      );
      pod.redirects(
        sides.out,
        { ...out, transport: tcp({ from: 40000, to: 99, flags: 'F', seq: 5, payload: 'abc' }) },
        { ...back, transport: tcp({ from: 99, to: 40000, flags: 'R.', seq: 0, ack: 9 }) },
      );
      assert.deepEqual(datapath.metrics(), { no_such_port: 3 });
    });

    test('gets no RST for a RST', () => {
      pod.drops(sides.out, { ...out, transport: tcp({ from: 40000, to: 99, flags: 'R' }) }, 'no_such_port');
    });

    test('gets a RST for a service without backends', () => {
      pod.redirects(
        sides.out,
        { ...out, transport: tcp({ from: 40000, to: 81, seq: 10 }) },
        {
          source: service,
          destination: client,
          sourceMac: GATEWAY_MAC,
          destinationMac: POD_MAC,
          transport: tcp({ from: 81, to: 40000, flags: 'R.', seq: 0, ack: 11 }),
        },
      );
      assert.deepEqual(datapath.metrics(), { no_backend: 1 });
    });

    for (const payload of ['', 'x'.repeat(3), 'y'.repeat(1400)]) {
      test(`gets an ICMP error for a UDP port the service does not have, asked with ${payload.length} bytes`, () => {
        const asked = { ...out, transport: udp({ from: 40000, to: 99, payload }) };
        pod.redirects(sides.out, asked, refusal(cast, asked, cast.family === 4 ? [3, 3] : [1, 4]));
      });
    }

    test('gets an ICMP error for a ping of the service', () => {
      const ping = icmp(cast.family, cast.family === 4 ? 8 : 128, 0, 0x00010001, Buffer.from('ping'));
      const asked = { ...out, transport: ping };
      pod.redirects(sides.out, asked, refusal(cast, asked, cast.family === 4 ? [3, 2] : [1, 1]));
    });

    test('is refused SCTP to another target port, whose checksum could not be mended', () => {
      pod.drops(sides.out, { ...out, transport: sctp({ from: 40000, to: 10 }) }, 'sctp_port');
    });

    test('reaches itself by way of lo, with its own address as source', () => {
      pod.redirects(
        sides.out,
        { ...out, transport: tcp({ from: 40000, to: 82 }) },
        {
          source: client,
          destination: client,
          destinationMac: '00:00:00:00:00:00',
          transport: tcp({ from: 40000, to: 8082 }),
        },
      );
      pod.becomes(
        sides.lo,
        { source: client, destination: client, transport: tcp({ from: 8082, to: 40000, flags: 'S.' }) },
        { source: service, destination: client, transport: tcp({ from: 82, to: 40000, flags: 'S.' }) },
      );
    });

    test('has everything else pass untouched', () => {
      const toOther = { source: client, destination: other };
      for (const transport of [
        tcp({ from: 40000, to: 80 }),
        udp({ from: 1, to: 2 }),
        raw(47, Buffer.alloc(8)),
      ]) {
        pod.passes(sides.out, { ...toOther, transport });
        pod.passes(sides.in, { source: other, destination: client, transport });
        pod.passes(sides.lo, { ...toOther, transport });
      }
      const group = cast.family === 4 ? '224.0.0.251' : 'ff02::fb';
      pod.passes(sides.out, { source: client, destination: group, transport: udp({ from: 5353, to: 5353 }) });
      const loopback = cast.family === 4 ? '127.0.0.1' : '::1';
      pod.passes(sides.lo, {
        source: loopback,
        destination: loopback,
        transport: tcp({ from: 40000, to: 80 }),
      });
      assert.deepEqual(datapath.metrics(), {});
      assert.deepEqual(datapath.flows(), []);
    });

    test('finds ports of a shared address that are no service passed on', () => {
      const shared = cast.family === 4 ? '10.1.0.99' : 'fd00:1::99';
      datapath.addService({ frontend: at(shared, 30080), backends: [at(backend, 8080)], shared: true });
      pod.passes(sides.out, { source: client, destination: shared, transport: tcp({ from: 40000, to: 22 }) });
      pod.passes(sides.out, {
        source: client,
        destination: shared,
        transport: icmp(cast.family, cast.family === 4 ? 8 : 128, 0, 1, Buffer.alloc(8)),
      });
      pod.becomes(
        sides.out,
        { source: client, destination: shared, transport: tcp({ from: 40000, to: 30080 }) },
        { ...translated, transport: tcp({ from: 40000, to: 8080 }) },
      );
    });

    test('never has a malformed packet leave for a service, and any other left to the kernel', () => {
      const short = raw(6, Buffer.alloc(6));
      pod.drops(sides.out, { ...out, transport: short }, 'malformed');
      pod.passes(sides.out, { source: client, destination: other, transport: short });
      pod.passes(sides.in, { source: backend, destination: client, transport: short });
    });

    test('finds what a backend says of a connection that is no flow left to the pod', () => {
      for (const flags of ['S', 'S.', '.', 'P.', 'F.', 'R', 'R.']) {
        pod.passes(sides.in, {
          source: backend,
          destination: client,
          transport: tcp({ from: 8080, to: 40000, flags }),
        });
        pod.passes(sides.lo, {
          source: client,
          destination: client,
          transport: tcp({ from: 8082, to: 40000, flags: flags === 'S' ? 'S.' : flags }),
        });
      }
      assert.deepEqual(datapath.flows(), []);
    });

    // IPv6 has no UDP without a checksum (RFC 8200 §8.1).
    const whereChecksumsAreOptional = cast.family === 4 ? test : () => {};
    whereChecksumsAreOptional('keeps UDP without a checksum without one', () => {
      const fields = { from: 40000, payload: 'q', checksum: 'none' } as const;
      pod.becomes(
        sides.out,
        { ...out, transport: udp({ ...fields, to: 53 }) },
        { ...translated, transport: udp({ ...fields, to: 5353 }) },
      );
    });
  });
}

describe('frames that are not IP', () => {
  for (const program of Object.values(sides)) {
    test(`pass ${program}`, () => {
      const arp = Buffer.alloc(60);
      arp.writeUInt16BE(0x0806, 12);
      const { verdict, data } = pod.run(program, arp);
      assert.equal(verdict, -1);
      assert.deepEqual(data, arp);
      assert.equal(pod.run(program, Buffer.alloc(14)).verdict, -1);
    });
  }
});

describe('any bytes whatever', () => {
  test('end with a verdict, and never reach a service', () => {
    const base = frame({ source: '10.1.0.2', destination: '10.96.0.1', transport: tcp({ from: 1, to: 80 }) });
    // A fixed sequence, so that a failure can be repeated.
    let state = 1;
    const random = () => {
      state = (state * 48271) % 0x7fffffff;
      return state;
    };
    for (let round = 0; round < 2000; round++) {
      const bytes = Buffer.from(base.subarray(0, 34 + (random() % 40)));
      for (let flips = random() % 4; flips > 0; flips--) {
        const place = 12 + (random() % (bytes.length - 12));
        // Addresses stay, so that it is a packet to the service.
        if (place < 26 || place >= 34) bytes[place] = random() & 255;
      }
      const { verdict, data } = pod.run(sides.out, bytes);
      assert.ok([-1, 2, 7].includes(verdict));
      const type = data.readUInt16BE(12);
      const toService = type === 0x0800 && data.length >= 34 && data.readUInt32BE(30) === 0x0a600001;
      assert.ok(!(verdict === -1 && toService), `left for the service: ${bytes.toString('hex')}`);
    }
  });
});

function refusal(
  { family, client, service }: Cast,
  asked: FrameFields,
  [type, code]: [number, number],
): FrameFields {
  const whole = frame(asked).subarray(14);
  const most = family === 4 ? 68 : 48;
  const quote = whole.subarray(0, Math.min(whole.length, most) & ~3);
  return {
    source: service,
    destination: client,
    sourceMac: GATEWAY_MAC,
    destinationMac: POD_MAC,
    transport: icmp(family, type, code, 0, quote),
  };
}

/** What may lie around a transport, by name. */
function shapesOf({ family }: Cast): [string, Partial<FrameFields>][] {
  const vlans: [string, Partial<FrameFields>][] = [
    ['in a VLAN', { vlans: [42] }],
    ['in two VLANs', { vlans: [42, 7] }],
  ];
  if (family === 4) {
    return [
      ...vlans,
      ['with IPv4 options', { options: Buffer.from('0101010101010100', 'hex') }],
      ['with as many IPv4 options as there can be', { options: Buffer.alloc(40, 1) }],
    ];
  }
  const padding = Buffer.from('010400000000', 'hex');
  return [
    ...vlans,
    ['with hop-by-hop options', { extensions: [{ type: 0, body: padding }] }],
    [
      'with destination options',
      { extensions: [{ type: 60, body: Buffer.concat([padding, Buffer.alloc(8)]) }] },
    ],
    [
      'with three extension headers',
      {
        extensions: [
          { type: 0, body: padding },
          { type: 60, body: padding },
          { type: 43, body: Buffer.from('040000000000', 'hex') },
        ],
      },
    ],
    ['that are their own only fragment', { fragment: { identification: 9, offset: 0, more: false } }],
  ];
}
