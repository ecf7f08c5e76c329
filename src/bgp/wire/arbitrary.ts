import fc from 'fast-check';
import type { IP, IPv4, IPv6 } from '../../address/ip.ts';
import { macFromBytes } from '../../address/mac.ts';
import { networkOf, type Prefix } from '../../address/prefix.ts';
import type { Attribute, MpReach, MpUnreach, Segment } from './attribute.ts';
import { attributeRow } from './attributeCodec.ts';
import type { Capability } from './capability.ts';
import type { RouteDistinguisher } from './distinguisher.ts';
import {
  type AfiSafi,
  afiSafiOf,
  IPV4_UNICAST,
  IPV4_VPN,
  IPV6_UNICAST,
  IPV6_VPN,
  L2VPN_EVPN,
  ROUTE_TARGET,
} from './family.ts';
import type { EvpnNlri, Nlri, RouteTargetNlri, UnicastNlri, VpnNlri } from './nlri.ts';
import type { Open } from './open.ts';
import type { Update, UpdateContext } from './update.ts';

/** What properties are tested with: every message that may exist, once per type. */

/** Records as the decoders make them, with a prototype. */
function record<T>(model: { [K in keyof T]: fc.Arbitrary<T[K]> }): fc.Arbitrary<T> {
  return fc.record(model, { noNullPrototype: true }) as fc.Arbitrary<T>;
}

const u8 = fc.integer({ min: 0, max: 0xff });
const u16 = fc.integer({ min: 0, max: 0xffff });
const u24 = fc.integer({ min: 0, max: 0xffffff });
const asn = fc.integer({ min: 1, max: 0xffffffff });
const family = fc.tuple(u16, u8).map(([afi, safi]) => afiSafiOf(afi, safi));
const few = <T>(one: fc.Arbitrary<T>, minLength = 0) => fc.array(one, { minLength, maxLength: 6 });
const known = new Set([1, 2, 5, 6, 9, 64, 65, 69, 70, 71, 73]);
const name = fc.string({ maxLength: 30, unit: 'grapheme' }).filter((text) => Buffer.byteLength(text) < 120);

export const capability: fc.Arbitrary<Capability> = fc.oneof(
  record({ name: fc.constant('multiprotocol' as const), family }),
  fc.constantFrom<Capability>(
    { name: 'route-refresh' },
    { name: 'extended-message' },
    { name: 'enhanced-route-refresh' },
  ),
  record({
    name: fc.constant('extended-next-hop' as const),
    entries: few(record({ family, nextHopAfi: u16 })),
  }),
  record({ name: fc.constant('role' as const), role: u8 }),
  record({
    name: fc.constant('graceful-restart' as const),
    restarting: fc.boolean(),
    notification: fc.boolean(),
    restartTime: fc.integer({ min: 0, max: 4095 }),
    families: few(record({ family, forwardingPreserved: fc.boolean() })),
  }),
  record({ name: fc.constant('four-octet-as' as const), asn }),
  record({
    name: fc.constant('add-path' as const),
    families: few(record({ family, mode: fc.constantFrom('receive' as const, 'send', 'both') }), 1),
  }),
  record({
    name: fc.constant('long-lived-graceful-restart' as const),
    families: few(record({ family, forwardingPreserved: fc.boolean(), staleTime: u24 })),
  }),
  record({ name: fc.constant('fqdn' as const), host: name, domain: name }),
  record({
    name: fc.constant('unknown' as const),
    code: u8.filter((code) => !known.has(code)),
    value: fc.uint8Array({ maxLength: 255 }).map((bytes) => Buffer.from(bytes)),
  }),
);

export const open: fc.Arbitrary<Open> = record({
  type: fc.constant('OPEN' as const),
  myAs: fc.integer({ min: 1, max: 0xffff }),
  holdTime: u16.filter((time) => time !== 1 && time !== 2),
  identifier: fc.integer({ min: 1, max: 0xffffffff }).map((id) => id as IPv4),
  capabilities: fc.array(capability, { maxLength: 12 }),
});

