import assert from 'node:assert/strict';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { openDirectoryStore } from '../store/directory/directory.ts';
import type { Store } from '../store/store.ts';
import { Election } from './election.ts';

async function withStore(body: (store: Store) => Promise<void>): Promise<void> {
  const directory = mkdtempSync(join(tmpdir(), 'tombolo-election-'));
  const store = openDirectoryStore(directory);
  try {
    await body(store);
  } finally {
    await store.close();
    rmSync(directory, { recursive: true });
  }
}

function candidates(store: Store, count: number) {
  const clock = { now: 0 };
  const elections = Array.from(
    { length: count },
    (_, index) =>
      new Election({
        store,
        identity: `operator-${index}`,
        duration: 15_000,
        monotonic: () => clock.now,
        wallTime: () => new Date(1_700_000_000_000 + clock.now),
      }),
  );
  return { clock, elections };
}

test('of many candidates at once exactly one leads', () =>
  withStore(async (store) => {
    const { elections } = candidates(store, 5);
    await Promise.all(elections.map((election) => election.campaign()));
    assert.equal(elections.filter(({ leads }) => leads).length, 1);
  }));

test('a leader that falls silent is followed only after its lease has stood still for its whole duration', () =>
  withStore(async (store) => {
    const { clock, elections } = candidates(store, 2);
    const [first, second] = elections as [Election, Election];
    assert.equal(await first.campaign(), true);
    assert.equal(await second.campaign(), false);
    clock.now = 14_000;
    assert.equal(first.leads, false, 'the silent leader has given up before anybody may follow');
    assert.equal(await second.campaign(), false);
    clock.now = 15_000;
    assert.equal(await second.campaign(), true);
    assert.equal(await first.campaign(), false);
    const lease = await store.get('Lease', { namespace: 'kube-system', name: 'tombolo-operator' });
    assert.equal(lease.spec?.leaseTransitions, 1);
  }));

test('a leader that renews stays one, and one that resigns is followed at once', () =>
  withStore(async (store) => {
    const { clock, elections } = candidates(store, 2);
    const [first, second] = elections as [Election, Election];
    for (; clock.now < 60_000; clock.now += 5_000) {
      assert.equal(await first.campaign(), true);
      assert.equal(await second.campaign(), false);
    }
    await first.resign();
    assert.equal(await second.campaign(), true);
  }));
