import assert from 'node:assert/strict';
import { test } from 'node:test';
import { type AfiSafi, IPV4_UNICAST, IPV4_VPN, IPV6_UNICAST } from './family.ts';
import { frame } from './frame.ts';
import { scanUpdate } from './scan.ts';
import type { UpdateContext } from './update.ts';

type Session = 'ebgp' | 'ibgp';

function contextOf(session: UpdateContext['session'], asn4 = true): UpdateContext {
  return { session, asn4, addPath: new Set(), extendedNextHop: new Set() };
}

function attribute(flags: number, code: number, value: string): string {
  const bytes = Buffer.from(value, 'hex');
  return Buffer.concat([Buffer.of(flags, code, bytes.length), bytes]).toString('hex');
}

function updateOf({ withdrawn = '', attributes = '', nlri = '' }): Buffer {
  const parts = [withdrawn, attributes].map((hex) => {
    const bytes = Buffer.from(hex, 'hex');
    const length = Buffer.alloc(2);
    length.writeUInt16BE(bytes.length);
    return Buffer.concat([length, bytes]);
  });
  return frame('UPDATE', Buffer.concat([...parts, Buffer.from(nlri, 'hex')]));
}

const ORIGIN = '40010100';
const AS_PATH = '400206' + '02010000fde9';
const NEXT_HOP = '4003040a000002';
const LOCAL_PREF = '40050400000064';
const NLRI = '18' + '0a0101';
const MP_REACH = attribute(0x80, 14, `00020110${'20010db8'.padEnd(32, '0')}002020010db8`);
const MP_UNREACH = attribute(0x80, 15, '000201' + '2020010db8');

function verdict(message: Buffer, session: UpdateContext['session'] = 'ebgp', asn4 = true): string {
  const { action, reasons } = scanUpdate(message, contextOf(session, asn4));
  const worst = reasons.find((reason) => reason.action === action);
  return worst === undefined ? 'accepted' : `${action} 3/${worst.subcode}`;
}

/** A route from a peer of that kind, with one attribute replaced or added. */
function withAttribute(session: Session, code: number, flags: number, value: string): Buffer {
  const base: [number, string][] = [
    [1, ORIGIN],
    [2, AS_PATH],
    [3, NEXT_HOP],
    ...(session === 'ibgp' ? [[5, LOCAL_PREF] as [number, string]] : []),
  ];
  const others = base.filter(([known]) => known !== code).map(([, bytes]) => bytes);
  return updateOf({ attributes: others.join('') + attribute(flags, code, value), nlri: NLRI });
}

const W = 'treat-as-withdraw';
const D = 'attribute-discard';
const OK = 'accepted';

