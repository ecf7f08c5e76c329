import assert from 'node:assert/strict';
import { test } from 'node:test';
import { formatPrefix, parsePrefix } from '../address/prefix.ts';
import { type Pool, reservedBlocks, reservedIn, usableAddresses } from './pool.ts';
import { poolUses } from './poolUse.ts';
import { readPool } from './reading.ts';

function poolOf(...reserved: string[]): Pool {
  const spec = { cidr: '10.0.0.0/26', blockSize: 30, reserved };
  return readPool({ apiVersion: '', kind: 'IPPool', metadata: { name: 'default' }, spec });
}

test('what is reserved of a block costs its addresses, and the block only where nothing is left of it', () => {
  const pool = poolOf('10.0.0.8/31', '10.0.0.9/32', '10.0.0.16/31', '10.0.0.18/31', '10.0.0.32/29');
  assert.deepEqual(reservedBlocks(pool).map(formatPrefix), ['10.0.0.32/29', '10.0.0.16/30']);
  const usable = (block: string) => usableAddresses(pool, parsePrefix(block));
  assert.deepEqual(['10.0.0.4/30', '10.0.0.8/30', '10.0.0.16/30', '10.0.0.36/30'].map(usable), [4, 2, 0, 0]);
  assert.deepEqual(reservedIn(pool, parsePrefix('10.0.0.8/30')).map(formatPrefix), ['10.0.0.8/31']);
});

test('the use of a pool counts reserved addresses apart from those of its blocks', () => {
  const block = {
    cidr: parsePrefix('10.0.0.8/30'),
    pool: 'default',
    state: 'active',
    generation: 1,
  } as const;
  const node = { name: 'a', labels: {}, present: true, segments: [block], reports: [], requests: [] };
  const world = { unreadable: [], uncertain: [], maxBlocksPerNode: 0, shrinkAfter: 0, now: 0 };
  const [use] = poolUses({ ...world, pools: [poolOf('10.0.0.8/31', '10.0.0.16/30')], nodes: [node] }, []);
  const { total, free, held, capacity, reserved } = use ?? {};
  const expected = { total: '16', free: '14', held: 1, capacity: '2', reserved: '6' };
  assert.deepEqual({ total, free, held, capacity, reserved }, expected);
});
