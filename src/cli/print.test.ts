import assert from 'node:assert/strict';
import { test } from 'node:test';
import { age, sheet, table } from './print.ts';

test('columns are as wide as their widest cell, and lines end where their text does', () => {
  const text = table(
    ['NAME', 'ADDRESSES', 'N'],
    [
      ['a-long-name', ['10.0.0.1', 'fd00::1'], 1],
      ['é', undefined, ''],
    ],
  );
  assert.equal(
    text,
    'NAME         ADDRESSES         N\na-long-name  10.0.0.1,fd00::1  1\né            -                 -\n',
  );
});

test('a sheet keeps its second lines under the first', () => {
  assert.equal(
    sheet([
      ['Node', 'n1'],
      ['Segments', 'a\nb'],
    ]),
    'Node      n1\nSegments  a\n          b\n',
  );
});

test('ages are told as kubectl tells them', () => {
  const now = Date.parse('2025-01-10T00:00:00Z');
  const of = (seconds: number) => age(now - seconds * 1000, now);
  assert.deepEqual([0, 119, 120, 7199, 7200, 172_799, 172_800].map(of), [
    '0s',
    '119s',
    '2m',
    '119m',
    '2h',
    '47h',
    '2d',
  ]);
  assert.equal(age(undefined), '');
});
