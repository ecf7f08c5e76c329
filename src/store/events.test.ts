import assert from 'node:assert/strict';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { silentLog } from '../log.ts';
import { openDirectoryStore } from './directory/directory.ts';
import { EventRecorder } from './events.ts';
import type { Store } from './store.ts';

interface Bench {
  readonly store: Store;
  /** Wall time. */
  clock: number;
  recorder(): EventRecorder;
}

function withStore(claim: string, run: (bench: Bench) => Promise<void>): void {
  test(claim, async () => {
    const directory = mkdtempSync(join(tmpdir(), 'tombolo-events-'));
    const store = openDirectoryStore(directory);
    const bench: Bench = {
      store,
      clock: 1_700_000_000_000,
      recorder: () =>
        new EventRecorder({
          store,
          component: 'tombolo-agent',
          host: 'a',
          now: () => bench.clock,
          log: silentLog,
        }),
    };
    try {
      await run(bench);
    } finally {
      await store.close();
      rmSync(directory, { recursive: true });
    }
  });
}

const POD = { kind: 'Pod', namespace: 'shop', name: 'web-0', uid: 'u1' };
const FULL = { type: 'Warning', reason: 'IPAllocationFailed', message: 'pool bank is full' } as const;

async function events(store: Store) {
  const { items } = await store.list('Event');
  return items.map(
    ({ reason, message, count, metadata }) => `${metadata.namespace} ${reason} ${count} ${message}`,
  );
}

withStore(
  'what happens to an object is told in its namespace, with its words',
  async ({ store, recorder }) => {
    const one = recorder();
    one.record(POD, FULL);
    one.record({ kind: 'IPPool', name: 'bank' }, { ...FULL, reason: 'PoolExhausted' });
    await one.settled();
    assert.deepEqual(await events(store), [
      'default PoolExhausted 1 pool bank is full',
      'shop IPAllocationFailed 1 pool bank is full',
    ]);
    const [, event] = (await store.list('Event')).items;
    assert.deepEqual(event?.involvedObject, { kind: 'Pod', namespace: 'shop', name: 'web-0', uid: 'u1' });
    assert.match(event?.lastTimestamp ?? '', /^2023-11-14T22:13:20Z$/);
  },
);

withStore(
  'what repeats itself is counted and written once a minute, also by the next process',
  async (bench) => {
    const one = bench.recorder();
    for (let time = 0; time < 100; time++) one.record(POD, FULL);
    await one.settled();
    assert.deepEqual(await events(bench.store), ['shop IPAllocationFailed 1 pool bank is full']);
    bench.clock += 60_000;
    one.record(POD, FULL);
    await one.settled();
    assert.deepEqual(await events(bench.store), ['shop IPAllocationFailed 101 pool bank is full']);
    const next = bench.recorder();
    next.record(POD, FULL);
    await next.settled();
    assert.deepEqual(await events(bench.store), ['shop IPAllocationFailed 102 pool bank is full']);
  },
);

withStore('one object does not use up more than its share, nor all of them together', async (bench) => {
  const one = bench.recorder();
  for (let time = 0; time < 60; time++) {
    bench.clock += 1000;
    one.record(POD, { ...FULL, message: `attempt ${time}` });
  }
  assert.equal(one.counts.dropped, 35);
  bench.clock += 300_000;
  one.record(POD, { ...FULL, message: 'later' });
  assert.equal(one.counts.dropped, 35);
  bench.clock += 1000;
  for (let index = 0; index < 15; index++) one.record({ ...POD, name: `web-${index + 1}` }, FULL);
  await one.settled();
  assert.deepEqual(one.counts, { written: 36, repeated: 0, dropped: 40, failed: 0 });
});

withStore('where nobody else does, what is an hour old is forgotten', async (bench) => {
  const one = bench.recorder();
  one.record(POD, FULL);
  await one.settled();
  bench.clock += 3_700_000;
  one.record(POD, { ...FULL, message: 'again' });
  await one.settled();
  assert.deepEqual(await events(bench.store), ['shop IPAllocationFailed 1 again']);
});