/** Attribute, flags, value, and what is done about it for an external and an internal peer. */
const CASES: [name: string, code: number, flags: number, value: string, ebgp: string, ibgp: string][] = [
  ['ORIGIN marked optional', 1, 0xc0, '00', `${W} 3/4`, `${W} 3/4`],
  ['ORIGIN marked partial', 1, 0x60, '00', `${W} 3/4`, `${W} 3/4`],
  ['ORIGIN without value', 1, 0x40, '', `${W} 3/5`, `${W} 3/5`],
  ['ORIGIN of two bytes', 1, 0x40, '0000', `${W} 3/5`, `${W} 3/5`],
  ['ORIGIN 3', 1, 0x40, '03', `${W} 3/6`, `${W} 3/6`],
  ['ORIGIN 255', 1, 0x40, 'ff', `${W} 3/6`, `${W} 3/6`],
  ['ORIGIN INCOMPLETE', 1, 0x40, '02', OK, OK],
  ['AS_PATH marked optional', 2, 0xc0, '02010000fde9', `${W} 3/4`, `${W} 3/4`],
  ['AS_PATH marked partial', 2, 0x60, '02010000fde9', `${W} 3/4`, `${W} 3/4`],
  ['AS_PATH with segment type 0', 2, 0x40, '00010000fde9', `${W} 3/11`, `${W} 3/11`],
  ['AS_PATH with segment type 5', 2, 0x40, '05010000fde9', `${W} 3/11`, `${W} 3/11`],
  ['AS_PATH with an empty segment', 2, 0x40, '0200', `${W} 3/11`, `${W} 3/11`],
  ['AS_PATH with a segment too long', 2, 0x40, '02ff0000fde9', `${W} 3/11`, `${W} 3/11`],
  ['AS_PATH with one byte too many', 2, 0x40, '02010000fde902', `${W} 3/11`, `${W} 3/11`],
  ['AS_PATH with AS 0', 2, 0x40, '020100000000', `${W} 3/11`, `${W} 3/11`],
  ['AS_PATH with a confederation', 2, 0x40, '03010000fde9', `${W} 3/11`, OK],
  ['AS_PATH without value', 2, 0x40, '', OK, OK],
  ['NEXT_HOP 0.0.0.0', 3, 0x40, '00000000', `${W} 3/8`, `${W} 3/8`],
  ['NEXT_HOP 127.0.0.1', 3, 0x40, '7f000001', `${W} 3/8`, `${W} 3/8`],
  ['NEXT_HOP 224.0.0.1', 3, 0x40, 'e0000001', `${W} 3/8`, `${W} 3/8`],
  ['NEXT_HOP of three bytes', 3, 0x40, '0a0000', `${W} 3/5`, `${W} 3/5`],
  ['NEXT_HOP marked optional', 3, 0xc0, '0a000002', `${W} 3/4`, `${W} 3/4`],
  ['MULTI_EXIT_DISC marked transitive', 4, 0xc0, '0000000a', `${W} 3/4`, `${W} 3/4`],
  ['MULTI_EXIT_DISC marked partial', 4, 0xa0, '0000000a', `${W} 3/4`, `${W} 3/4`],
  ['MULTI_EXIT_DISC of three bytes', 4, 0x80, '000000', `${W} 3/5`, `${W} 3/5`],
  ['MULTI_EXIT_DISC of five bytes', 4, 0x80, '000000000a', `${W} 3/5`, `${W} 3/5`],
  ['LOCAL_PREF', 5, 0x40, '00000064', `${D} 3/4`, OK],
  ['LOCAL_PREF of three bytes', 5, 0x40, '000000', `${D} 3/4`, `${W} 3/5`],
  ['LOCAL_PREF of five bytes', 5, 0x40, '0000000064', `${D} 3/4`, `${W} 3/5`],
  ['LOCAL_PREF marked optional', 5, 0xc0, '00000064', `${W} 3/4`, `${W} 3/4`],
  ['ATOMIC_AGGREGATE of one byte', 6, 0x40, '00', `${D} 3/5`, `${D} 3/5`],
  ['ATOMIC_AGGREGATE marked optional', 6, 0xc0, '', `${W} 3/4`, `${W} 3/4`],
  ['AGGREGATOR of five bytes', 7, 0xc0, '0000fde90a', `${D} 3/5`, `${D} 3/5`],
  ['AGGREGATOR of six bytes, as of a two-octet AS', 7, 0xc0, 'fde90a000002', `${D} 3/5`, `${D} 3/5`],
  ['AGGREGATOR with AS 0', 7, 0xc0, '000000000a000002', `${D} 3/9`, `${D} 3/9`],
  ['AGGREGATOR marked partial', 7, 0xe0, '0000fde90a000002', OK, OK],
  ['COMMUNITIES not transitive', 8, 0x80, 'ffff0001', `${W} 3/4`, `${W} 3/4`],
  ['COMMUNITIES without value', 8, 0xc0, '', `${W} 3/5`, `${W} 3/5`],
  ['COMMUNITIES of five bytes', 8, 0xc0, 'ffff000100', `${W} 3/5`, `${W} 3/5`],
  ['ORIGINATOR_ID', 9, 0x80, '0a000002', `${D} 3/4`, OK],
  ['ORIGINATOR_ID of three bytes', 9, 0x80, '0a0000', `${D} 3/4`, `${W} 3/5`],
  ['ORIGINATOR_ID marked transitive', 9, 0xc0, '0a000002', `${W} 3/4`, `${W} 3/4`],
  ['CLUSTER_LIST without value', 10, 0x80, '', `${D} 3/4`, `${W} 3/5`],
  ['CLUSTER_LIST of five bytes', 10, 0x80, '0a00000200', `${D} 3/4`, `${W} 3/5`],
  ['CLUSTER_LIST marked transitive', 10, 0xc0, '0a000002', `${W} 3/4`, `${W} 3/4`],
  ['EXTENDED_COMMUNITIES not transitive', 16, 0x80, '0002fde900000001', `${W} 3/4`, `${W} 3/4`],
  ['EXTENDED_COMMUNITIES without value', 16, 0xc0, '', `${W} 3/5`, `${W} 3/5`],
  ['EXTENDED_COMMUNITIES of nine bytes', 16, 0xc0, '0002fde90000000100', `${W} 3/5`, `${W} 3/5`],
  ['AS4_PATH from a four-octet speaker', 17, 0xc0, '020100010001', `${D} 3/9`, `${D} 3/9`],
  ['AS4_PATH not transitive', 17, 0x80, '020100010001', `${W} 3/4`, `${W} 3/4`],
  ['AS4_PATH with segment type 0', 17, 0xc0, '000100010001', `${W} 3/11`, `${W} 3/11`],
  ['AS4_AGGREGATOR of seven bytes', 18, 0xc0, '0000fde90a0000', `${D} 3/5`, `${D} 3/5`],
  ['PMSI_TUNNEL not transitive', 22, 0x80, '00060000000a000002', `${W} 3/4`, `${W} 3/4`],
  ['PMSI_TUNNEL of four bytes', 22, 0xc0, '00060000', `${W} 3/9`, `${W} 3/9`],
  ['PMSI_TUNNEL of type 8', 22, 0xc0, '00080000000a000002', `${W} 3/9`, `${W} 3/9`],
  ['PMSI_TUNNEL of five bytes of address', 22, 0xc0, '00060000000a00000200', `${W} 3/9`, `${W} 3/9`],
  ['PMSI_TUNNEL of ingress replication', 22, 0xc0, '00060000000a000002', OK, OK],
  ['TUNNEL_ENCAPSULATION not transitive', 23, 0x80, '00070000', `${W} 3/4`, `${W} 3/4`],
  ['TUNNEL_ENCAPSULATION cut off', 23, 0xc0, '000700', `${W} 3/9`, `${W} 3/9`],
  ['TUNNEL_ENCAPSULATION too long inside', 23, 0xc0, '0007000401', `${W} 3/9`, `${W} 3/9`],
  ['TUNNEL_ENCAPSULATION with a sub-TLV too long', 23, 0xc0, '0007000401ff', `${W} 3/9`, `${W} 3/9`],
  ['TUNNEL_ENCAPSULATION of VXLAN', 23, 0xc0, '00080006' + '0404' + '00000001', OK, OK],
  ['IPV6_EXTENDED_COMMUNITIES without value', 25, 0xc0, '', `${W} 3/5`, `${W} 3/5`],
  ['IPV6_EXTENDED_COMMUNITIES of 21 bytes', 25, 0xc0, '00'.repeat(21), `${W} 3/5`, `${W} 3/5`],
  ['AIGP marked transitive', 26, 0xc0, '01000b000000000000000a', `${D} 3/4`, `${D} 3/4`],
  ['AIGP without metric', 26, 0x80, '09000b000000000000000a', `${D} 3/9`, `${D} 3/9`],
  ['AIGP with a metric of two bytes', 26, 0x80, '0100050000', `${D} 3/9`, `${D} 3/9`],
  ['AIGP without value', 26, 0x80, '', `${D} 3/9`, `${D} 3/9`],
  ['AIGP', 26, 0x80, '01000b000000000000000a', OK, OK],
  ['BGP-LS marked transitive', 29, 0xc0, '0400000100', `${D} 3/4`, `${D} 3/4`],
  ['BGP-LS with a TLV too long', 29, 0x80, '040000ff00', `${D} 3/9`, `${D} 3/9`],
  ['BGP-LS cut off', 29, 0x80, '0400', `${D} 3/9`, `${D} 3/9`],
  ['LARGE_COMMUNITIES not transitive', 32, 0x80, '00'.repeat(12), `${W} 3/4`, `${W} 3/4`],
  ['LARGE_COMMUNITIES without value', 32, 0xc0, '', `${W} 3/5`, `${W} 3/5`],
  ['LARGE_COMMUNITIES of 13 bytes', 32, 0xc0, '00'.repeat(13), `${W} 3/5`, `${W} 3/5`],
  ['ONLY_TO_CUSTOMER not transitive', 35, 0x80, '0000fde9', `${W} 3/4`, `${W} 3/4`],
  ['ONLY_TO_CUSTOMER of three bytes', 35, 0xc0, '0000fd', `${W} 3/5`, `${W} 3/5`],
  ['ONLY_TO_CUSTOMER with AS 0', 35, 0xc0, '00000000', `${W} 3/9`, `${W} 3/9`],
  ['next hop characteristics with a TLV too long', 39, 0xc0, '0001010001ff00', `${D} 3/9`, `${D} 3/9`],
  ['PREFIX_SID not transitive', 40, 0x80, `010007${'00'.repeat(7)}`, `${D} 3/4`, `${D} 3/4`],
  ['PREFIX_SID with a TLV too long', 40, 0xc0, '0100ff000000', `${D} 3/9`, `${D} 3/9`],
  ['PREFIX_SID with a label index of no bytes', 40, 0xc0, '010000', `${D} 3/9`, `${D} 3/9`],
  ['PREFIX_SID', 40, 0xc0, `010007${'00'.repeat(7)}`, OK, OK],
  ['an unknown optional attribute', 0xfd, 0x80, 'deadbeef', OK, OK],
  ['an unknown transitive attribute', 0xfe, 0xc0, 'deadbeef', OK, OK],
  ['an unknown well-known attribute', 0xfe, 0x40, 'deadbeef', 'session-reset 3/2', 'session-reset 3/2'],
];

