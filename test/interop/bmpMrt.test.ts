import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { test } from 'node:test';
import { bytesOf, parseIP, parseIPv4 } from '../../src/address/ip.ts';
import { parsePrefix } from '../../src/address/prefix.ts';
import { encodeBmp, encodeInitiation } from '../../src/bgp/bmp/encode.ts';
import { locRibPeerUp } from '../../src/bgp/bmp/locRib.ts';
import { type BmpMessage, STATISTIC } from '../../src/bgp/bmp/message.ts';
import type { BmpView, PeerHeader } from '../../src/bgp/bmp/peerHeader.ts';
import {
  encodeBgp4mpMessage,
  encodeBgp4mpStateChange,
  encodePeerIndexTable,
  encodeRibRecord,
  type MrtSession,
} from '../../src/bgp/mrt/mrt.ts';
import type { Attribute } from '../../src/bgp/wire/attribute.ts';
import { encodeAttributes, encodeUpdate } from '../../src/bgp/wire/encodeUpdate.ts';
import { IPV4_UNICAST, IPV6_UNICAST } from '../../src/bgp/wire/family.ts';
import { encodeMessage } from '../../src/bgp/wire/message.ts';
import { cease } from '../../src/bgp/wire/notification.ts';
import type { UpdateContext } from '../../src/bgp/wire/update.ts';
import { dissect, withFile } from './capture.ts';

const STATION = 11019;
const CONTEXT: UpdateContext = {
  session: 'ebgp',
  asn4: true,
  addPath: new Set(),
  extendedNextHop: new Set(),
};
const ATTRIBUTES: Attribute[] = [
  { type: 'ORIGIN', origin: 'IGP' },
  { type: 'AS_PATH', segments: [{ type: 'AS_SEQUENCE', asns: [65001, 4200000000] }] },
  { type: 'COMMUNITIES', communities: [(65001 << 16) >>> 0] },
];
const NEXT_HOP = parseIPv4('10.0.0.2');
const UPDATE =
  encodeUpdate(
    {
      type: 'UPDATE',
      withdrawn: [],
      attributes: [...ATTRIBUTES, { type: 'NEXT_HOP', address: NEXT_HOP }],
      nlri: [{ kind: 'prefix', prefix: parsePrefix('10.244.2.0/26') }],
    },
    CONTEXT,
  )[0] ?? Buffer.alloc(0);
const OPEN = encodeMessage({
  type: 'OPEN',
  myAs: 65001,
  holdTime: 90,
  identifier: NEXT_HOP,
  capabilities: [
    { name: 'multiprotocol', family: IPV4_UNICAST },
    { name: 'four-octet-as', asn: 65001 },
  ],
});

function peer(view: BmpView): PeerHeader {
  return {
    view,
    instance: 0,
    distinguisher: 0n,
    address: parseIP('2001:db8::2'),
    asn: 65001,
    identifier: NEXT_HOP,
    twoOctetAs: false,
    time: 1_700_000_000_123_456n,
  };
}

const FIELDS = [
  '_ws.malformed.expert',
  'bmp.type',
  'bmp.peer.type',
  'bmp.peer.flags.post_policy',
  'bmp.peer.flags.adj_rib_out',
  'bmp.peer.ipv6.addr',
  'bmp.peer.asn',
  'bmp.peer.down.reason',
  'bmp.peer.up.port.remote',
  'bmp.stats.type',
  'bmp.stats.data.prefix_rej',
  'bmp.stats.data.routes_per_adj_rib_in',
  'bmp.init.info',
  'bgp.type',
  'bgp.nlri_prefix',
  'bgp.open.myas',
] as const;

function station(messages: readonly (BmpMessage | Buffer)[]) {
  const segments = messages.map((message) => ({
    port: STATION,
    payload: Buffer.isBuffer(message) ? message : encodeBmp(message),
  }));
  const seen = dissect(segments, FIELDS, ['-d', `tcp.port==${STATION},bmp`]);
  for (const one of seen) assert.deepEqual(one['_ws.malformed.expert'], []);
  return seen;
}

