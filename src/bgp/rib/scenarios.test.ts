import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { type IPv6, parseIP, parseIPv4 } from '../../address/ip.ts';
import { parseMac } from '../../address/mac.ts';
import { covers, parsePrefix } from '../../address/prefix.ts';
import type { FilterRule } from '../policy/filter.ts';
import { DEFAULT_POLICY, type PeerPolicy } from '../policy/policy.ts';
import { type Attribute, findAttribute } from '../wire/attribute.ts';
import type { RouteDistinguisher } from '../wire/distinguisher.ts';
import {
  type AfiSafi,
  IPV4_UNICAST,
  IPV4_VPN,
  IPV6_UNICAST,
  L2VPN_EVPN,
  ROUTE_TARGET,
} from '../wire/family.ts';
import type { Nlri } from '../wire/nlri.ts';
import { explain } from './explain.ts';
import type { PeerFamily, RibPeer } from './peer.ts';
import { attributesOf, Neighbour, ribPeer, VirtualClock } from './rib.rig.ts';
import { Rib } from './rib.ts';
import { query } from './ribView.ts';

const IDENTIFIER = parseIPv4('10.0.0.254');

function world(): { clock: VirtualClock; rib: Rib } {
  const clock = new VirtualClock();
  return { clock, rib: new Rib({ clock, identifier: IDENTIFIER }) };
}

function familyOf(family: AfiSafi, changes: Partial<PeerFamily> = {}): PeerFamily {
  const none = { addPathReceive: false, addPathSend: false, extendedNextHop: false, preserved: false };
  return { family, ...none, ...changes };
}

function neighbour(rib: Rib, name: string, changes: Partial<RibPeer> = {}): Neighbour {
  return new Neighbour(ribPeer(name, changes)).up(rib);
}

const client = { type: 'ibgp', reflectorClient: true } as const;
const withAddPath = { families: [familyOf(IPV4_UNICAST, { addPathSend: true })] };

test('a reflector keeps the ECMP of an anycast address for clients with add-path', () => {
  const { clock, rib } = world();
  const nodes = [1, 2, 3, 4].map((number) => neighbour(rib, `n${number}`, client));
  const watcher = neighbour(rib, 'w9', { ...client, ...withAddPath });
  const single = neighbour(rib, 's8', client);
  for (const [index, node] of nodes.entries()) {
    node.announce(['10.96.0.10/32'], attributesOf({ nextHop: `10.0.0.${index + 1}`, localPreference: 100 }));
  }
  clock.settle();
  const hops = [...watcher.told.values()].map((route) => findAttribute(route, 'NEXT_HOP')?.address);
  assert.deepEqual(new Set(hops), new Set(nodes.map(({ peer }) => peer.address)));
  assert.equal(single.told.size, 1);
  nodes[1]?.withdraw(['10.96.0.10/32']);
  clock.settle();
  assert.equal(watcher.told.size, 3);
});

test('a peer that becomes a client while its session stands is reflected to, and from', () => {
  const { clock, rib } = world();
  const [one, two] = [neighbour(rib, 'n1', { type: 'ibgp' }), neighbour(rib, 'n2', { type: 'ibgp' })];
  const hop = { nextHop: '10.0.0.1', localPreference: 100 };
  one.announce(['10.1.0.0/24'], attributesOf(hop));
  two.announce(['10.2.0.0/24'], attributesOf(hop));
  clock.settle();
  assert.deepEqual([one.told.size, two.told.size], [0, 0]);
  one.session?.configure(DEFAULT_POLICY, true);
  clock.settle();
  assert.deepEqual([one.told.size, two.told.size], [1, 1]);
  one.session?.configure(DEFAULT_POLICY, false);
  clock.settle();
  assert.deepEqual([one.told.size, two.told.size], [0, 0]);
});

test('a thousand routes of one set of attributes share messages', () => {
  const { clock, rib } = world();
  const from = neighbour(rib, 'e1');
  const to = neighbour(rib, 'e2');
  clock.settle();
  const prefixes = Array.from({ length: 1000 }, (_, index) => `10.${index >> 8}.${index & 255}.0/24`);
  for (const prefix of prefixes) from.announce([prefix], attributesOf({ path: [65001] }));
  clock.settle();
  assert.equal(to.told.size, 1000);
  assert.equal(to.messages.length, 2, 'End-of-RIB and one UPDATE');
});

