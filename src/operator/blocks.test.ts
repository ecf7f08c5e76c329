import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import {
  addressAt,
  covers,
  formatPrefix,
  networkOf,
  overlaps,
  type Prefix,
  parsePrefix,
} from '../address/prefix.ts';
import { FreeBlocks } from './blocks.ts';

test('blocks are taken from the lowest free place and never twice', () => {
  const free = new FreeBlocks(parsePrefix('10.0.0.0/24'), 26, [parsePrefix('10.0.0.64/26')]);
  const taken = Array.from({ length: 4 }, () => free.take()).map((block) => block && formatPrefix(block));
  assert.deepEqual(taken, ['10.0.0.0/26', '10.0.0.128/26', '10.0.0.192/26', undefined]);
});

test('a block is free only if no address of it is taken, by whatever mask', () => {
  const pool = parsePrefix('10.0.0.0/24');
  const small = new FreeBlocks(pool, 26, [parsePrefix('10.0.0.70/32')]);
  assert.deepEqual(small.describe(9), ['10.0.0.0/26', '10.0.0.128/26 to 10.0.0.192/26']);
  const large = new FreeBlocks(pool, 26, [parsePrefix('10.0.0.0/16')]);
  assert.equal(large.count, 0n);
});

test('an IPv6 pool of 2^74 blocks costs nothing to look at', () => {
  const free = new FreeBlocks(parsePrefix('fd00::/48'), 122, [parsePrefix('fd00::/123')]);
  assert.equal(free.count, (1n << 74n) - 1n);
  assert.equal(formatPrefix(free.take() as Prefix), 'fd00::40/122');
});

test('whatever is taken, free blocks lie inside the pool and overlap nothing', () => {
  const pool = parsePrefix('10.0.0.0/22');
  const taken = fc
    .tuple(fc.integer({ min: 0, max: 2047 }), fc.integer({ min: 20, max: 32 }))
    .map(([index, length]) => networkOf({ address: addressAt(parsePrefix('10.0.0.0/21'), index), length }));
  fc.assert(
    fc.property(fc.array(taken, { maxLength: 12 }), fc.integer({ min: 22, max: 28 }), (held, length) => {
      const free = new FreeBlocks(pool, length, held);
      const count = free.count;
      const blocks: Prefix[] = [];
      for (let block = free.take(); block; block = free.take()) blocks.push(block);
      assert.equal(BigInt(blocks.length), count);
      for (const [index, block] of blocks.entries()) {
        assert.ok(covers(pool, block));
        assert.ok(!held.some((other) => overlaps(other, block)));
        assert.ok(!blocks.slice(0, index).some((other) => overlaps(other, block)));
      }
    }),
  );
});