test('tshark reads a session with a station, from Initiation to Termination', () => {
  const [initiation, up, routes, statistics, down, termination] = station([
    encodeInitiation('leaf-1', 'Tombolo'),
    {
      type: 'peer-up',
      peer: peer('adj-rib-in-pre'),
      localAddress: parseIP('2001:db8::1'),
      localPort: 179,
      remotePort: 40123,
      sentOpen: OPEN,
      receivedOpen: OPEN,
      information: [],
    },
    { type: 'route-monitoring', peer: peer('adj-rib-in-post'), update: UPDATE },
    {
      type: 'statistics',
      peer: peer('adj-rib-in-pre'),
      statistics: [
        { type: STATISTIC.rejectedPrefixes, value: 7n },
        { type: STATISTIC.familyAdjRibIn, family: IPV6_UNICAST, value: 9n },
      ],
    },
    {
      type: 'peer-down',
      peer: peer('adj-rib-in-pre'),
      reason: { kind: 'remote-notification', notification: encodeMessage(cease(4)) },
    },
    { type: 'termination', reason: 0 },
  ]);
  assert.deepEqual(initiation?.['bmp.init.info'], ['Tombolo', 'leaf-1']);
  assert.deepEqual(up?.['bmp.peer.ipv6.addr'], ['2001:db8::2']);
  assert.deepEqual(up?.['bmp.peer.up.port.remote'], ['40123']);
  assert.deepEqual(up?.['bgp.open.myas'], ['65001', '65001']);
  assert.deepEqual(routes?.['bgp.nlri_prefix'], ['10.244.2.0']);
  assert.deepEqual(routes?.['bmp.peer.flags.post_policy'], ['1']);
  assert.deepEqual(statistics?.['bmp.stats.type'], ['0', '9']);
  assert.deepEqual(statistics?.['bmp.stats.data.prefix_rej'], ['7']);
  assert.deepEqual(statistics?.['bmp.stats.data.routes_per_adj_rib_in'], ['9']);
  assert.deepEqual(down?.['bmp.peer.down.reason'], ['3']);
  assert.deepEqual(down?.['bgp.type'], ['3']);
  assert.deepEqual(termination?.['bmp.type'], ['5']);
});

test('tshark tells the views of Adj-RIB-Out and Loc-RIB apart', () => {
  const locRib = locRibPeerUp(
    { asn: 65000, identifier: NEXT_HOP, families: [IPV4_UNICAST], addPath: [], tableName: 'global' },
    0n,
  );
  const [sent, up, chosen] = station([
    { type: 'route-monitoring', peer: peer('adj-rib-out-post'), update: UPDATE },
    // tshark 4.0 takes the information behind the OPENs for one more BGP message.
    { ...locRib, information: [] },
    { type: 'route-monitoring', peer: locRib.peer, update: UPDATE },
  ]);
  assert.deepEqual(sent?.['bmp.peer.flags.adj_rib_out'], ['1']);
  assert.deepEqual(sent?.['bmp.peer.flags.post_policy'], ['1']);
  assert.deepEqual(up?.['bmp.peer.type'], ['3']);
  assert.deepEqual(up?.['bgp.open.myas'], ['65000', '65000']);
  assert.deepEqual(chosen?.['bmp.peer.type'], ['3']);
  assert.deepEqual(chosen?.['bgp.nlri_prefix'], ['10.244.2.0']);
});

function bgpdump(records: readonly Buffer[]): string[] {
  const output = withFile(Buffer.concat(records), (path) =>
    execFileSync('bgpdump', ['-m', path], {
      encoding: 'utf8',
      timeout: 30_000,
      stdio: ['ignore', 'pipe', 'ignore'],
    }),
  );
  return output.trim().split('\n');
}

const TIME = 1_700_000_000_250;

test('bgpdump reads a table that was dumped, of both families', () => {
  const attributes = encodeAttributes(ATTRIBUTES, CONTEXT);
  const six = bytesOf(parseIP('2001:db8::2'));
  const peers = [
    { identifier: NEXT_HOP, address: NEXT_HOP, asn: 65001 },
    { identifier: NEXT_HOP, address: parseIP('2001:db8::2'), asn: 4200000001 },
  ];
  const four = { peer: 0, originated: TIME, attributes, nextHop: bytesOf(NEXT_HOP) };
  const lines = bgpdump([
    encodePeerIndexTable(TIME, parseIPv4('10.0.0.1'), 'global', peers),
    encodeRibRecord(TIME, 0, parsePrefix('10.244.2.0/26'), [four, { ...four, peer: 1 }]),
    encodeRibRecord(TIME, 1, parsePrefix('2001:db8:1::/48'), [{ ...four, peer: 1, nextHop: six }]),
  ]);
  const rest = '65001 4200000000|IGP';
  assert.deepEqual(lines, [
    `TABLE_DUMP2|1700000000|B|10.0.0.2|65001|10.244.2.0/26|${rest}|10.0.0.2|0|0|65001:0|NAG||`,
    `TABLE_DUMP2|1700000000|B|2001:db8::2|4200000001|10.244.2.0/26|${rest}|10.0.0.2|0|0|65001:0|NAG||`,
    `TABLE_DUMP2|1700000000|B|2001:db8::2|4200000001|2001:db8:1::/48|${rest}|2001:db8::2|0|0|65001:0|NAG||`,
  ]);
});

test('bgpdump reads the messages and the states of a session', () => {
  const session: MrtSession = {
    peerAs: 65001,
    localAs: 65000,
    peerAddress: NEXT_HOP,
    localAddress: parseIP('10.0.0.1'),
    interfaceIndex: 0,
  };
  const lines = bgpdump([
    encodeBgp4mpStateChange(TIME, session, 5, 6),
    encodeBgp4mpMessage(TIME, session, UPDATE),
  ]);
  assert.deepEqual(lines, [
    'BGP4MP_ET|1700000000.250000|STATE|10.0.0.2|65001|5|6',
    'BGP4MP_ET|1700000000.250000|A|10.0.0.2|65001|10.244.2.0/26|65001 4200000000|IGP|10.0.0.2|0|0|65001:0|NAG||',
  ]);
});
