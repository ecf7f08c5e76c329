import assert from 'node:assert/strict';
import { test } from 'node:test';
import { setImmediate } from 'node:timers/promises';
import { Turns } from './turns.ts';

test('whoever watches knows whose turn it is, and has been since', async () => {
  const turns = new Turns();
  await turns.take('before', setImmediate);
  const running = turns.take('running', setImmediate);
  await turns.watching(async (busy) => {
    assert.deepEqual([...busy], ['running']);
    await running;
    await turns.take('since', setImmediate);
    assert.deepEqual([...busy], ['running', 'since']);
  });
  await turns.watching(async (busy) => assert.deepEqual([...busy], []));
});

test('work on one key is done in order, also past a failure; other keys do not wait', async () => {
  const turns = new Turns();
  const events: string[] = [];
  const work =
    (name: string, fail = false) =>
    async () => {
      events.push(`${name} begins`);
      await setImmediate();
      events.push(`${name} ends`);
      if (fail) throw new Error(name);
      return name;
    };
  const all = await Promise.allSettled([
    turns.take('a', work('first', true)),
    turns.take('a', work('second')),
    turns.take('b', work('other')),
  ]);
  assert.deepEqual(
    all.map(({ status }) => status),
    ['rejected', 'fulfilled', 'fulfilled'],
  );
  assert.ok(events.indexOf('first ends') < events.indexOf('second begins'));
  assert.ok(events.indexOf('other begins') < events.indexOf('first ends'));
});
