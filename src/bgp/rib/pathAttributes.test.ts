import assert from 'node:assert/strict';
import { test } from 'node:test';
import { AttributeBlock, COMMUNITIES, MULTI_EXIT_DISC, OPTIONAL, TRANSITIVE } from './pathAttributes.ts';

test('of an attribute that repeats the first counts, whether the block was in order or not', () => {
  const value = (last: number) => Uint8Array.of(0, 0, 0, last);
  const inOrder = new AttributeBlock();
  inOrder.put(MULTI_EXIT_DISC, OPTIONAL, value(1));
  inOrder.put(MULTI_EXIT_DISC, OPTIONAL, value(2));
  inOrder.put(COMMUNITIES, OPTIONAL | TRANSITIVE, value(3));
  const shuffled = new AttributeBlock();
  shuffled.put(COMMUNITIES, OPTIONAL | TRANSITIVE, value(3));
  shuffled.put(MULTI_EXIT_DISC, OPTIONAL, value(1));
  shuffled.put(MULTI_EXIT_DISC, OPTIONAL, value(2));
  for (const block of [inOrder, shuffled]) {
    const { bytes, length } = block.sort();
    assert.equal(Buffer.from(bytes.subarray(0, length)).toString('hex'), '80040400000001c0080400000003');
  }
});
