import assert from 'node:assert/strict';
import { test } from 'node:test';
import { setTimeout as wait } from 'node:timers/promises';
import { settling } from './settling.ts';

/** Work that counts its runs, each of which lasts until it is released. */
function slowWork(ms: number) {
  let runs = 0;
  let release = () => {};
  const work = settling(
    ms,
    () => {
      runs++;
      return new Promise<void>((resolve) => {
        release = resolve;
      });
    },
    (error) => assert.fail(String(error)),
  );
  return { work, runs: () => runs, release: () => release() };
}

test('many calls are one piece of work, and those that come meanwhile are one more', async () => {
  const { work, runs, release } = slowWork(1);
  for (let i = 0; i < 10; i++) work.soon();
  await wait(10);
  assert.equal(runs(), 1);
  for (let i = 0; i < 10; i++) work.soon();
  await wait(10);
  assert.equal(runs(), 1);
  release();
  await wait(10);
  assert.equal(runs(), 2);
  release();
  await work.stop();
});

test('a failure is told, and the next call works again', async () => {
  const failures: unknown[] = [];
  let runs = 0;
  const work = settling(
    1,
    () => {
      if (++runs === 1) throw new Error('first');
    },
    (error) => failures.push(error),
  );
  work.soon();
  await wait(10);
  work.soon();
  await wait(10);
  assert.equal(failures.length, 1);
  assert.equal(runs, 2);
  await work.stop();
});

test('what cannot wait takes along what could, once', async () => {
  let runs = 0;
  const work = settling(
    60_000,
    () => {
      runs++;
    },
    (error) => assert.fail(String(error)),
  );
  work.soon();
  work.now();
  work.now();
  await wait(10);
  assert.equal(runs, 1);
  work.soon();
  await wait(10);
  assert.equal(runs, 1);
  await work.stop();
});

test('work that has failed is done again later, as the last call says, and not after its end', async () => {
  let runs = 0;
  let repeated = () => {};
  const repetition = new Promise<void>((resolve) => {
    repeated = resolve;
  });
  const work = settling(
    0,
    () => {
      if (++runs > 1) return repeated();
      throw new Error('refused');
    },
    () => {
      work.later(60_000);
      work.later(1);
    },
  );
  work.soon();
  await repetition;
  assert.equal(runs, 2);
  work.later(5);
  await work.stop();
  work.later(0);
  await wait(10);
  assert.equal(runs, 2);
});

test('after its end nothing begins any more, whoever calls', async () => {
  const { work, runs, release } = slowWork(0);
  work.soon();
  await wait(10);
  work.soon();
  const stopped = work.stop();
  work.soon();
  release();
  await stopped;
  work.soon();
  work.now();
  await wait(10);
  assert.equal(runs(), 1);
});
