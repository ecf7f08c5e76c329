import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { type DecodeOptions, decodeLine } from './decode.ts';
import { CONTEXT, open, update } from './wire/arbitrary.ts';
import { encodeUpdate } from './wire/encodeUpdate.ts';
import { IPV4_UNICAST, IPV4_VPN } from './wire/family.ts';
import { frame, MAX_EXTENDED_LENGTH } from './wire/frame.ts';
import { encodeMessage, KEEPALIVE } from './wire/message.ts';
import { cease, hardReset } from './wire/notification.ts';

const OPTIONS: DecodeOptions = {
  session: 'unknown',
  asn4: true,
  addPath: new Set(),
  extendedNextHop: new Set([IPV4_UNICAST, IPV4_VPN]),
  reencode: false,
};

// biome-ignore lint/suspicious/noExplicitAny: the shape of the answer is what is tested
function json(hex: string, options: Partial<DecodeOptions> = {}): any {
  const lines = decodeLine(hex, { ...OPTIONS, ...options });
  assert.equal(lines.length, 1);
  return JSON.parse(lines[0] ?? '');
}

function reencoded(hex: string, options: Partial<DecodeOptions> = {}): string {
  const lines = decodeLine(hex, { ...OPTIONS, ...options, reencode: true });
  assert.equal(lines.length, 1);
  return lines[0] ?? '';
}

function updateHex(attributes: string, nlri = '', withdrawn = ''): string {
  const counted = (hex: string) => (hex.length / 2).toString(16).padStart(4, '0') + hex;
  return frame('UPDATE', Buffer.from(counted(withdrawn) + counted(attributes) + nlri, 'hex')).toString('hex');
}

const ROUTE = '40010100' + '400206' + '02010000fde9' + '4003040a000002';

test('an UPDATE becomes an object with the words of the RFC', () => {
  const communities = 'c00804fde90064' + 'c0100800' + '02fbf000000064' + 'c0200c0000fde90000000100000002';
  const answer = json(updateHex(`${ROUTE}80040400000005${communities}`, '180a0101'));
  assert.equal(answer.type, 'UPDATE');
  assert.deepEqual(answer.nlri, [{ prefix: '10.1.1.0/24' }]);
  assert.deepEqual(answer.withdrawnRoutes, []);
  assert.equal(answer.asPath, '65001');
  assert.deepEqual(answer.errorHandling, { action: 'none', reasons: [] });
  const values = Object.fromEntries(
    answer.pathAttributes.map((one: { name: string; value: unknown }) => [one.name, one.value]),
  );
  assert.deepEqual(values, {
    ORIGIN: 'IGP',
    AS_PATH: [{ type: 'AS_SEQUENCE', asns: [65001] }],
    NEXT_HOP: '10.0.0.2',
    MULTI_EXIT_DISC: 5,
    COMMUNITIES: ['65001:100'],
    EXTENDED_COMMUNITIES: ['target:64496:100'],
    LARGE_COMMUNITIES: ['65001:1:2'],
  });
});

test('what is to be done about an error comes with its reasons', () => {
  const answer = json(updateHex('40010107' + '400206' + '02010000fde9' + '4003040a000002', '180a0101'));
  assert.equal(answer.errorHandling.action, 'treat-as-withdraw');
  assert.deepEqual(answer.errorHandling.reasons, [
    {
      action: 'treat-as-withdraw',
      code: 3,
      subcode: 6,
      attribute: 1,
      attributeName: 'ORIGIN',
      offset: 23,
      message: 'ORIGIN: there is no such origin (value 7)',
      data: '40010107',
    },
  ]);
  assert.deepEqual(answer.nlri, [{ prefix: '10.1.1.0/24' }]);
  assert.equal('error' in answer, false);
});

test('an UPDATE that ends the session has an error like any other message', () => {
  const answer = json(updateHex(ROUTE, '210a010101'));
  assert.equal(answer.errorHandling.action, 'session-reset');
  assert.deepEqual([answer.error.code, answer.error.subcode], [3, 10]);
  assert.deepEqual(answer.nlri, []);
  assert.equal(answer.pathAttributes.length, 3);
});

test('the session decides about LOCAL_PREF', () => {
  const hex = updateHex(`${ROUTE}40050400000064`, '180a0101');
  const action = (session: 'ebgp' | 'ibgp') => json(hex, { session }).errorHandling.action;
  assert.equal(action('ebgp'), 'attribute-discard');
  assert.equal(action('ibgp'), 'none');
  assert.equal(json(hex).errorHandling.action, 'none');
});

test('a path of two octets is shown with AS4_PATH merged in', () => {
  const hex = updateHex(
    '40010100' + '400206' + '0202' + 'fde95ba0' + '4003040a000002' + 'c01106' + '02010010f447',
    '180a0101',
  );
  const answer = json(hex, { asn4: false });
  assert.equal(answer.asPath, '65001 1111111');
  assert.equal(reencoded(hex, { asn4: false }), hex);
});