for (const [name, code, flags, value, ebgp, ibgp] of CASES) {
  test(`${name}: ${ebgp === ibgp ? ebgp : `${ebgp} outside, ${ibgp} inside`}`, () => {
    assert.equal(verdict(withAttribute('ebgp', code, flags, value), 'ebgp'), ebgp);
    assert.equal(verdict(withAttribute('ibgp', code, flags, value), 'ibgp'), ibgp);
  });
}

test('a broken AS4_PATH of a two-octet speaker is discarded', () => {
  const attributes = `${ORIGIN}4002040201fde9${NEXT_HOP}${attribute(0xc0, 17, '000100010001')}`;
  assert.equal(verdict(updateOf({ attributes, nlri: NLRI }), 'ebgp', false), `${D} 3/11`);
});

test('a mandatory attribute that is missing turns the routes into withdrawals', () => {
  const all = [ORIGIN, AS_PATH, NEXT_HOP];
  for (const missing of all) {
    const attributes = all.filter((one) => one !== missing).join('');
    assert.equal(verdict(updateOf({ attributes, nlri: NLRI })), `${W} 3/3`);
  }
  assert.equal(verdict(updateOf({ attributes: all.join(''), nlri: NLRI })), OK);
  assert.equal(verdict(updateOf({ attributes: all.join(''), nlri: NLRI }), 'ibgp'), `${W} 3/3`);
  assert.equal(verdict(updateOf({ attributes: all.join(''), nlri: NLRI }), 'unknown'), OK);
});

