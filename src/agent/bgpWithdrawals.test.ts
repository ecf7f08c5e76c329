import assert from 'node:assert/strict';
import { test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { parsePrefix } from '../address/prefix.ts';
import { Withdrawals } from './bgpWithdrawals.ts';

const SEGMENT = parsePrefix('10.77.1.0/24');

/** Neighbours that hold a prefix until told to let go. */
function world() {
  const holders = new Set<string>();
  let told = 0;
  let asked = 0;
  const withdrawals = new Withdrawals({
    async ask(_method, path) {
      asked++;
      assert.equal(path, '/v1/bgp/holders?prefix=10.77.1.0%2F24');
      return { status: 200, body: { holders: [...holders] } };
    },
    withdrawn: () => told++,
  });
  return { withdrawals, holders, told: () => told, asked: () => asked };
}

test('a segment is withdrawn when no neighbour holds it any more, and that is told once', async () => {
  const { withdrawals, holders, told } = world();
  holders.add('leaf');
  withdrawals.expect([SEGMENT]);
  await sleep(200);
  assert.equal(withdrawals.has(SEGMENT), false);
  holders.clear();
  await sleep(400);
  assert.equal(withdrawals.has(SEGMENT), true);
  withdrawals.expect([SEGMENT]);
  await sleep(100);
  assert.equal(told(), 1);
  withdrawals.stop();
});

test('a segment that is announced again must be withdrawn again', async () => {
  const { withdrawals, holders } = world();
  withdrawals.expect([SEGMENT]);
  await sleep(100);
  assert.equal(withdrawals.has(SEGMENT), true);
  withdrawals.expect([]);
  assert.equal(withdrawals.has(SEGMENT), false);
  holders.add('leaf');
  withdrawals.expect([SEGMENT]);
  await sleep(100);
  assert.equal(withdrawals.has(SEGMENT), false);
  withdrawals.stop();
});

test('nobody is asked while nothing is given back', async () => {
  const { withdrawals, asked } = world();
  withdrawals.expect([]);
  await sleep(100);
  assert.equal(asked(), 0);
  withdrawals.stop();
});
