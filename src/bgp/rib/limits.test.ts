import assert from 'node:assert/strict';
import { test } from 'node:test';
import { parseIP, parseIPv4 } from '../../address/ip.ts';
import { findAttribute } from '../wire/attribute.ts';
import { IPV4_UNICAST, IPV6_UNICAST } from '../wire/family.ts';
import { AttributeReader } from './attributeReader.ts';
import { explain } from './explain.ts';
import { FullError } from './full.ts';
import { AS_PATH, AttributeBlock, eachAttribute, ORIGIN } from './pathAttributes.ts';
import { attributesOf, Neighbour, nlriOf, ribPeer, VirtualClock } from './rib.rig.ts';
import { Rib } from './rib.ts';

const identifier = parseIPv4('10.0.0.254');
const client = { type: 'ibgp', reflectorClient: true } as const;

test('a full table refuses what is one too many, keeps the rest, and has room again when something goes', () => {
  const clock = new VirtualClock();
  const rib = new Rib({ clock, identifier, capacity: 3 });
  const [a, b] = ['n1', 'n2'].map((name) => new Neighbour(ribPeer(name)).up(rib)) as [Neighbour, Neighbour];
  a.announce(['10.1.0.0/24', '10.2.0.0/24', '10.3.0.0/24'], attributesOf({ path: [65001] }));
  assert.throws(() => b.announce(['10.4.0.0/24'], attributesOf({ path: [65002] })), FullError);
  // What there is already is no addition.
  b.announce(['10.1.0.0/24'], attributesOf({ path: [65002] }));
  clock.settle();
  assert.equal(rib.family(IPV4_UNICAST).table.size, 3);
  assert.deepEqual([...b.told.keys()].sort(), ['10.1.0.0/24', '10.2.0.0/24', '10.3.0.0/24']);
  a.withdraw(['10.2.0.0/24']);
  clock.settle();
  b.announce(['10.4.0.0/24'], attributesOf({ path: [65002] }));
  clock.settle();
  assert.ok(a.told.has('10.4.0.0/24'));
});

test('a router that becomes another one finds loops by its new numbers, and reflects with them', () => {
  const clock = new VirtualClock();
  const rib = new Rib({ clock, identifier, clusterId: parseIPv4('192.0.2.1') });
  const [a, b] = ['n1', 'n2'].map((name) => new Neighbour(ribPeer(name, client)).up(rib)) as [
    Neighbour,
    Neighbour,
  ];
  const clusters = (prefix: string) => findAttribute(b.told.get(prefix) ?? [], 'CLUSTER_LIST')?.clusters;
  const of = (number: string) => attributesOf({ localPreference: 100, clusters: [parseIPv4(number)] });
  a.announce(['10.1.0.0/24'], attributesOf({ localPreference: 100 }));
  a.announce(['10.2.0.0/24'], of('192.0.2.2'));
  a.announce(['10.3.0.0/24'], of('192.0.2.1'));
  clock.settle();
  assert.deepEqual([...b.told.keys()].sort(), ['10.1.0.0/24', '10.2.0.0/24']);
  assert.deepEqual(clusters('10.1.0.0/24'), [parseIPv4('192.0.2.1')]);
  rib.identify({ identifier, clusterId: parseIPv4('192.0.2.2') });
  clock.settle();
  assert.deepEqual([...b.told.keys()].sort(), ['10.1.0.0/24', '10.3.0.0/24']);
  assert.deepEqual(clusters('10.1.0.0/24'), [parseIPv4('192.0.2.2')]);
});

test('an AS_PATH that outgrows its length when it is widened makes the route unusable, not the rest', () => {
  const reader = new AttributeReader(ribPeer('n1', { fourOctetAs: false }), new AttributeBlock());
  const segment = Buffer.concat([Buffer.of(2, 255), Buffer.alloc(510, 1)]);
  const path = Buffer.concat(Array.from({ length: 100 }, () => segment));
  const header = Buffer.of(0x50, AS_PATH, path.length >> 8, path.length & 255);
  const message = Buffer.concat([Buffer.of(0x40, ORIGIN, 1, 0), header, path]);
  reader.read({ message, attributes: { start: 0, end: message.length }, withdrawn: [], announced: [] });
  assert.equal(reader.block.overflowed, true);
  const types: number[] = [];
  eachAttribute(reader.block.bytes, 0, reader.block.length, (type) => types.push(type));
  assert.deepEqual(types, [ORIGIN]);
  reader.read({ message, attributes: { start: 0, end: 4 }, withdrawn: [], announced: [] });
  assert.equal(reader.block.overflowed, false);
});

test('a next hop that is this router itself, or no host, makes a route unusable and ends no session', () => {
  const clock = new VirtualClock();
  const rib = new Rib({ clock, identifier });
  const family = { addPathReceive: false, addPathSend: false, extendedNextHop: false, preserved: false };
  const families = [IPV4_UNICAST, IPV6_UNICAST].map((one) => ({ family: one, ...family }));
  const localAddress6 = parseIP('2001:db8::254');
  const peer = new Neighbour(ribPeer('n1', { families, localAddress6 })).up(rib);
  const cases: [hop: string, line: string][] = [
    ['2001:db8::254', 'next hop: this router itself'],
    ['::', 'next hop: :: is not the address of a host'],
    ['::1', 'next hop: ::1 is not the address of a host'],
    ['ff02::1', 'next hop: ff02::1 is not the address of a host'],
    ['2001:db8::1', 'no filter'],
    ['fe80::1', 'no filter'],
  ];
  for (const [index, [hop]] of cases.entries()) {
    const nlri = [nlriOf(`2001:db8:${index + 1}::/48`)];
    const reach = {
      type: 'MP_REACH_NLRI',
      family: IPV6_UNICAST,
      nextHop: { address: parseIP(hop) },
      nlri,
    } as const;
    const attributes = attributesOf({ path: [65001] }).filter(({ type }) => type !== 'NEXT_HOP');
    peer.say({ attributes: [...attributes, reach] });
  }
  peer.announce(['10.1.0.0/24'], attributesOf({ path: [65001], nextHop: '10.0.0.254' }));
  clock.settle();
  const lineOf = (address: string) => explain(rib, address)?.paths[0]?.import;
  for (const [index, [, line]] of cases.entries()) assert.equal(lineOf(`2001:db8:${index + 1}::1`), line);
  assert.equal(lineOf('10.1.0.1'), 'next hop: this router itself');
});