test('NEXT_HOP is not missed where all routes stand in MP_REACH_NLRI', () => {
  assert.equal(verdict(updateOf({ attributes: MP_REACH + ORIGIN + AS_PATH })), OK);
  assert.equal(verdict(updateOf({ attributes: MP_REACH + ORIGIN })), `${W} 3/3`);
});

test('withdrawals need no attributes at all', () => {
  assert.equal(verdict(updateOf({ withdrawn: NLRI })), OK);
  assert.equal(verdict(updateOf({ attributes: MP_UNREACH })), OK);
});

test('of an attribute that repeats the first counts, MP attributes excepted', () => {
  const twice = attribute(0x80, 4, '0000000a') + attribute(0x80, 4, '00000014');
  const message = updateOf({ attributes: ORIGIN + AS_PATH + NEXT_HOP + twice, nlri: NLRI });
  assert.equal(verdict(message), `${D} 3/1`);
  const unknown = attribute(0xc0, 200, '01') + attribute(0xc0, 200, '02');
  assert.equal(
    verdict(updateOf({ attributes: ORIGIN + AS_PATH + NEXT_HOP + unknown, nlri: NLRI })),
    `${D} 3/1`,
  );
  const reach = updateOf({ attributes: ORIGIN + AS_PATH + MP_REACH + MP_REACH });
  assert.equal(verdict(reach), 'session-reset 3/1');
  assert.equal(verdict(updateOf({ attributes: MP_UNREACH + MP_UNREACH })), 'session-reset 3/1');
});

