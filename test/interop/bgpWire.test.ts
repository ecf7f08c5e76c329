import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { formatIP, type IPv4, type IPv6 } from '../../src/address/ip.ts';
import { networkOf, type Prefix } from '../../src/address/prefix.ts';
import { attributes, CONTEXT, mpReach, open } from '../../src/bgp/wire/arbitrary.ts';
import {
  type Attribute,
  type AttributeOf,
  type AttributeType,
  findAttribute,
} from '../../src/bgp/wire/attribute.ts';
import { capabilityCode } from '../../src/bgp/wire/capability.ts';
import { encodeUpdate } from '../../src/bgp/wire/encodeUpdate.ts';
import { IPV4_UNICAST, IPV4_VPN, IPV6_UNICAST, L2VPN_EVPN } from '../../src/bgp/wire/family.ts';
import { MAX_EXTENDED_LENGTH } from '../../src/bgp/wire/frame.ts';
import { encodeMessage } from '../../src/bgp/wire/message.ts';
import type { EvpnNlri, VpnNlri } from '../../src/bgp/wire/nlri.ts';
import { cease, hardReset } from '../../src/bgp/wire/notification.ts';
import type { Update, UpdateContext } from '../../src/bgp/wire/update.ts';
import { dissect } from './capture.ts';

const BGP = 179;
const SEED = 7606;
const MALFORMED = '_ws.malformed.expert';
/** Without add-path: tshark has to guess whether it is there, and guesses wrong on random bytes. */
const PLAIN: UpdateContext = { ...CONTEXT, addPath: new Set() };

/** Prefixes as networks have them, which tshark does not take for path identifiers. */
const prefix4 = fc
  .tuple(fc.integer({ min: 0x01000000, max: 0xdfffffff }), fc.integer({ min: 8, max: 32 }))
  .map(([address, length]) => networkOf({ address: address as IPv4, length }));
const prefix6 = fc
  .tuple(fc.bigInt({ min: 0x2000n << 112n, max: (0x3fffn << 112n) - 1n }), fc.integer({ min: 19, max: 128 }))
  .map(([address, length]) => networkOf({ address: address as IPv6, length }));
const prefixes = (prefix: fc.Arbitrary<Prefix>) => fc.array(prefix, { minLength: 1, maxLength: 60 });
const asRoutes = (list: Prefix[]) => list.map((prefix) => ({ kind: 'prefix' as const, prefix }));

function encoded(update: Update): Buffer {
  const [bytes] = encodeUpdate(update, PLAIN, MAX_EXTENDED_LENGTH);
  assert.ok(bytes);
  return bytes;
}

function networks(list: readonly Prefix[]): string[] {
  return list.map(({ address }) => formatIP(address));
}

function lengths(list: readonly Prefix[]): string[] {
  return list.map(({ length }) => String(length));
}

function present<T extends AttributeType>(list: readonly Attribute[], type: T): AttributeOf<T>[] {
  const found = findAttribute(list, type);
  return found === undefined ? [] : [found];
}

test('tshark reads the IPv4 routes and attributes that were written', () => {
  const cases = fc.sample(fc.tuple(attributes(true), prefixes(prefix4), prefixes(prefix4)), {
    numRuns: 300,
    seed: SEED,
  });
  const messages = cases.map(([list, nlri]) =>
    encoded({ type: 'UPDATE', withdrawn: [], attributes: list, nlri: asRoutes(nlri) }),
  );
  const attribute = 'bgp.update.path_attribute';
  const seen = dissect(
    messages.map((payload) => ({ port: BGP, payload })),
    [
      MALFORMED,
      'bgp.nlri_prefix',
      'bgp.prefix_length',
      `${attribute}.origin`,
      `${attribute}.as_path_segment.as4`,
      `${attribute}.next_hop`,
      `${attribute}.multi_exit_disc`,
      `${attribute}.local_pref`,
      `${attribute}.originator_id`,
      'bgp.path_attribute.cluster_id',
      `${attribute}.aggregator_as`,
      'bgp.large_communities.ldp1',
    ] as const,
    ['-o', 'bgp.asn_len:4 octet'],
  );
  cases.forEach(([list, nlri], index) => {
    const got = seen[index];
    assert.ok(got);
    assert.deepEqual(got[MALFORMED], []);
    assert.deepEqual(got['bgp.nlri_prefix'], networks(nlri));
    assert.deepEqual(got['bgp.prefix_length'], lengths(nlri));
    const origins = ['IGP', 'EGP', 'INCOMPLETE'];
    const [origin] = present(list, 'ORIGIN');
    assert.deepEqual(got[`${attribute}.origin`], [String(origins.indexOf(origin?.origin ?? ''))]);
    const [path] = present(list, 'AS_PATH');
    const asns = path?.segments.flatMap((segment) => segment.asns.map(String));
    assert.deepEqual(got[`${attribute}.as_path_segment.as4`], asns);
    const numbers = (type: 'MULTI_EXIT_DISC' | 'LOCAL_PREF') =>
      present(list, type).map(({ value }) => String(value));
    assert.deepEqual(got[`${attribute}.multi_exit_disc`], numbers('MULTI_EXIT_DISC'));
    assert.deepEqual(got[`${attribute}.local_pref`], numbers('LOCAL_PREF'));
    const hops = present(list, 'NEXT_HOP').map(({ address }) => formatIP(address));
    assert.deepEqual(got[`${attribute}.next_hop`], hops);
    const originators = present(list, 'ORIGINATOR_ID').map(({ identifier }) => formatIP(identifier));
    assert.deepEqual(got[`${attribute}.originator_id`], originators);
    const clusters = present(list, 'CLUSTER_LIST').flatMap((one) => one.clusters.map(formatIP));
    assert.deepEqual(got['bgp.path_attribute.cluster_id'], clusters);
    const aggregators = present(list, 'AGGREGATOR').map(({ asn }) => String(asn));
    assert.deepEqual(got[`${attribute}.aggregator_as`], aggregators);
    const large = present(list, 'LARGE_COMMUNITIES').flatMap((one) =>
      one.communities.map(({ localData1 }) => String(localData1)),
    );
    assert.deepEqual(got['bgp.large_communities.ldp1'], large);
  });
});