test('a stalled peer holds nobody back, and hears the outcome instead of the history', () => {
  const { clock, rib } = world();
  const [from, quick, slow] = ['e1', 'e2', 'e3'].map((name) => neighbour(rib, name)) as [
    Neighbour,
    Neighbour,
    Neighbour,
  ];
  clock.settle();
  slow.full = true;
  for (let round = 0; round < 50; round++) {
    from.announce(
      ['10.1.0.0/16', '10.2.0.0/16'],
      attributesOf({ path: [65001], med: round, communities: [round] }),
    );
    if (round % 2 === 1) from.withdraw(['10.2.0.0/16']);
    clock.advance(2000);
  }
  assert.deepEqual([...quick.told.keys()], ['10.1.0.0/16']);
  const before = slow.messages.length;
  slow.drain();
  clock.settle();
  assert.deepEqual([...slow.told], [...quick.told]);
  assert.ok(slow.messages.length - before <= 3, `${slow.messages.length - before} messages`);
});

test('a change that is taken back before it was told is not told', () => {
  const { clock, rib } = world();
  const from = neighbour(rib, 'e1');
  const to = neighbour(rib, 'e2');
  from.announce(['10.1.0.0/16'], attributesOf({ path: [65001] }));
  clock.settle();
  const before = to.messages.length;
  from.withdraw(['10.1.0.0/16']);
  from.announce(['10.1.0.0/16'], attributesOf({ path: [65001] }));
  clock.settle();
  assert.equal(to.messages.length, before);
});

test('a new peer is told everything and then End-of-RIB, and nothing while the router holds back', () => {
  const { clock, rib } = world();
  rib.hold();
  const from = neighbour(rib, 'e1');
  const to = neighbour(rib, 'e2');
  from.announce(['10.1.0.0/16'], attributesOf({ path: [65001] }));
  clock.settle();
  assert.equal(to.messages.length, 0);
  rib.release();
  clock.settle();
  assert.equal(to.told.size, 1);
  assert.equal(to.endOfRibs, 1);
});

test('routes that outlast their restart time are last resort, for peers that know what that means', () => {
  const { clock, rib } = world();
  const gone = neighbour(rib, 'e1', { families: [familyOf(IPV4_UNICAST, { preserved: true })] });
  const knows = neighbour(rib, 'i2', { type: 'ibgp', longLivedGracefulRestart: true });
  const other = neighbour(rib, 'i3', { type: 'ibgp' });
  const spare = neighbour(rib, 'e4');
  gone.announce(['10.1.0.0/16', '10.2.0.0/16'], attributesOf({ path: [65001] }));
  gone.announce(['10.3.0.0/16'], attributesOf({ path: [65001], communities: [0xffff0007] }));
  spare.announce(['10.2.0.0/16'], attributesOf({ path: [65004, 1, 2, 3], nextHop: '10.0.0.4' }));
  clock.settle();
  const hop = (prefix: string) => findAttribute(knows.told.get(prefix) ?? [], 'NEXT_HOP')?.address;
  assert.equal(hop('10.2.0.0/16'), parseIP('10.0.0.1'));
  const family = { family: IPV4_UNICAST, restartTime: 10, longLivedStaleTime: 100 };
  gone.session?.down({ kind: 'stale', families: [family] });
  clock.advance(5_000);
  assert.equal(knows.told.size, 3);
  clock.advance(10_000);
  assert.equal(hop('10.2.0.0/16'), parseIP('10.0.0.4'));
  assert.deepEqual([...knows.told.keys()].sort(), ['10.1.0.0/16', '10.2.0.0/16'], 'no-llgr is withdrawn');
  assert.deepEqual(
    findAttribute(knows.told.get('10.1.0.0/16') ?? [], 'COMMUNITIES')?.communities,
    [0xffff0006],
  );
  assert.equal(other.told.has('10.1.0.0/16'), false);
  clock.advance(100_000);
  assert.deepEqual([...knows.told.keys()], ['10.2.0.0/16']);
});

test('passing the prefix limit is reported at its marks, once each', () => {
  const { clock, rib } = world();
  const policy: PeerPolicy = { ...DEFAULT_POLICY, prefixLimit: { limit: 4, warningPercent: 75 } };
  const from = neighbour(rib, 'e1', { policy });
  for (let index = 0; index < 7; index++)
    from.announce([`10.${index}.0.0/16`], attributesOf({ path: [65001] }));
  clock.settle();
  assert.deepEqual(from.limits, [`${IPV4_UNICAST} 3 warning`, `${IPV4_UNICAST} 5 exceeded`]);
});