test('broken framing of the attributes withdraws what follows them', () => {
  const sound = ORIGIN + AS_PATH + NEXT_HOP;
  for (const tail of ['40', '4001', '500800', '400801', '40080401', 'd008ffff']) {
    assert.equal(verdict(updateOf({ attributes: sound + tail, nlri: NLRI })), `${W} 3/1`, tail);
  }
});

test('an error that calls for withdrawing resets the session where there is nothing to withdraw', () => {
  const bad = attribute(0x40, 1, '07');
  assert.equal(verdict(updateOf({ attributes: bad, nlri: NLRI })).split(' ')[0], W);
  assert.equal(verdict(updateOf({ attributes: bad })), 'session-reset 3/1');
  assert.equal(verdict(updateOf({ attributes: bad, withdrawn: NLRI })), 'session-reset 3/1');
  assert.equal(verdict(updateOf({ attributes: MP_UNREACH + bad })), 'session-reset 3/1');
  assert.equal(verdict(updateOf({ attributes: MP_REACH + AS_PATH + bad })), `${W} 3/6`);
  const discard = attribute(0x40, 6, '00');
  assert.equal(verdict(updateOf({ attributes: discard, withdrawn: NLRI })), `${D} 3/5`);
});

test('the strongest action wins, and every reason is kept', () => {
  const attributes = attribute(0x40, 6, '00') + attribute(0x40, 1, '09') + AS_PATH + NEXT_HOP;
  const scan = scanUpdate(updateOf({ attributes, nlri: NLRI }), contextOf('ebgp'));
  assert.equal(scan.action, W);
  assert.deepEqual(
    scan.reasons.map(({ action, attribute: code, offset }) => [action, code, offset]),
    [
      [D, 6, 23],
      [W, 1, 27],
    ],
  );
  assert.deepEqual(scan.discard, [6, 1]);
  assert.equal(scan.reasons[1]?.data.toString('hex'), '40010109');
});

test('broken routes in the fields of IPv4 reset the session', () => {
  const attributes = ORIGIN + AS_PATH + NEXT_HOP;
  for (const nlri of ['21', '210a000001', '180a00', '18']) {
    assert.equal(verdict(updateOf({ attributes, nlri })), 'session-reset 3/10', nlri);
    assert.equal(verdict(updateOf({ withdrawn: nlri })), 'session-reset 3/10', nlri);
  }
});

test('lengths that exceed the message reset the session', () => {
  for (const body of ['0001', '00010000', '00000001', 'ffff0000', '0000ffff', '0002' + '180a' + '0001']) {
    assert.equal(verdict(frame('UPDATE', Buffer.from(body, 'hex'))), 'session-reset 3/1', body);
  }
});

const ADDRESS = '20010db8000000000000000000000001';

test('MP attributes whose routes cannot be found reset the session for unicast', () => {
  const rest = ORIGIN + AS_PATH;
  const broken: [number, string][] = [
    [14, '0002'],
    [14, '000201'],
    [14, `00020109${'00'.repeat(9)}004020010db800000001`],
    [14, `00020140${ADDRESS}00`],
    [14, '00020110' + '20010db800000000'],
    [14, `00020110${ADDRESS}008120010db8`],
    [14, `00010110${ADDRESS}00180a0101`],
    [15, '0002'],
    [15, '000201' + '4020010db8'],
  ];
  for (const [code, value] of broken) {
    const message = updateOf({ attributes: attribute(0x80, code, value) + rest });
    assert.equal(verdict(message), 'session-reset 3/9', value);
  }
});

