import assert from 'node:assert/strict';
import { test } from 'node:test';
import { parseIP, parseIPv4 } from '../../address/ip.ts';
import { parsePrefix } from '../../address/prefix.ts';
import type { Attribute } from '../wire/attribute.ts';
import type { RouteDistinguisher } from '../wire/distinguisher.ts';
import { type AfiSafi, IPV4_VPN, ROUTE_TARGET } from '../wire/family.ts';
import type { Nlri } from '../wire/nlri.ts';
import { attributesOf, Neighbour, ribPeer, VirtualClock } from './rib.rig.ts';
import { Rib } from './rib.ts';
import { RouteTargets } from './routeTargets.ts';

const family = { addPathReceive: false, addPathSend: false, extendedNextHop: false, preserved: false };
const familiesOf = (...all: AfiSafi[]) => all.map((one) => ({ family: one, ...family }));
const client = { type: 'ibgp', reflectorClient: true } as const;
const constrained = { ...client, families: familiesOf(ROUTE_TARGET, IPV4_VPN) };

const target = (number: number): bigint => 0x0002fc0000000000n | BigInt(number);
const membership = (number: number, length = 96): Nlri => ({
  kind: 'route-target',
  length,
  originAs: length === 0 ? 0 : 64512,
  target: length === 0 ? 0n : target(number),
});

function announce(from: Neighbour, of: AfiSafi, nlri: Nlri, more: readonly Attribute[] = []): void {
  const nextHop = { address: parseIP('10.0.0.1') };
  const reach: Attribute = { type: 'MP_REACH_NLRI', family: of, nextHop, nlri: [nlri] };
  const rest = attributesOf({ localPreference: 100 }).filter(({ type }) => type !== 'NEXT_HOP');
  from.say({ attributes: [reach, ...rest, ...more] });
}

const vpn = (number: number): Nlri => ({
  kind: 'vpn',
  labels: [100],
  distinguisher: 0x0000fc0000000001n as RouteDistinguisher,
  prefix: parsePrefix(`10.${number}.0.0/16`),
});

const withTarget = (number: number): Attribute[] => [
  { type: 'EXTENDED_COMMUNITIES', communities: [target(number)] },
];

function world() {
  const clock = new VirtualClock();
  const rib = new Rib({ clock, identifier: parseIPv4('10.0.0.254') });
  const up = (name: string, changes = {}) =>
    new Neighbour(ribPeer(name, { ...constrained, ...changes })).up(rib);
  return { clock, rib, up };
}

const routes = (neighbour: Neighbour) =>
  [...neighbour.told.keys()].filter((key) => key.includes('vpn')).length;
const targets = (neighbour: Neighbour) =>
  [...neighbour.told.keys()].filter((key) => key.includes('route-target')).length;

test('a peer gets the VPN routes of the targets it has asked for, as it asks, and no others', () => {
  const { clock, rib, up } = world();
  const source = up('n1');
  const some = up('n2');
  const all = up('n3');
  const careless = up('n4', { families: familiesOf(IPV4_VPN) });
  for (const number of [1, 2, 3]) announce(source, IPV4_VPN, vpn(number), withTarget(number));
  clock.settle();
  assert.deepEqual(
    [some, all, careless].map(routes),
    [0, 0, 3],
    'who does not speak of targets gets everything',
  );
  announce(some, ROUTE_TARGET, membership(1));
  announce(all, ROUTE_TARGET, membership(0, 0));
  clock.settle();
  assert.deepEqual([some, all].map(routes), [1, 3]);
  announce(some, ROUTE_TARGET, membership(2));
  announce(source, IPV4_VPN, vpn(4), withTarget(2));
  clock.settle();
  assert.equal(routes(some), 3);
  some.say({ attributes: [{ type: 'MP_UNREACH_NLRI', family: ROUTE_TARGET, nlri: [membership(2)] }] });
  clock.settle();
  assert.equal(routes(some), 1, 'what is no longer wanted is withdrawn');
  some.session?.down({ kind: 'none' });
  some.up(rib);
  clock.settle();
  assert.equal(routes(some), 0, 'a new session begins with nothing');
});

test('a target that two clients ask for is told to both, or neither would send the other its routes', () => {
  const { clock, up } = world();
  const [a, b] = [up('n1'), up('n2')];
  announce(a, ROUTE_TARGET, membership(7));
  clock.settle();
  assert.deepEqual([targets(a), targets(b)], [1, 1]);
  announce(b, ROUTE_TARGET, membership(7));
  clock.settle();
  assert.deepEqual([targets(a), targets(b)], [1, 1]);
});

test('End-of-RIB of a constrained family waits for that of the targets, or a minute', () => {
  const { clock, up } = world();
  const [quick, silent] = [up('n1'), up('n2')];
  clock.settle();
  assert.deepEqual([quick.endOfRibs, silent.endOfRibs], [1, 1], 'of the targets alone');
  quick.session?.endOfRib(ROUTE_TARGET);
  clock.settle();
  assert.deepEqual([quick.endOfRibs, silent.endOfRibs], [2, 1]);
  clock.advance(60_000);
  assert.deepEqual([quick.endOfRibs, silent.endOfRibs], [2, 2]);
});

test('targets are asked for whole, by prefix, or all at once', () => {
  const bytes = (number: number) => {
    const value = Buffer.alloc(8);
    value.writeBigUInt64BE(target(number));
    return value;
  };
  const attributes = (number: number) => Buffer.concat([Buffer.of(0xc0, 16, 8), bytes(number)]);
  const nlri = (length: number, number: number) =>
    Buffer.concat([Buffer.of(length, 0, 0, 0xfc, 0), bytes(number)]).subarray(0, 1 + ((length + 7) >> 3));
  const wants = (length: number, asked: number, has: number) =>
    new RouteTargets([nlri(length, asked)]).wants(attributes(has));
  assert.ok(wants(96, 5, 5));
  assert.ok(!wants(96, 5, 4));
  assert.ok(wants(95, 5, 4), 'the last bit is left out');
  assert.ok(!wants(95, 5, 6));
  assert.ok(wants(32, 0, 9), 'the AS alone');
  assert.ok(wants(0, 0, 9));
  assert.ok(!new RouteTargets([]).wants(attributes(1)));
  assert.ok(!new RouteTargets([nlri(0, 0)]).wants(Buffer.alloc(0)), 'a route without any target');
  assert.equal(
    new RouteTargets([nlri(96, 1), nlri(96, 2)]).key,
    new RouteTargets([nlri(96, 2), nlri(96, 1)]).key,
  );
});