const bool = fc.boolean();
const u32 = fc.integer({ min: 0, max: 0xffffffff });
const u64 = fc.bigInt({ min: 0n, max: 0xffffffffffffffffn });
const bytes = (maxLength: number, minLength = 0) =>
  fc.uint8Array({ minLength, maxLength }).map((value) => Buffer.from(value));
const one = <T extends string>(value: T) => fc.constant(value);

const ipv4 = u32.map((value) => value as IPv4);
const ipv6 = fc.bigInt({ min: 0n, max: (1n << 128n) - 1n }).map((value) => value as IPv6);
const ip: fc.Arbitrary<IP> = fc.oneof(ipv4, ipv6);
const prefix4: fc.Arbitrary<Prefix> = fc
  .tuple(ipv4, fc.integer({ min: 0, max: 32 }))
  .map(([address, length]) => networkOf({ address, length }));
const prefix6: fc.Arbitrary<Prefix> = fc
  .tuple(ipv6, fc.integer({ min: 0, max: 128 }))
  .map(([address, length]) => networkOf({ address, length }));
const distinguisher = u64.map((value) => value as RouteDistinguisher);
const label = fc.integer({ min: 0, max: 0xfffff });
const segment = bytes(10, 10).map((value) => value.toString('hex').replace(/..(?=.)/g, '$&:'));
const mac = bytes(6, 6).map(macFromBytes);

const unicast = (prefix: fc.Arbitrary<Prefix>): fc.Arbitrary<UnicastNlri> =>
  record({ kind: one('prefix'), prefix });

/** Short enough for a length of one byte, and not mistaken for another number of labels. */
const vpn = (prefix: fc.Arbitrary<Prefix>, withdrawn: boolean): fc.Arbitrary<VpnNlri> =>
  record({
    kind: one('vpn'),
    labels: withdrawn ? fc.constant([]) : fc.array(label, { minLength: 1, maxLength: 2 }),
    distinguisher,
    prefix,
  });

/** Even labels have no bottom-of-stack bit by chance: only the last one of a stack does. */
const prefixAndGateway = fc.oneof(fc.tuple(prefix4, ipv4), fc.tuple(prefix6, ipv6));
const evpn: fc.Arbitrary<EvpnNlri> = fc.oneof(
  fc
    .tuple(
      record({ kind: one('evpn-mac-ip'), distinguisher, segment, tag: u32, mac }),
      fc.option(ip, { nil: undefined }),
      fc.array(u24, { minLength: 1, maxLength: 2 }),
    )
    .map(([rest, address, labels]) => ({ ...rest, ...(address !== undefined && { ip: address }), labels })),
  record({ kind: one('evpn-multicast'), distinguisher, tag: u32, originator: ip }),
  fc
    .tuple(record({ kind: one('evpn-prefix'), distinguisher, segment, tag: u32 }), prefixAndGateway, u24)
    .map(([rest, [prefix, gateway], vni]) => ({ ...rest, prefix, gateway, label: vni })),
  record({
    kind: one('evpn-other'),
    routeType: u8.filter((type) => ![2, 3, 5].includes(type)),
    value: bytes(60),
  }),
);

const routeTarget: fc.Arbitrary<RouteTargetNlri> = fc
  .tuple(fc.constantFrom(0, ...Array.from({ length: 65 }, (_, index) => 32 + index)), u32, u64)
  .map(([length, originAs, target]) => ({
    kind: 'route-target',
    length,
    originAs: length === 0 ? 0 : originAs,
    target: length === 0 ? 0n : (target >> BigInt(96 - length)) << BigInt(96 - length),
  }));

const opaque = (withBytes: boolean) =>
  fc.tuple(one('opaque'), bytes(80, withBytes ? 1 : 0)).map(([kind, value]) => ({ kind, value }));

const addressed = (address: fc.Arbitrary<IP>) => record({ address });
const withLinkLocal = record({ address: ipv6 as fc.Arbitrary<IP>, linkLocal: ipv6 });

