import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { type IP, type IPv4, type IPv6, parseIPv4 } from '../../address/ip.ts';
import { CONTEXT, open, update } from '../wire/arbitrary.ts';
import { encodeUpdate } from '../wire/encodeUpdate.ts';
import { MessageError } from '../wire/error.ts';
import { afiSafiOf, IPV4_UNICAST, IPV6_UNICAST } from '../wire/family.ts';
import { MAX_EXTENDED_LENGTH } from '../wire/frame.ts';
import { encodeMessage } from '../wire/message.ts';
import { cease } from '../wire/notification.ts';
import { asnOf, decodeOpen } from '../wire/open.ts';
import { BmpFramer, decodeBmp } from './decode.ts';
import { encodeBmp, encodeInitiation } from './encode.ts';
import { locRibPeerUp } from './locRib.ts';
import { type BmpMessage, type Information, type PeerDownReason, statisticShape } from './message.ts';
import type { PeerHeader } from './peerHeader.ts';

function record<T>(model: { [K in keyof T]: fc.Arbitrary<T[K]> }): fc.Arbitrary<T> {
  return fc.record(model, { noNullPrototype: true }) as fc.Arbitrary<T>;
}

const u16 = fc.integer({ min: 0, max: 0xffff });
const u32 = fc.integer({ min: 0, max: 0xffffffff });
const u64 = fc.bigInt({ min: 0n, max: 0xffffffffffffffffn });
const ipv4 = u32.map((value) => value as IPv4);
const ipv6 = fc.bigInt({ min: 0n, max: (1n << 128n) - 1n }).map((value) => value as IPv6);
const ip: fc.Arbitrary<IP> = fc.oneof(ipv4, ipv6);
const bytes = (maxLength: number) => fc.uint8Array({ maxLength }).map((value) => Buffer.from(value));
const time = fc
  .tuple(u32, fc.integer({ min: 0, max: 999_999 }))
  .map(([seconds, micros]) => BigInt(seconds) * 1_000_000n + BigInt(micros));

const session: fc.Arbitrary<PeerHeader> = record({
  view: fc.constantFrom('adj-rib-in-pre', 'adj-rib-in-post', 'adj-rib-out-pre', 'adj-rib-out-post'),
  instance: fc.constantFrom(0, 1, 2),
  distinguisher: u64,
  address: ip,
  asn: u32,
  identifier: ipv4,
  twoOctetAs: fc.boolean(),
  time,
});
const locRib: fc.Arbitrary<PeerHeader> = record({
  view: fc.constantFrom('loc-rib', 'loc-rib-filtered'),
  instance: fc.constant(0),
  distinguisher: u64,
  asn: u32,
  identifier: ipv4,
  twoOctetAs: fc.constant(false),
  time,
});
const peer = fc.oneof(session, locRib);
const information: fc.Arbitrary<Information[]> = fc.array(record({ type: u16, value: bytes(40) }), {
  maxLength: 4,
});
const openBytes = open.map(encodeMessage);
const notification = fc.constant(encodeMessage(cease(2, 'moved')));
const routes = update.map((one) => encodeUpdate(one, CONTEXT, MAX_EXTENDED_LENGTH)[0] ?? Buffer.alloc(0));

const reason: fc.Arbitrary<PeerDownReason> = fc.oneof(
  record({ kind: fc.constant('local-notification' as const), notification }),
  record({ kind: fc.constant('local-close' as const), event: u16 }),
  record({ kind: fc.constant('remote-notification' as const), notification }),
  fc.constantFrom<PeerDownReason>({ kind: 'remote-close' }, { kind: 'deconfigured' }),
  record({ kind: fc.constant('table-closed' as const), information }),
  record({ kind: fc.constant('unknown' as const), code: fc.integer({ min: 7, max: 255 }), data: bytes(20) }),
);

const statistic = fc
  .tuple(fc.integer({ min: 0, max: 30 }), u64, u32, bytes(20))
  .map(([type, value, half, data]) => {
    switch (statisticShape(type)) {
      case 'counter':
        return { type, value: BigInt(half) };
      case 'gauge':
        return { type, value };
      case 'family-gauge':
        return { type, family: afiSafiOf(half & 0xffff, half >>> 24), value };
      default:
        return { type, data };
    }
  });