test('new policy on a running session changes what both sides hold, and nothing else is sent', () => {
  const { clock, rib } = world();
  const from = neighbour(rib, 'e1');
  const to = neighbour(rib, 'e2');
  from.announce(['10.1.0.0/16', '10.2.0.0/16', '192.0.2.0/24'], attributesOf({ path: [65001] }));
  clock.settle();
  const rejects = (cidr: string): FilterRule => ({
    action: 'Reject',
    cidr: parsePrefix(cidr),
    matchOperator: 'In',
  });
  to.session?.configure({
    ...DEFAULT_POLICY,
    filters: [{ name: 'out', exportV4: [rejects('192.0.2.0/24')] }],
  });
  clock.settle();
  assert.deepEqual([...to.told.keys()].sort(), ['10.1.0.0/16', '10.2.0.0/16']);
  from.session?.configure({
    ...DEFAULT_POLICY,
    filters: [{ name: 'in', importV4: [rejects('10.2.0.0/16')] }],
  });
  clock.settle();
  assert.deepEqual([...to.told.keys()], ['10.1.0.0/16']);
  from.session?.configure(DEFAULT_POLICY);
  to.session?.configure(DEFAULT_POLICY);
  clock.settle();
  assert.equal(to.told.size, 3);
});

test('operations of a filter travel with the route', () => {
  const { clock, rib } = world();
  const from = neighbour(rib, 'e1');
  const operations = [
    { addCommunity: { value: '65000:7' } },
    { addCommunity: { value: '65000:1:2' } },
    { prependASPath: { prefix: [64999, 64998] } },
    { setPriority: { value: 256 } },
  ];
  const filters = [{ name: 'f', exportV4: [{ action: 'Accept' as const, operations }] }];
  const outside = neighbour(rib, 'e2', { policy: { ...DEFAULT_POLICY, filters } });
  const inside = neighbour(rib, 'i3', { type: 'ibgp', policy: { ...DEFAULT_POLICY, filters } });
  from.announce(['10.1.0.0/16'], attributesOf({ path: [65001] }));
  clock.settle();
  const told = outside.told.get('10.1.0.0/16') ?? [];
  assert.deepEqual(findAttribute(told, 'AS_PATH')?.segments, [
    { type: 'AS_SEQUENCE', asns: [64512, 64999, 64998, 65001] },
  ]);
  assert.deepEqual(findAttribute(told, 'COMMUNITIES')?.communities, [0xfde80007]);
  const large = { globalAdministrator: 65000, localData1: 1, localData2: 2 };
  assert.deepEqual(findAttribute(told, 'LARGE_COMMUNITIES')?.communities, [large]);
  assert.equal(findAttribute(told, 'LOCAL_PREF'), undefined);
  assert.equal(findAttribute(inside.told.get('10.1.0.0/16') ?? [], 'LOCAL_PREF')?.value, 0x7fffffff - 256);
});

test('whatever filters say, nothing outside the guarded ranges leaves', () => {
  const text = fc.constantFrom(
    '10.244.0.0/16',
    '10.244.1.0/24',
    '0.0.0.0/0',
    '10.96.0.10/32',
    '192.0.2.0/24',
    '10.0.0.0/8',
  );
  const rule: fc.Arbitrary<FilterRule> = fc.record({
    action: fc.constantFrom('Accept' as const, 'Reject' as const),
    cidr: text.map(parsePrefix),
    matchOperator: fc.constantFrom('Equal' as const, 'NotEqual' as const, 'In' as const, 'NotIn' as const),
  });
  fc.assert(
    fc.property(
      fc.array(rule),
      fc.array(text),
      fc.subarray(['10.244.0.0/16', '10.96.0.0/12']),
      (exportV4, routes, ranges) => {
        const { clock, rib } = world();
        const policy = { ...DEFAULT_POLICY, filters: [{ name: 'f', exportV4 }] };
        const from = neighbour(rib, 'e1');
        const to = [neighbour(rib, 'e2', { policy }), neighbour(rib, 'i3', { type: 'ibgp', policy })];
        for (const prefix of routes) from.announce([prefix], attributesOf({ path: [65001] }));
        for (const prefix of routes.slice(0, 1)) rib.originate({ prefix: parsePrefix(prefix) });
        if (routes.length % 2 === 0) clock.settle();
        rib.guard(ranges.map(parsePrefix));
        clock.settle();
        for (const prefix of to.flatMap(({ told }) => [...told.keys()])) {
          assert.ok(
            ranges.some((range) => covers(parsePrefix(range), parsePrefix(prefix))),
            prefix,
          );
        }
      },
    ),
    { numRuns: 100 },
  );
});

