import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { DownReason } from '../fsm/connection.ts';
import { CEASE_SUBCODE, cease, type Notification } from '../wire/notification.ts';
import { isWorthTelling } from './lastReset.ts';

const badPeerAs: Notification = { type: 'NOTIFICATION', code: 2, subcode: 2, data: Buffer.alloc(0) };
const sent = (notification: Notification): DownReason => ({ type: 'notificationSent', notification });
const received = (notification: Notification): DownReason => ({ type: 'notificationReceived', notification });
const nobody: DownReason = { type: 'connectionLost', error: 'ECONNREFUSED' };

test('a connection that was no session is told of only if its end says something new', () => {
  const cases: [DownReason, boolean][] = [
    [sent(badPeerAs), true],
    [received(badPeerAs), true],
    [received(cease(CEASE_SUBCODE.connectionRejected)), true],
    [received(cease(CEASE_SUBCODE.collision)), false],
    [sent(cease(CEASE_SUBCODE.collision)), false],
    [sent(cease(CEASE_SUBCODE.configurationChange)), false],
    [{ type: 'left' }, false],
    [{ type: 'superseded' }, false],
    [nobody, false],
  ];
  const before = { reason: sent(badPeerAs), at: 0 };
  for (const [reason, worth] of cases)
    assert.equal(isWorthTelling(reason, before), worth, JSON.stringify(reason));
  assert.ok(isWorthTelling(nobody, undefined), 'better than nothing');
});
