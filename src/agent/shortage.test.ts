import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { Source } from '../ipam/binding.ts';
import { Shortage } from './shortage.ts';

function source(family: 4 | 6, ...pools: string[]): Source {
  return { family, bound: pools.length > 0, pools, why: 'the test' };
}

test('what attachments wait for is added up by family and pool, and gone when they have tried again', async () => {
  let said = 0;
  const shortage = new Shortage(() => said++);
  const waiting = [
    shortage.wait(source(4), 10_000),
    shortage.wait(source(4), 10_000),
    shortage.wait(source(4, 'a', 'b'), 10_000),
    shortage.wait(source(6, 'a'), 10_000),
  ];
  assert.equal(said, 4);
  assert.deepEqual(shortage.requests(), [
    { family: 4, addresses: 2 },
    { family: 4, addresses: 1, pool: 'a' },
    { family: 4, addresses: 1, pool: 'b' },
    { family: 6, addresses: 1, pool: 'a' },
  ]);
  shortage.relieve();
  await Promise.all(waiting);
  assert.deepEqual(shortage.requests(), []);
});

test('nobody waits longer than told', async () => {
  const shortage = new Shortage(() => {});
  await shortage.wait(source(4), 5);
  assert.deepEqual(shortage.requests(), []);
});

test('who was refused goes on asking until something may help, but not beside those that wait', async () => {
  const shortage = new Shortage(() => {});
  shortage.refused(source(4));
  shortage.refused(source(4));
  assert.deepEqual(shortage.requests(), [{ family: 4, addresses: 1 }]);
  const waiting = shortage.wait(source(4), 10_000);
  assert.deepEqual(shortage.requests(), [{ family: 4, addresses: 1 }]);
  shortage.relieve();
  await waiting;
  assert.deepEqual(shortage.requests(), []);
});