test('tshark reads the withdrawals and the IPv6 routes that were written', () => {
  const cases = fc.sample(fc.tuple(prefixes(prefix4), prefixes(prefix6)), { numRuns: 100, seed: SEED });
  const nextHop = { address: 0x20010db8000000000000000000000001n as IPv6 };
  const basics: Attribute[] = [
    { type: 'ORIGIN', origin: 'IGP' },
    { type: 'AS_PATH', segments: [{ type: 'AS_SEQUENCE', asns: [64512, 4200000000] }] },
    { type: 'LOCAL_PREF', value: 100 },
  ];
  const messages = cases.flatMap(([four, six]) => {
    const nlri = asRoutes(six);
    const reach: Attribute = { type: 'MP_REACH_NLRI', family: IPV6_UNICAST, nextHop, nlri };
    const unreach: Attribute = { type: 'MP_UNREACH_NLRI', family: IPV6_UNICAST, nlri };
    return [
      encoded({ type: 'UPDATE', withdrawn: asRoutes(four), attributes: [], nlri: [] }),
      encoded({ type: 'UPDATE', withdrawn: [], attributes: [reach, ...basics], nlri: [] }),
      encoded({ type: 'UPDATE', withdrawn: [], attributes: [unreach], nlri: [] }),
    ];
  });
  const fields = [
    MALFORMED,
    'bgp.withdrawn_prefix',
    'bgp.mp_reach_nlri_ipv6_prefix',
    'bgp.mp_unreach_nlri_ipv6_prefix',
    'bgp.prefix_length',
    'bgp.update.path_attribute.mp_reach_nlri.next_hop.ipv6',
  ] as const;
  const seen = dissect(
    messages.map((payload) => ({ port: BGP, payload })),
    fields,
  );
  cases.forEach(([four, six], index) => {
    const [withdrawn, reach, unreach] = seen.slice(3 * index, 3 * index + 3);
    assert.ok(withdrawn && reach && unreach);
    for (const one of [withdrawn, reach, unreach]) assert.deepEqual(one[MALFORMED], []);
    assert.deepEqual(withdrawn['bgp.withdrawn_prefix'], networks(four));
    assert.deepEqual(withdrawn['bgp.prefix_length'], lengths(four));
    assert.deepEqual(reach['bgp.prefix_length'], lengths(six));
    assert.deepEqual(reach['bgp.mp_reach_nlri_ipv6_prefix'].map(compressed), networks(six).map(compressed));
    assert.deepEqual(
      unreach['bgp.mp_unreach_nlri_ipv6_prefix'].map(compressed),
      networks(six).map(compressed),
    );
    assert.deepEqual(reach['bgp.update.path_attribute.mp_reach_nlri.next_hop.ipv6'], ['2001:db8::1']);
  });
});

/** One spelling: a single zero group is written as :: by some and as 0 by RFC 5952. */
function compressed(address: string): string {
  return new URL(`http://[${address}]/`).hostname;
}