interface FamilyArbitrary {
  readonly family: AfiSafi;
  readonly nextHop: fc.Arbitrary<MpReach['nextHop']>;
  readonly route: (withdrawn: boolean) => fc.Arbitrary<Nlri>;
}

const FAMILIES: readonly FamilyArbitrary[] = [
  { family: IPV4_UNICAST, nextHop: fc.oneof(addressed(ip), withLinkLocal), route: () => unicast(prefix4) },
  { family: IPV6_UNICAST, nextHop: fc.oneof(addressed(ipv6), withLinkLocal), route: () => unicast(prefix6) },
  {
    family: IPV4_VPN,
    nextHop: fc.oneof(addressed(ip), withLinkLocal),
    route: (withdrawn) => vpn(prefix4, withdrawn),
  },
  {
    family: IPV6_VPN,
    nextHop: fc.oneof(addressed(ipv6), withLinkLocal),
    route: (withdrawn) =>
      vpn(
        prefix6.map(({ address, length }) => networkOf({ address, length: Math.min(length, 120) })),
        withdrawn,
      ),
  },
  { family: L2VPN_EVPN, nextHop: addressed(ip), route: () => evpn },
  { family: ROUTE_TARGET, nextHop: addressed(ip), route: () => routeTarget },
];

const unknownFamily = family.filter((value) => FAMILIES.every((known) => known.family !== value));

/** Families whose routes carry path identifiers in the properties. */
const ADD_PATH: ReadonlySet<AfiSafi> = new Set([IPV6_UNICAST, L2VPN_EVPN]);

function routes(known: FamilyArbitrary, withdrawn: boolean, minLength = 0): fc.Arbitrary<Nlri[]> {
  const route = known.route(withdrawn);
  const identified = ADD_PATH.has(known.family)
    ? fc.tuple(route, u32).map(([rest, pathId]) => ({ ...rest, pathId }) as Nlri)
    : route;
  return fc.array(identified, { minLength, maxLength: 8 });
}

export const mpReach: fc.Arbitrary<MpReach> = fc.oneof(
  ...FAMILIES.map((known) =>
    record<MpReach>({
      type: one('MP_REACH_NLRI'),
      family: fc.constant(known.family),
      nextHop: known.nextHop,
      nlri: routes(known, false, 1),
    }),
  ),
  record<MpReach>({
    type: one('MP_REACH_NLRI'),
    family: unknownFamily,
    nextHop: bytes(40),
    nlri: fc.array(opaque(true), { minLength: 1, maxLength: 1 }),
  }),
);

export const mpUnreach: fc.Arbitrary<MpUnreach> = fc.oneof(
  ...FAMILIES.map((known) =>
    record<MpUnreach>({
      type: one('MP_UNREACH_NLRI'),
      family: fc.constant(known.family),
      nlri: routes(known, true),
    }),
  ),
  record<MpUnreach>({
    type: one('MP_UNREACH_NLRI'),
    family: unknownFamily,
    nlri: fc.array(opaque(true), { maxLength: 1 }),
  }),
);

const path: fc.Arbitrary<Segment[]> = fc.array(
  record<Segment>({
    type: fc.constantFrom<Segment['type']>('AS_SET', 'AS_SEQUENCE', 'AS_CONFED_SEQUENCE', 'AS_CONFED_SET'),
    asns: fc.array(asn, { minLength: 1, maxLength: 12 }),
  }),
  { maxLength: 4 },
);

const host = ipv4.filter((address) => ![0, 127].includes(address >>> 24) && address >>> 24 < 224);
const some = <T>(value: fc.Arbitrary<T>) => fc.array(value, { minLength: 1, maxLength: 90 });

const maybePartial = <T extends Attribute>(attribute: fc.Arbitrary<T>): fc.Arbitrary<Attribute> =>
  fc
    .tuple(attribute, bool)
    .map(([rest, partial]) => (partial ? { ...rest, partial: true } : rest) as Attribute);

