import assert from 'node:assert/strict';
import { test } from 'node:test';
import { formatIP, parseIP } from '../address/ip.ts';
import { chooseAddresses } from './nodeAddresses.ts';

function choose(pinned: readonly string[], former: readonly string[], assigned: readonly string[]): string[] {
  const parsed = (texts: readonly string[]) => texts.map(parseIP);
  return chooseAddresses(parsed(pinned), parsed(former), parsed(assigned)).map(formatIP);
}

test('a node has the first address of each family', () => {
  assert.deepEqual(choose([], [], ['192.0.2.1', '192.0.2.2', '2001:db8::1', '2001:db8::2']), [
    '192.0.2.1',
    '2001:db8::1',
  ]);
  assert.deepEqual(choose([], [], []), []);
});

test('what is configured comes first, and is the only one of its family', () => {
  assert.deepEqual(choose(['2001:db8::9'], [], ['192.0.2.1', '2001:db8::1']), ['2001:db8::9', '192.0.2.1']);
});

test('both may be configured, in the order of their importance', () => {
  const pinned = ['2001:db8::9', '192.0.2.9'];
  assert.deepEqual(choose(pinned, [], ['192.0.2.1', '2001:db8::1']), pinned);
});

test('an address stays while it is assigned, whatever comes before it', () => {
  assert.deepEqual(choose([], ['192.0.2.2'], ['192.0.2.1', '192.0.2.2']), ['192.0.2.2']);
});

test('another one takes its place when it is gone, and none does not', () => {
  assert.deepEqual(choose([], ['192.0.2.2', '2001:db8::2'], ['192.0.2.3']), ['192.0.2.3', '2001:db8::2']);
});
