import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { parseIP, parseIPv4, parseIPv6 } from '../../address/ip.ts';
import { parsePrefix } from '../../address/prefix.ts';
import { CONTEXT, open, update } from './arbitrary.ts';
import { type Attribute, findAttribute } from './attribute.ts';
import { codeOf } from './attributeCodec.ts';
import { encodeEndOfRib, encodeUpdate } from './encodeUpdate.ts';
import { MessageError } from './error.ts';
import { afiSafiOf, IPV4_UNICAST, IPV4_VPN, IPV6_UNICAST, L2VPN_EVPN } from './family.ts';
import { checkHeader, frame, MAX_EXTENDED_LENGTH } from './frame.ts';
import { decodeMessage, encodeMessage } from './message.ts';
import type { Nlri, UnicastNlri } from './nlri.ts';
import { decodeUpdate, type Update, type UpdateContext } from './update.ts';

function sorted(message: Update): Update {
  const place = (attribute: Attribute) => (attribute.type.startsWith('MP_') ? 0 : codeOf(attribute));
  return { ...message, attributes: message.attributes.toSorted((a, b) => place(a) - place(b)) };
}

test('decoding gives back the UPDATE that was encoded', () => {
  fc.assert(
    fc.property(update, (message) => {
      const [bytes, ...others] = encodeUpdate(message, CONTEXT, MAX_EXTENDED_LENGTH);
      assert.ok(bytes);
      assert.equal(others.length, 0);
      const decoded = decodeUpdate(bytes, CONTEXT);
      assert.deepEqual(decoded.reasons, []);
      assert.deepEqual(decoded.update, sorted(message));
    }),
    { numRuns: 1000 },
  );
});

test('encoding what was decoded gives back the same bytes', () => {
  fc.assert(
    fc.property(update, (message) => {
      const [bytes] = encodeUpdate(message, CONTEXT, MAX_EXTENDED_LENGTH);
      assert.ok(bytes);
      const decoded = decodeUpdate(bytes, CONTEXT);
      assert.ok(decoded.update);
      assert.deepEqual(encodeUpdate(decoded.update, CONTEXT, MAX_EXTENDED_LENGTH), [bytes]);
    }),
    { numRuns: 300 },
  );
});

test('what does not fit is spread over messages that together say the same', () => {
  fc.assert(
    fc.property(update, fc.integer({ min: 2600, max: 3000 }), (message, limit) => {
      const messages = encodeUpdate(message, CONTEXT, limit);
      const routes = (one: Update) => {
        const reach = findAttribute(one.attributes, 'MP_REACH_NLRI');
        const unreach = findAttribute(one.attributes, 'MP_UNREACH_NLRI');
        return [...one.withdrawn, ...(unreach?.nlri ?? []), ...one.nlri, ...(reach?.nlri ?? [])];
      };
      const together: Nlri[] = [];
      for (const bytes of messages) {
        assert.ok(bytes.length <= limit);
        const { update: part } = decodeUpdate(bytes, CONTEXT);
        assert.ok(part);
        together.push(...routes(part));
      }
      assert.deepEqual(together, routes(message));
    }),
  );
});

const ROUTES: UnicastNlri[] = Array.from({ length: 3000 }, (_, index) => ({
  kind: 'prefix',
  prefix: parsePrefix(`10.${index >> 8}.${index & 255}.0/24`),
}));
const ATTRIBUTES: Attribute[] = [
  { type: 'ORIGIN', origin: 'IGP' },
  { type: 'AS_PATH', segments: [{ type: 'AS_SEQUENCE', asns: [65001, 1111111] }] },
  { type: 'NEXT_HOP', address: parseIPv4('10.0.0.2') },
];
const plain: UpdateContext = {
  session: 'ebgp',
  asn4: true,
  addPath: new Set(),
  extendedNextHop: new Set(),
};

test('three thousand prefixes take three messages, not three thousand', () => {
  const message: Update = { type: 'UPDATE', withdrawn: [], attributes: ATTRIBUTES, nlri: ROUTES };
  const sizes = encodeUpdate(message, plain).map((bytes) => bytes.length);
  assert.equal(sizes.length, 3);
  assert.ok((sizes[0] ?? 0) > 4092);
  assert.equal(encodeUpdate(message, plain, MAX_EXTENDED_LENGTH).length, 1);
});