test('tshark reads the EVPN and VPN routes that were written', () => {
  const reaches = fc
    .sample(mpReach, { numRuns: 1500, seed: SEED })
    .filter(({ family }) => family === L2VPN_EVPN || family === IPV4_VPN)
    .map((reach) => ({
      ...reach,
      nlri: reach.nlri.filter(
        (one) => one.kind !== 'evpn-other' && !(one.kind === 'vpn' && one.prefix.length < 8),
      ),
    }))
    .filter(({ nlri }) => nlri.length > 0);
  assert.ok(reaches.length > 100);
  const messages = reaches.map((reach) =>
    encoded({ type: 'UPDATE', withdrawn: [], attributes: [reach], nlri: [] }),
  );
  const evpn = 'bgp.evpn.nlri';
  const fields = [
    MALFORMED,
    `${evpn}.rt`,
    `${evpn}.mac_addr`,
    `${evpn}.etag`,
    'bgp.mp_reach_nlri_ipv4_prefix',
  ] as const;
  const seen = dissect(
    messages.map((payload) => ({ port: BGP, payload })),
    fields,
  );
  reaches.forEach(({ family, nlri }, index) => {
    const got = seen[index];
    assert.ok(got);
    assert.deepEqual(got[MALFORMED], []);
    if (family === IPV4_VPN) {
      const routes = nlri as readonly VpnNlri[];
      assert.deepEqual(got['bgp.mp_reach_nlri_ipv4_prefix'], networks(routes.map(({ prefix }) => prefix)));
      return;
    }
    const types: Readonly<Record<string, string>> = {
      'evpn-mac-ip': '2',
      'evpn-multicast': '3',
      'evpn-prefix': '5',
    };
    const routes = nlri as readonly EvpnNlri[];
    assert.deepEqual(
      got[`${evpn}.rt`],
      routes.map(({ kind }) => types[kind]),
    );
    assert.deepEqual(
      got[`${evpn}.mac_addr`],
      routes.flatMap((route) => (route.kind === 'evpn-mac-ip' ? [route.mac] : [])),
    );
    assert.deepEqual(
      got[`${evpn}.etag`],
      routes.flatMap((route) => (route.kind === 'evpn-other' ? [] : [String(route.tag)])),
    );
  });
});

test('tshark reads the OPENs that were written', () => {
  // Capabilities of random codes and bytes may be ones that tshark knows, and finds broken.
  const opens = fc
    .sample(open, { numRuns: 300, seed: SEED })
    .map((one) => ({ ...one, capabilities: one.capabilities.filter(({ name }) => name !== 'unknown') }));
  const seen = dissect(
    opens.map((message) => ({ port: BGP, payload: encodeMessage(message) })),
    ['bgp.open.myas', 'bgp.open.holdtime', 'bgp.open.identifier', 'bgp.cap.type', 'bgp.cap.4as'] as const,
  );
  opens.forEach((message, index) => {
    const got = seen[index];
    assert.ok(got);
    assert.deepEqual(got['bgp.open.myas'], [String(message.myAs)]);
    assert.deepEqual(got['bgp.open.holdtime'], [String(message.holdTime)]);
    assert.deepEqual(got['bgp.open.identifier'], [formatIP(message.identifier)]);
    // tshark 4.0 does not know RFC 9072 and sees one parameter of type 255.
    if (encodeMessage(message)[29] === 255) return;
    const codes = message.capabilities.map((one) => String(capabilityCode(one)));
    assert.deepEqual(got['bgp.cap.type'], codes);
    const asns = message.capabilities.flatMap((one) =>
      one.name === 'four-octet-as' ? [String(one.asn)] : [],
    );
    assert.deepEqual(got['bgp.cap.4as'], asns);
  });
});

test('tshark reads NOTIFICATION, its words, and ROUTE-REFRESH', () => {
  const messages = [
    encodeMessage(cease(2, 'rack 12 moves')),
    encodeMessage(hardReset(cease(3))),
    encodeMessage({ type: 'ROUTE-REFRESH', family: IPV4_UNICAST, subtype: 1 }),
    encodeMessage({ type: 'KEEPALIVE' }),
  ];
  const [shutdown, hard, refresh, keepalive] = dissect(
    messages.map((payload) => ({ port: BGP, payload })),
    [
      'bgp.type',
      'bgp.notify.major_error',
      'bgp.notify.minor_error_cease',
      'bgp.notify.communication',
      'bgp.route_refresh.subtype',
    ] as const,
  );
  assert.deepEqual(shutdown?.['bgp.notify.communication'], ['rack 12 moves']);
  assert.deepEqual(shutdown?.['bgp.notify.minor_error_cease'], ['2']);
  assert.deepEqual(hard?.['bgp.notify.minor_error_cease'], ['9']);
  assert.deepEqual(refresh?.['bgp.route_refresh.subtype'], ['1']);
  assert.deepEqual(keepalive?.['bgp.type'], ['4']);
});