const message: fc.Arbitrary<BmpMessage> = fc.oneof(
  record({ type: fc.constant('initiation' as const), information }),
  record({ type: fc.constant('termination' as const), reason: u16 }),
  record({ type: fc.constant('termination' as const), reason: u16, text: fc.string() }),
  record({ type: fc.constant('route-monitoring' as const), peer, update: routes }),
  record({ type: fc.constant('peer-down' as const), peer, reason }),
  record({
    type: fc.constant('statistics' as const),
    peer,
    statistics: fc.array(statistic, { maxLength: 18 }),
  }),
  fc
    .tuple(peer, ipv4, ipv6, u16, u16, openBytes, openBytes, information)
    .map(([header, four, six, localPort, remotePort, sentOpen, receivedOpen, tlvs]): BmpMessage => {
      const local = typeof header.address === 'number' ? four : six;
      return {
        type: 'peer-up',
        peer: header,
        ...(header.address !== undefined && { localAddress: local }),
        localPort,
        remotePort,
        sentOpen,
        receivedOpen,
        information: tlvs,
      };
    }),
  record({ type: fc.constant('unknown' as const), code: fc.integer({ min: 6, max: 255 }), body: bytes(60) }),
);

test('decoding gives back the BMP message that was encoded', () => {
  fc.assert(
    fc.property(message, (one) => assert.deepEqual(decodeBmp(encodeBmp(one)), one)),
    { numRuns: 500 },
  );
});

test('a station that reads damaged messages never sees anything but a MessageError', () => {
  const change = fc.tuple(fc.nat(), fc.integer({ min: 0, max: 255 }));
  fc.assert(
    fc.property(message, fc.array(change, { minLength: 1, maxLength: 3 }), fc.nat(), (one, changes, cut) => {
      const damaged = encodeBmp(one);
      for (const [at, value] of changes) damaged[at % damaged.length] = value;
      for (const candidate of [damaged, damaged.subarray(0, cut % damaged.length)]) {
        if (candidate.length >= 5) candidate.writeUInt32BE(candidate.length, 1);
        try {
          decodeBmp(candidate);
        } catch (error) {
          if (!(error instanceof MessageError)) throw error;
        }
      }
    }),
    { numRuns: 3000 },
  );
});

test('a stream is cut into the same messages wherever it is split', () => {
  const first = encodeInitiation('leaf-1', 'Tombolo 0.1');
  const second = encodeBmp({ type: 'termination', reason: 0, text: 'moved' });
  const stream = Buffer.concat([first, second, first]);
  for (let at = 0; at <= stream.length; at++) {
    const seen: Buffer[] = [];
    const framer = new BmpFramer();
    for (const chunk of [stream.subarray(0, at), stream.subarray(at)]) {
      framer.push(Buffer.from(chunk), (one) => seen.push(Buffer.from(one)));
    }
    assert.deepEqual(seen, [first, second, first]);
  }
});

test('a stream that is no BMP, or announces too much, is refused at its header', () => {
  const framer = () => new BmpFramer();
  assert.throws(() => framer().push(Buffer.from('02000000060400', 'hex'), () => {}), MessageError);
  assert.throws(() => framer().push(Buffer.from('037fffffff04', 'hex'), () => {}), MessageError);
  assert.throws(() => framer().push(Buffer.from('030000000504', 'hex'), () => {}), MessageError);
});

test('a count of statistics that cannot be is refused before anything is allocated for it', () => {
  const header = encodeBmp({
    type: 'statistics',
    peer: {
      view: 'adj-rib-in-pre',
      instance: 0,
      distinguisher: 0n,
      address: parseIPv4('10.0.0.2'),
      asn: 65001,
      identifier: parseIPv4('10.0.0.2'),
      twoOctetAs: false,
      time: 0n,
    },
    statistics: [],
  });
  header.writeUInt32BE(0xffffffff, header.length - 4);
  assert.throws(() => decodeBmp(header), /so many statistics/);
});

test('the Peer Up of Loc-RIB has OPENs by which a station reads what follows', () => {
  const peerUp = locRibPeerUp(
    {
      asn: 4200000000,
      identifier: parseIPv4('10.0.0.1'),
      families: [IPV4_UNICAST, IPV6_UNICAST],
      addPath: [IPV4_UNICAST],
      tableName: 'global',
    },
    1_700_000_000_000_000n,
  );
  const decoded = decodeBmp(encodeBmp(peerUp));
  assert.deepEqual(decoded, peerUp);
  const sent = decodeOpen(peerUp.sentOpen);
  assert.equal(asnOf(sent), 4200000000);
  assert.deepEqual(
    sent.capabilities.map(({ name }) => name),
    ['multiprotocol', 'multiprotocol', 'four-octet-as', 'add-path'],
  );
  assert.deepEqual(peerUp.sentOpen, peerUp.receivedOpen);
});