test('own routes are announced under the address of each session, and a draining node says so', () => {
  const { clock, rib } = world();
  const outside = neighbour(rib, 'e1');
  const inside = neighbour(rib, 'i2', { type: 'ibgp' });
  rib.originate({ prefix: parsePrefix('10.244.1.0/26'), communities: [0xfde80001] });
  clock.settle();
  const told = (of: Neighbour) => of.told.get('10.244.1.0/26') ?? [];
  assert.equal(findAttribute(told(outside), 'NEXT_HOP')?.address, parseIP('10.0.0.254'));
  assert.equal(findAttribute(told(inside), 'NEXT_HOP')?.address, parseIP('10.0.0.254'));
  assert.deepEqual(findAttribute(told(outside), 'AS_PATH')?.segments, [
    { type: 'AS_SEQUENCE', asns: [64512] },
  ]);
  rib.drain(true);
  clock.settle();
  assert.deepEqual(findAttribute(told(outside), 'COMMUNITIES')?.communities, [0xfde80001, 0xffff0000]);
  assert.equal(findAttribute(told(inside), 'LOCAL_PREF')?.value, 0);
  rib.drain(false);
  rib.withdraw(parsePrefix('10.244.1.0/26'));
  clock.settle();
  assert.equal(outside.told.size + inside.told.size, 0);
});

test('a next hop that goes away takes its routes along, and brings them back', () => {
  const { clock, rib } = world();
  const from = neighbour(rib, 'i1', client);
  const to = neighbour(rib, 'i2', client);
  from.announce(['10.1.0.0/16'], attributesOf({ nextHop: '10.9.9.9', localPreference: 100 }));
  rib.nextHop(parseIP('10.9.9.9'), undefined);
  clock.settle();
  assert.equal(to.told.size, 0);
  rib.nextHop(parseIP('10.9.9.9'), 10);
  clock.settle();
  assert.equal(to.told.size, 1);
});

test('IPv4 with an IPv6 next hop reaches only peers that take it', () => {
  const { clock, rib } = world();
  const takes = { families: [familyOf(IPV4_UNICAST, { extendedNextHop: true })] };
  const from = neighbour(rib, 'i1', { ...client, ...takes });
  const able = neighbour(rib, 'i2', { ...client, ...takes });
  const unable = neighbour(rib, 'i3', client);
  const [origin, path] = attributesOf({}) as [Attribute, Attribute];
  const address = parseIP('fd00::1') as IPv6;
  const nlri: Nlri[] = [{ kind: 'prefix', prefix: parsePrefix('10.1.0.0/16') }];
  const preference: Attribute = { type: 'LOCAL_PREF', value: 100 };
  from.say({
    attributes: [
      { type: 'MP_REACH_NLRI', family: IPV4_UNICAST, nextHop: { address }, nlri },
      origin,
      path,
      preference,
    ],
  });
  clock.settle();
  const reach = findAttribute(able.told.get('10.1.0.0/16') ?? [], 'MP_REACH_NLRI');
  assert.deepEqual(reach?.nextHop, { address });
  assert.equal(unable.told.size, 0);
});

test('routes of other families are reflected as they came, and withdrawn whatever label the withdrawal has', () => {
  const distinguisher = 0x0000fc0000000001n as RouteDistinguisher;
  const prefix = parsePrefix('10.7.0.0/16');
  const macIp = { distinguisher, tag: 0, mac: parseMac('02:00:00:00:00:01'), ip: parseIP('10.7.0.1') };
  const segment = '00:00:00:00:00:00:00:00:00:00';
  const other = '00:11:22:33:44:55:66:77:88:99';
  const v6: Nlri = { kind: 'prefix', prefix: parsePrefix('fd00:1::/32') };
  const target: Nlri = { kind: 'route-target', length: 96, originAs: 64512, target: 0x0002fc0000000064n };
  const routes: [AfiSafi, Nlri, Nlri, string][] = [
    [IPV6_UNICAST, v6, v6, 'fd00::1'],
    [
      IPV4_VPN,
      { kind: 'vpn', labels: [100], distinguisher, prefix },
      { kind: 'vpn', labels: [7], distinguisher, prefix },
      '10.0.0.1',
    ],
    [
      L2VPN_EVPN,
      { kind: 'evpn-mac-ip', ...macIp, segment, labels: [100] },
      { kind: 'evpn-mac-ip', ...macIp, segment: other, labels: [0] },
      '10.0.0.1',
    ],
    [ROUTE_TARGET, target, target, '10.0.0.1'],
  ];
  for (const [family, nlri, withdrawn, hop] of routes) {
    const { clock, rib } = world();
    const families = [familyOf(family)];
    const from = neighbour(rib, 'i1', { ...client, families });
    const to = neighbour(rib, 'i2', { ...client, families });
    const reach: Attribute = {
      type: 'MP_REACH_NLRI',
      family,
      nextHop: { address: parseIP(hop) },
      nlri: [nlri],
    };
    const [origin, path] = attributesOf({}) as [Attribute, Attribute];
    from.say({ attributes: [reach, origin, path, { type: 'LOCAL_PREF', value: 100 }] });
    clock.settle();
    assert.equal(to.told.size, 1);
    const [told] = [...to.told.values()];
    assert.deepEqual(findAttribute(told ?? [], 'MP_REACH_NLRI')?.nlri, [nlri]);
    from.say({ attributes: [{ type: 'MP_UNREACH_NLRI', family, nlri: [withdrawn] }] });
    clock.settle();
    assert.equal(to.told.size, 0, `family ${family}`);
  }
});