test('withdrawals and announcements, and each family, get messages of their own', () => {
  const [first] = ROUTES;
  assert.ok(first);
  const reach: Attribute = {
    type: 'MP_REACH_NLRI',
    family: IPV6_UNICAST,
    nextHop: { address: parseIP('2001:db8::1') },
    nlri: [{ kind: 'prefix', prefix: parsePrefix('2001:db8:1::/48') }],
  };
  const unreach: Attribute = { type: 'MP_UNREACH_NLRI', family: IPV6_UNICAST, nlri: reach.nlri };
  const attributes = [reach, unreach, ...ATTRIBUTES];
  const messages = encodeUpdate({ type: 'UPDATE', withdrawn: [first], attributes, nlri: [first] }, plain);
  const shapes = messages.map((bytes) => {
    const { update: part } = decodeUpdate(bytes, plain);
    assert.ok(part);
    return [part.withdrawn.length, part.nlri.length, ...part.attributes.map(({ type }) => type)].join(' ');
  });
  assert.deepEqual(shapes, [
    '1 0',
    '0 0 MP_UNREACH_NLRI',
    '0 1 ORIGIN AS_PATH NEXT_HOP',
    '0 0 MP_REACH_NLRI ORIGIN AS_PATH NEXT_HOP',
  ]);
});

test('attributes that leave no room for a route are refused', () => {
  const communities = Array.from({ length: 1020 }, (_, index) => index);
  const attributes: Attribute[] = [...ATTRIBUTES, { type: 'COMMUNITIES', communities }];
  const message: Update = { type: 'UPDATE', withdrawn: [], attributes, nlri: ROUTES.slice(0, 1) };
  assert.throws(() => encodeUpdate(message, plain), RangeError);
});

test('a two-octet speaker gets AS_TRANS and AS4_PATH where the path needs them, else neither', () => {
  const old: UpdateContext = { ...plain, asn4: false };
  const nlri = ROUTES.slice(0, 1);
  const [bytes] = encodeUpdate({ type: 'UPDATE', withdrawn: [], attributes: ATTRIBUTES, nlri }, old);
  assert.ok(bytes);
  const { update: decoded } = decodeUpdate(bytes, old);
  assert.deepEqual(findAttribute(decoded?.attributes ?? [], 'AS_PATH')?.segments[0]?.asns, [65001, 23456]);
  assert.deepEqual(findAttribute(decoded?.attributes ?? [], 'AS4_PATH')?.segments[0]?.asns, [65001, 1111111]);
  const short: Attribute[] = ATTRIBUTES.map((one) =>
    one.type === 'AS_PATH' ? { ...one, segments: [{ type: 'AS_SEQUENCE', asns: [65001] }] } : one,
  );
  const [small] = encodeUpdate({ type: 'UPDATE', withdrawn: [], attributes: short, nlri }, old);
  assert.equal(small?.includes(Buffer.of(0xc0, 17)), false);
});

test('End-of-RIB reads as End-of-RIB in every family', () => {
  for (const family of [IPV4_UNICAST, IPV6_UNICAST, IPV4_VPN, L2VPN_EVPN, afiSafiOf(16388, 71)]) {
    assert.equal(decodeUpdate(encodeEndOfRib(family), plain).endOfRib, family);
  }
  assert.equal(encodeEndOfRib(IPV4_UNICAST).length, 23);
});

test('an IPv6 UPDATE of RFC 2545 has the bytes it should', () => {
  const message: Update = {
    type: 'UPDATE',
    withdrawn: [],
    attributes: [
      {
        type: 'MP_REACH_NLRI',
        family: IPV6_UNICAST,
        nextHop: { address: parseIP('2001:db8::1'), linkLocal: parseIPv6('fe80::1') },
        nlri: [{ kind: 'prefix', prefix: parsePrefix('2001:db8:abcd::/48') }],
      },
      { type: 'ORIGIN', origin: 'IGP' },
      { type: 'AS_PATH', segments: [] },
      { type: 'LOCAL_PREF', value: 100 },
    ],
    nlri: [],
  };
  const hex = encodeUpdate(message, plain)[0]?.toString('hex');
  const reach = `800e2c00020120${'20010db8000000000000000000000001'}${'fe800000000000000000000000000001'}00`;
  const expected = `${'ff'.repeat(16)}0054020000003d${reach}3020010db8abcd4001010040020040050400000064`;
  assert.equal(hex, expected);
});

