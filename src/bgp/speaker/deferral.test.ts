import assert from 'node:assert/strict';
import { test } from 'node:test';
import { IPV4_UNICAST, IPV6_UNICAST } from '../wire/family.ts';
import { beginDeferral, cameUp, forgotten, isOver, lost, nextCheck, saidEndOfRib } from './deferral.ts';

const both = [IPV4_UNICAST, IPV6_UNICAST];
const hello = (families: typeof both, restarted = false) => ({ families, restarted, now: 100 });

test('a restarting speaker waits for the End-of-RIB of every family of every peer', () => {
  let deferral = cameUp(beginDeferral(['a', 'b'], 0, 120_000), 'a', hello(both));
  deferral = saidEndOfRib(deferral, 'a', IPV4_UNICAST);
  deferral = cameUp(deferral, 'b', hello([IPV4_UNICAST]));
  deferral = saidEndOfRib(deferral, 'b', IPV4_UNICAST);
  assert.equal(isOver(deferral, 100), false);
  assert.equal(isOver(saidEndOfRib(deferral, 'a', IPV6_UNICAST), 100), true);
});

test('peers without graceful restart are not waited for once they are up', () => {
  assert.equal(isOver(cameUp(beginDeferral(['a'], 0, 120_000), 'a', hello([])), 10), true);
});

test('a dead peer costs the time to come back, not the whole deferral', () => {
  const begun = beginDeferral(['a', 'dead'], 0, 120_000);
  const deferral = saidEndOfRib(cameUp(begun, 'a', hello([IPV4_UNICAST])), 'a', IPV4_UNICAST);
  assert.equal(isOver(deferral, 14_999), false);
  assert.equal(nextCheck(deferral, 5_000), 15_000);
  assert.equal(isOver(deferral, 15_000), true);
});

test('a peer that has restarted, too, is waited for a moment only', () => {
  const deferral = cameUp(beginDeferral(['a'], 0, 120_000), 'a', hello(both, true));
  assert.equal(isOver(deferral, 101), false);
  assert.equal(nextCheck(deferral, 101), 5_100);
  assert.equal(isOver(deferral, 5_100), true);
  const said = saidEndOfRib(saidEndOfRib(deferral, 'a', IPV4_UNICAST), 'a', IPV6_UNICAST);
  assert.equal(isOver(said, 102), true);
});

test('a peer that ends its session for good owes nothing more', () => {
  const deferral = forgotten(cameUp(beginDeferral(['a'], 0, 120_000), 'a', hello(both)), 'a');
  assert.equal(isOver(deferral, 1), true);
});

for (const restarted of [false, true]) {
  test(`a peer that restarts before it has said End-of-RIB ${restarted ? 'once more ' : ''}is waited for as if it had not come yet`, () => {
    const up = cameUp(beginDeferral(['a'], 0, 120_000), 'a', hello(both, restarted));
    const partly = saidEndOfRib(up, 'a', IPV4_UNICAST);
    const deferral = lost(partly, 'a', 3_000);
    assert.equal(isOver(deferral, 17_999), false);
    assert.equal(nextCheck(deferral, 16_000), 18_000);
    assert.equal(isOver(deferral, 18_000), true, 'and no longer');
    const back = cameUp(deferral, 'a', hello([IPV4_UNICAST]));
    assert.equal(isOver(back, 18_000), false, 'it is back, and owes its routes');
    assert.equal(isOver(saidEndOfRib(back, 'a', IPV4_UNICAST), 18_000), true);
  });
}

test('a peer that restarts again and again costs the whole deferral and no more', () => {
  let deferral = beginDeferral(['a'], 0, 20_000);
  for (const now of [3_000, 12_000]) deferral = lost(cameUp(deferral, 'a', hello(both)), 'a', now);
  assert.equal(isOver(deferral, 19_999), false);
  assert.equal(isOver(deferral, 20_000), true);
});

test('a peer that restarts when it has said everything owes nothing more: its routes are kept', () => {
  const said = saidEndOfRib(
    cameUp(beginDeferral(['a'], 0, 120_000), 'a', hello([IPV4_UNICAST])),
    'a',
    IPV4_UNICAST,
  );
  assert.equal(isOver(lost(said, 'a', 3_000), 3_000), true);
});

test('a peer that never says End-of-RIB costs the whole deferral and no more', () => {
  const deferral = cameUp(beginDeferral(['a'], 0, 60_000), 'a', hello(both));
  assert.equal(isOver(deferral, 59_999), false);
  assert.equal(nextCheck(deferral, 20_000), 60_000);
  assert.equal(isOver(deferral, 60_000), true);
});
