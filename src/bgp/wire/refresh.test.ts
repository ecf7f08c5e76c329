import assert from 'node:assert/strict';
import { test } from 'node:test';
import { MessageError } from './error.ts';
import { afiSafiOf, IPV6_UNICAST } from './family.ts';
import { frame } from './frame.ts';
import { encodeMessage } from './message.ts';
import { decodeRouteRefresh, REFRESH_BEGIN } from './refresh.ts';

const refresh = (body: string) => frame('ROUTE-REFRESH', Buffer.from(body, 'hex'));

test('ROUTE-REFRESH keeps family and subtype, unknown ones too', () => {
  for (const [family, subtype] of [
    [IPV6_UNICAST, REFRESH_BEGIN],
    [afiSafiOf(16388, 71), 255],
  ] as const) {
    const message = { type: 'ROUTE-REFRESH' as const, family, subtype };
    assert.deepEqual(decodeRouteRefresh(encodeMessage(message)), message);
  }
});

test('a request may carry outbound route filters, which are not read', () => {
  assert.equal(decodeRouteRefresh(refresh('00010001' + '01' + '80' + '0000')).family, 0x101);
});

test('a body of the wrong length is 7/1 and comes back whole', () => {
  for (const body of ['', '000100', '0001010100', '0001020100']) {
    const message = refresh(body);
    assert.throws(
      () => decodeRouteRefresh(message),
      (error) =>
        error instanceof MessageError &&
        error.code === 7 &&
        error.subcode === 1 &&
        error.data.equals(message),
    );
  }
});