test('a broken VPN route disables its family and leaves the others alone', () => {
  const broken = attribute(0x80, 14, `0001800c${'00'.repeat(8)}0a00000100200a000000`);
  const message = updateOf({ attributes: broken + ORIGIN + AS_PATH + NEXT_HOP, nlri: NLRI });
  const scan = scanUpdate(message, contextOf('ebgp'));
  assert.equal(scan.action, 'afi-safi-disable');
  assert.deepEqual(scan.disabled, [IPV4_VPN]);
  assert.deepEqual(
    scan.announced.map(({ family }) => family),
    [IPV4_UNICAST],
  );
});

test('an IPv6 next hop of an IPv4 route is taken once it was negotiated', () => {
  const reach = attribute(0x80, 14, `00010110${ADDRESS}00180a0101`);
  const context: UpdateContext = { ...contextOf('ebgp'), extendedNextHop: new Set<AfiSafi>([IPV4_UNICAST]) };
  assert.equal(scanUpdate(updateOf({ attributes: reach + ORIGIN + AS_PATH }), context).action, undefined);
});

test('routes to withdraw include those of MP_REACH_NLRI with wrong flags', () => {
  const reach = MP_REACH.replace(/^80/, 'c0');
  const scan = scanUpdate(updateOf({ attributes: reach + ORIGIN + AS_PATH }), contextOf('ebgp'));
  assert.equal(scan.action, W);
  assert.deepEqual(scan.announced, []);
  assert.deepEqual(
    scan.withdrawn.map(({ family }) => family),
    [IPV6_UNICAST],
  );
});

test('path identifiers that are cut off reset the session', () => {
  const context: UpdateContext = { ...contextOf('ebgp'), addPath: new Set<AfiSafi>([IPV4_UNICAST]) };
  const attributes = ORIGIN + AS_PATH + NEXT_HOP;
  const action = (nlri: string) => scanUpdate(updateOf({ attributes, nlri }), context).action;
  assert.equal(action(`00000001${NLRI}00000002${NLRI}`), undefined);
  assert.equal(action(NLRI), 'session-reset');
  assert.equal(action(`00000001${NLRI}000000`), 'session-reset');
});

test('End-of-RIB is an empty message, or nothing but an empty MP_UNREACH_NLRI', () => {
  const marker = (message: Buffer) => scanUpdate(message, contextOf('ebgp')).endOfRib;
  assert.equal(marker(updateOf({})), IPV4_UNICAST);
  assert.equal(marker(updateOf({ attributes: attribute(0x80, 15, '000201') })), IPV6_UNICAST);
  assert.equal(
    marker(updateOf({ attributes: attribute(0x90, 15, '000201').replace('900f', '900f00') })),
    IPV6_UNICAST,
  );
  assert.equal(marker(updateOf({ withdrawn: NLRI })), undefined);
  assert.equal(marker(updateOf({ attributes: ORIGIN })), undefined);
  assert.equal(marker(updateOf({ attributes: MP_UNREACH })), undefined);
});

test('one scan object serves messages that lie inside a larger buffer', () => {
  const first = updateOf({ attributes: ORIGIN + AS_PATH + NEXT_HOP, nlri: NLRI });
  const second = updateOf({ attributes: attribute(0x40, 1, '09') + AS_PATH + NEXT_HOP, nlri: NLRI });
  const stream = Buffer.concat([first, second]);
  const scan = scanUpdate(stream, contextOf('ebgp'), undefined, 0, first.length);
  assert.equal(scan.action, undefined);
  scanUpdate(stream, contextOf('ebgp'), scan, first.length);
  assert.equal(scan.action, W);
  assert.equal(scan.reasons[0]?.offset, 23);
  const [range] = scan.withdrawn;
  assert.equal(stream.subarray(range?.start, range?.end).toString('hex'), NLRI);
});