test('an explanation says why each path is or is not the best, and which line decided in both directions', () => {
  const { clock, rib } = world();
  const filters = [
    {
      name: 'edge',
      importV4: [{ action: 'Reject' as const, asPathPrefix: [65002] }],
      exportV4: [
        { action: 'Reject' as const, cidr: parsePrefix('10.0.0.0/8'), matchOperator: 'In' as const },
      ],
    },
  ];
  const first = neighbour(rib, 'e1');
  const refused = neighbour(rib, 'e2', { policy: { ...DEFAULT_POLICY, filters } });
  const longer = neighbour(rib, 'e3');
  const looped = neighbour(rib, 'e4');
  first.announce(['10.1.0.0/16'], attributesOf({ path: [65001] }));
  refused.announce(['10.1.0.0/16'], attributesOf({ path: [65002] }));
  longer.announce(['10.1.0.0/16'], attributesOf({ path: [65003, 7] }));
  looped.announce(['10.1.0.0/16'], attributesOf({ path: [65004, 64512] }));
  clock.settle();
  const explanation = explain(rib, '10.1.2.3');
  assert.equal(explanation?.prefix, '10.1.0.0/16');
  const verdicts = explanation?.paths.map((path) => `${path.peer}: ${path.verdict}; ${path.import}`).sort();
  assert.deepEqual(verdicts, [
    'e1: best; no filter',
    'e2: refused by policy; filter edge, importV4 rule 1',
    'e3: AS path length; no filter',
    'e4: refused by policy; loop: own AS 64512 in the path',
  ]);
  const lines = explanation?.sent.map(({ peers, export: line }) => `${peers.join()}: ${line}`).sort();
  assert.deepEqual(lines, ['e2: filter edge, exportV4 rule 1', 'e3,e4: no filter']);
  assert.equal(explain(rib, '10.1.0.0/17'), undefined);
  assert.equal(explain(rib, '11.0.0.1'), undefined);
});

test('the tables show what a peer said, what was chosen and what a peer was told', () => {
  const { clock, rib } = world();
  const from = neighbour(rib, 'e1');
  neighbour(rib, 'e2');
  from.announce(['10.1.0.0/16', '10.2.0.0/16'], attributesOf({ path: [65001], communities: [0xfde80001] }));
  rib.originate({ prefix: parsePrefix('10.3.0.0/16') });
  clock.settle();
  const show = (parameters: string) => {
    const answer = query(rib, 'rib', new URLSearchParams(parameters));
    return 'entries' in answer ? answer : assert.fail();
  };
  const names = (parameters: string) =>
    show(parameters).entries.map(({ prefix, peer }) => `${prefix} ${peer}`);
  assert.deepEqual(names('view=in&peer=e1'), ['10.1.0.0/16 e1', '10.2.0.0/16 e1']);
  assert.deepEqual(names('view=in&peer=e2'), []);
  assert.deepEqual(names('view=out&peer=e2'), ['10.1.0.0/16 e1', '10.2.0.0/16 e1', '10.3.0.0/16 undefined']);
  assert.deepEqual(names('view=out&peer=e1'), ['10.3.0.0/16 undefined']);
  assert.deepEqual(names('prefix=10.2.0.0/16'), ['10.2.0.0/16 e1']);
  assert.equal(show('limit=1').truncated, true);
  const [entry] = show('view=out&peer=e2&prefix=10.1.0.0/16').entries;
  assert.deepEqual(entry?.attributes, {
    origin: 'IGP',
    asPath: '64512 65001',
    nextHop: '10.0.0.254',
    communities: ['65000:1'],
  });
  assert.throws(() => show('view=in'), /it is one peer's/);
  assert.throws(() => show('view=in&peer=nobody'), /no peer of that name/);
});
