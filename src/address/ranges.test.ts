import assert from 'node:assert/strict';
import { test } from 'node:test';
import { formatPrefix, parsePrefix } from './prefix.ts';
import { sizeOf, within } from './ranges.ts';

const prefixes = (...texts: string[]) => texts.map(parsePrefix);

test('what lies in a prefix is counted once, however often and however widely it is named', () => {
  const ranges = prefixes(
    '10.0.0.8/31',
    '10.0.0.8/32',
    '10.0.0.4/30',
    '10.0.0.8/31',
    '10.0.1.0/24',
    'fd00::/64',
  );
  const parts = within(parsePrefix('10.0.0.0/28'), ranges);
  assert.deepEqual(parts.map(formatPrefix), ['10.0.0.4/30', '10.0.0.8/31']);
  assert.equal(sizeOf(parts), 6n);
  assert.deepEqual(within(parsePrefix('10.0.0.9/32'), ranges).map(formatPrefix), ['10.0.0.9/32']);
  assert.deepEqual(within(parsePrefix('10.0.2.0/24'), ranges), []);
});
