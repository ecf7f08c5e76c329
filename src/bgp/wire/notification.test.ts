import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { frame } from './frame.ts';
import { encodeMessage } from './message.ts';
import {
  cease,
  decodeNotification,
  describeNotification,
  hardReset,
  type Notification,
  notificationName,
  shutdownCommunication,
  unwrapHardReset,
} from './notification.ts';

function notification(code: number, subcode: number, data = ''): Notification {
  return { type: 'NOTIFICATION', code, subcode, data: Buffer.from(data, 'hex') };
}

test('decoding gives back the NOTIFICATION that was encoded', () => {
  const byte = fc.integer({ min: 0, max: 255 });
  fc.assert(
    fc.property(byte, byte, fc.uint8Array({ maxLength: 60 }), (code, subcode, data) => {
      const message = notification(code, subcode, Buffer.from(data).toString('hex'));
      assert.deepEqual(decodeNotification(encodeMessage(message)), message);
    }),
  );
});

test('words that are too long are cut at a character, not inside one', () => {
  const { data } = cease(2, `${'x'.repeat(253)}ß and more`);
  assert.equal(data[0], 255);
  assert.equal(shutdownCommunication(cease(2, `${'x'.repeat(254)}ß`)), 'x'.repeat(254));
});

test('only a shutdown and a reset carry words', () => {
  assert.equal(cease(3, 'gone').data.length, 0);
  assert.equal(shutdownCommunication(cease(4, 'again')), 'again');
  assert.equal(shutdownCommunication(notification(6, 3, '04676f6e65')), undefined);
});

test('words with a length that does not fit are no words', () => {
  assert.equal(shutdownCommunication(notification(6, 2, '0561')), undefined);
  assert.equal(shutdownCommunication(notification(6, 2, '00')), undefined);
  assert.equal(shutdownCommunication(notification(6, 2)), undefined);
});

test('control characters of the peer do not reach a log', () => {
  const data = Buffer.from('\u0005a\n\u001b[b');
  assert.equal(shutdownCommunication(notification(6, 2, data.toString('hex'))), 'a  [b');
});

test('a hard reset wraps what would have been said, and names both', () => {
  const wrapped = hardReset(cease(2, 'moved'));
  assert.deepEqual(unwrapHardReset(wrapped), cease(2, 'moved'));
  assert.equal(describeNotification(wrapped), 'Cease/Hard Reset (Cease/Administrative Shutdown): moved');
  assert.equal(unwrapHardReset(notification(6, 9)), undefined);
});

test('codes without a name stay numbers', () => {
  assert.equal(notificationName({ code: 3, subcode: 11 }), 'UPDATE Message Error/Malformed AS_PATH');
  assert.equal(notificationName({ code: 4, subcode: 0 }), 'Hold Timer Expired');
  assert.equal(notificationName({ code: 3, subcode: 77 }), 'UPDATE Message Error/77');
  assert.equal(notificationName({ code: 99, subcode: 1 }), '99/1');
});

test('the shortest NOTIFICATION has no data', () => {
  assert.deepEqual(decodeNotification(frame('NOTIFICATION', Buffer.of(6, 4))), notification(6, 4));
});