test('host bits beyond the length are cleared, so that equal prefixes are equal', () => {
  const attributes = '40010100' + '400206' + '02010000fde9' + '4003040a000002';
  const body = `0000${(attributes.length / 2).toString(16).padStart(4, '0')}${attributes}170a0001`;
  const { update: decoded } = decodeUpdate(frame('UPDATE', Buffer.from(body, 'hex')), plain);
  assert.deepEqual(decoded?.nlri[0]?.prefix, parsePrefix('10.0.0.0/23'));
});

test('labels may lack their bottom-of-stack bit, and a stack may have several', () => {
  const rd = '0000000200ff0304';
  const reach = (nlri: string) => {
    const value = Buffer.from(`0001800c${'00'.repeat(8)}0a00000100${nlri}`, 'hex');
    const attribute = Buffer.concat([Buffer.of(0x80, 14, value.length), value]);
    const rest = Buffer.from('40010100' + '400206' + '02010000fde9', 'hex');
    const head = Buffer.of(0, 0, 0, attribute.length + rest.length);
    const decoded = decodeUpdate(frame('UPDATE', Buffer.concat([head, attribute, rest])), plain);
    assert.deepEqual(decoded.reasons, []);
    const [route] = findAttribute(decoded.update?.attributes ?? [], 'MP_REACH_NLRI')?.nlri ?? [];
    assert.equal(route?.kind, 'vpn');
    return route.labels;
  };
  assert.deepEqual(reach(`68000102${rd}0a01`), [16]);
  assert.deepEqual(reach(`68000101${rd}0a01`), [16]);
  assert.deepEqual(reach(`80000100000111${rd}0a01`), [16, 17]);
});

/** Any bytes at all, with a header in front that lets them through. */
const framed = fc
  .tuple(
    fc.constantFrom('OPEN' as const, 'UPDATE', 'NOTIFICATION', 'ROUTE-REFRESH'),
    fc.uint8Array({ maxLength: 120 }),
  )
  .map(([type, body]) => frame(type, body));

const contexts: UpdateContext[] = [CONTEXT, plain, { ...plain, asn4: false, session: 'unknown' }];

function decodesOrRefuses(bytes: Buffer): void {
  for (const context of contexts) {
    try {
      decodeMessage(bytes, context);
    } catch (error) {
      if (!(error instanceof MessageError)) throw error;
      assert.ok(error.code >= 1 && error.code <= 7);
      assert.ok(error.offset >= 0 && error.offset <= bytes.length);
    }
  }
}

test('random bytes never raise anything but a MessageError', () => {
  fc.assert(fc.property(framed, decodesOrRefuses), { numRuns: 10_000 });
});

test('messages with a few bytes changed never raise anything but a MessageError', () => {
  const message = fc.oneof(
    { weight: 4, arbitrary: update.map((one) => encodeUpdate(one, CONTEXT, MAX_EXTENDED_LENGTH)[0]) },
    open.map(encodeMessage),
  );
  const changes = fc.array(fc.tuple(fc.nat(), fc.integer({ min: 0, max: 255 })), {
    minLength: 1,
    maxLength: 4,
  });
  let cases = 0;
  fc.assert(
    fc.property(message, fc.array(changes, { minLength: 60, maxLength: 60 }), (bytes, rounds) => {
      assert.ok(bytes);
      for (const round of rounds) {
        const copy = Buffer.from(bytes);
        for (const [at, value] of round) copy[19 + (at % (copy.length - 19))] = value;
        decodesOrRefuses(copy);
        cases++;
      }
    }),
    { numRuns: 600 },
  );
  assert.ok(cases >= 36_000);
});

test('messages cut off at any byte never raise anything but a MessageError', () => {
  fc.assert(
    fc.property(update, (one) => {
      const [bytes] = encodeUpdate(one, CONTEXT, MAX_EXTENDED_LENGTH);
      assert.ok(bytes);
      for (let length = 23; length < bytes.length; length += 1 + (length >> 4)) {
        const cut: Buffer = Buffer.from(bytes.subarray(0, length));
        cut.writeUInt16BE(length, 16);
        decodesOrRefuses(cut);
        assert.equal(checkHeader(cut, 0, MAX_EXTENDED_LENGTH), 'UPDATE');
      }
    }),
    { numRuns: 300 },
  );
});