test('path identifiers are read where they are asked for', () => {
  const hex = updateHex(ROUTE, '00000007' + '180a0101');
  assert.deepEqual(json(hex, { addPath: new Set([IPV4_UNICAST]) }).nlri, [
    { prefix: '10.1.1.0/24', pathId: 7 },
  ]);
});

test('lines that cannot be read are answered, not skipped', () => {
  assert.match(json('zz').error.message, /^Cannot read hex: .*"z"/);
  assert.match(json('fff').error.message, /^Cannot read hex/);
  assert.deepEqual([json('ff').error.code, json('ff').error.subcode], [1, 2]);
  assert.deepEqual([json('00'.repeat(19)).error.code, json('00'.repeat(19)).error.subcode], [1, 1]);
  const tooLong = `${KEEPALIVE.toString('hex')}00`;
  assert.deepEqual([json(tooLong).error.code, json(tooLong).error.subcode], [1, 2]);
  assert.match(reencoded('zz'), /^\{"error":/);
});

test('colons, spaces and 0x do not matter', () => {
  const hex = KEEPALIVE.toString('hex');
  const spelled = `0x${hex.slice(0, 32).toUpperCase()}:${hex.slice(32, 36)} ${hex.slice(36)}`;
  assert.deepEqual(json(spelled), { type: 'KEEPALIVE', length: 19 });
});

test('several messages on a line are answered by a line each, and sent as one stream', () => {
  const hex = KEEPALIVE.toString('hex').repeat(2);
  assert.equal(decodeLine(hex, OPTIONS).length, 2);
  assert.equal(reencoded(hex), hex);
});

test('the words of a shutdown are shown, through a hard reset too', () => {
  const plain = encodeMessage(cease(2, 'rack 12 moves')).toString('hex');
  assert.equal(json(plain).shutdownCommunication, 'rack 12 moves');
  const hard = json(encodeMessage(hardReset(cease(2, 'rack 12 moves'))).toString('hex'));
  assert.equal(hard.name, 'Cease/Hard Reset');
  assert.equal(hard.hardReset.name, 'Cease/Administrative Shutdown');
  assert.equal(hard.shutdownCommunication, 'rack 12 moves');
});

test('unknown attributes and families are sent as they came, flags and long length included', () => {
  const unknown = 'c0630401020304' + 'e0640105' + 'd0650001ff' + '8066020607';
  const hex = updateHex(`${ROUTE}${unknown}`, '180a0101');
  assert.equal(reencoded(hex), hex);
  const family = updateHex(`800e0e4004470401020304000102030405${ROUTE.slice(0, 26)}`);
  assert.equal(reencoded(family), family);
});

test('a well-known attribute that is unknown here is only a fault on a session', () => {
  const hex = updateHex(`${ROUTE}609904000000647098000400000064`, '180a0101');
  assert.equal(reencoded(hex), updateHex(`${ROUTE}709800040000006460990400000064`, '180a0101'));
  assert.equal(json(hex, { session: 'ebgp' }).errorHandling.action, 'session-reset');
});

test('End-of-RIB is sent with the long length that other speakers use', () => {
  assert.equal(reencoded(updateHex('800f03000201')), updateHex('900f0003000201'));
});

test('what RFC 7606 takes out is not sent on', () => {
  const discarded = updateHex(`${ROUTE}c00705${'00'.repeat(5)}`, '180a0101');
  assert.equal(reencoded(discarded), updateHex(ROUTE, '180a0101'));
  const withdrawn = updateHex(ROUTE.replace('40010100', '40010107'), '180a0101');
  assert.equal(reencoded(withdrawn), updateHex('', '', '180a0101'));
});

test('attributes are sent in ascending order behind MP_REACH_NLRI', () => {
  const reach = `800e1e00020110${'20010db8'.padEnd(32, '0')}004020010db800010000`;
  const hex = updateHex(`400206${'02010000fde9'}40010100${reach}`);
  assert.equal(reencoded(hex), updateHex(`${reach}40010100400206${'02010000fde9'}`));
});

test('every message that can be encoded is sent back as it came', () => {
  const options = { ...CONTEXT, reencode: true };
  fc.assert(
    fc.property(update, (message) => {
      const [bytes] = encodeUpdate(message, CONTEXT, MAX_EXTENDED_LENGTH);
      assert.ok(bytes);
      assert.deepEqual(decodeLine(bytes.toString('hex'), options), [bytes.toString('hex')]);
      assert.equal(
        JSON.parse(decodeLine(bytes.toString('hex'), { ...options, reencode: false })[0] ?? '').type,
        'UPDATE',
      );
    }),
  );
  fc.assert(
    fc.property(open, (message) => {
      const hex = encodeMessage(message).toString('hex');
      assert.deepEqual(decodeLine(hex, options), [hex]);
      assert.equal(JSON.parse(decodeLine(hex, { ...options, reencode: false })[0] ?? '').type, 'OPEN');
    }),
  );
});
