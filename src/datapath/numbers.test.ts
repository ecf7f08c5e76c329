import assert from 'node:assert/strict';
import { test } from 'node:test';
import { NumberPool } from './numbers.ts';

test('numbers begin at 1 and end before the limit', () => {
  const pool = new NumberPool(3, () => 0);
  assert.deepEqual([pool.take(), pool.take(), pool.take()], [1, 2, undefined]);
});

test('a number rests for a minute, and the longest rested goes out first', () => {
  let now = 0;
  const pool = new NumberPool(100, () => now);
  for (let taken = 0; taken < 3; taken++) pool.take();
  pool.give(2);
  now = 30;
  pool.give(1);
  now = 59;
  assert.equal(pool.take(), 4);
  now = 90;
  assert.deepEqual([pool.take(), pool.take(), pool.take()], [2, 1, 5]);
});

test('numbers that were in use stay so, and the gaps between them rest', () => {
  let now = 0;
  const pool = new NumberPool(100, () => now);
  pool.adopt((number) => number === 2 || number === 4, 5);
  assert.equal(pool.take(), 6);
  now = 60;
  assert.deepEqual([pool.take(), pool.take(), pool.take(), pool.take()], [1, 3, 5, 7]);
});

test('any number of numbers may come and go', () => {
  let now = 0;
  const pool = new NumberPool(10_000, () => now);
  for (let round = 0; round < 5000; round++) {
    now += 61;
    const number = pool.take();
    assert.equal(number, 1);
    pool.give(1);
  }
});