const unknownAttribute: fc.Arbitrary<Attribute> = fc
  .tuple(
    u8.filter((code) => attributeRow(code) === undefined),
    fc.constantFrom(0x80, 0xc0, 0xa0, 0xe0, 0x90, 0xd0),
    fc.oneof(bytes(20), bytes(400, 256)),
  )
  .map(([code, flags, value]) => ({
    type: 'UNKNOWN',
    code,
    flags: value.length > 255 ? flags | 0x10 : flags,
    value,
  }));

/** Attributes by type, none of them MP_*, each legal between internal four-octet speakers. */
const ATTRIBUTES: readonly fc.Arbitrary<Attribute>[] = [
  record({ type: one('MULTI_EXIT_DISC'), value: u32 }),
  record({ type: one('ATOMIC_AGGREGATE') }),
  maybePartial(record({ type: one('AGGREGATOR'), asn, address: ipv4 })),
  maybePartial(record({ type: one('COMMUNITIES'), communities: some(u32) })),
  record({ type: one('ORIGINATOR_ID'), identifier: ipv4 }),
  record({ type: one('CLUSTER_LIST'), clusters: some(ipv4) }),
  maybePartial(record({ type: one('EXTENDED_COMMUNITIES'), communities: some(u64) })),
  maybePartial(
    record({
      type: one('PMSI_TUNNEL'),
      flags: u8,
      tunnelType: fc.constant(6),
      label: u24,
      identifier: fc.oneof(bytes(4, 4), bytes(16, 16)),
    }),
  ),
  maybePartial(
    record({
      type: one('LARGE_COMMUNITIES'),
      communities: some(record({ globalAdministrator: u32, localData1: u32, localData2: u32 })),
    }),
  ),
  unknownAttribute,
];

const MANDATORY: readonly fc.Arbitrary<Attribute>[] = [
  record({ type: one('ORIGIN'), origin: fc.constantFrom('IGP' as const, 'EGP', 'INCOMPLETE') }),
  record({ type: one('AS_PATH'), segments: path }),
  record({ type: one('LOCAL_PREF'), value: u32 }),
];
const nextHop: fc.Arbitrary<Attribute> = record({ type: one('NEXT_HOP'), address: host });

/** Mandatory attributes and any of the others, in the order of their codes, without MP_*. */
export function attributes(withNextHop: boolean): fc.Arbitrary<Attribute[]> {
  return fc
    .tuple(
      fc.tuple(...MANDATORY),
      nextHop,
      fc.subarray([...ATTRIBUTES]).chain((chosen) => fc.tuple(...chosen)),
    )
    .map(([mandatory, hop, others]) => [...mandatory, ...(withNextHop ? [hop] : []), ...others]);
}

const ipv4Routes = fc.array(unicast(prefix4), { minLength: 1, maxLength: 40 });

/** UPDATEs as one message may have them: a single kind of route each. */
export const update: fc.Arbitrary<Update> = fc.oneof(
  ipv4Routes.map((withdrawn) => ({ type: 'UPDATE' as const, withdrawn, attributes: [], nlri: [] })),
  fc
    .tuple(attributes(true), ipv4Routes)
    .map(([list, nlri]) => ({ type: 'UPDATE' as const, withdrawn: [], attributes: list, nlri })),
  fc.tuple(attributes(false), mpReach).map(([list, reach]) => ({
    type: 'UPDATE' as const,
    withdrawn: [],
    attributes: [reach, ...list],
    nlri: [],
  })),
  mpUnreach.map((unreach) => ({ type: 'UPDATE' as const, withdrawn: [], attributes: [unreach], nlri: [] })),
);

/** The context in which {@link update} is legal. */
export const CONTEXT: UpdateContext = {
  session: 'ibgp',
  asn4: true,
  addPath: ADD_PATH,
  extendedNextHop: new Set([IPV4_UNICAST, IPV4_VPN]),
};
