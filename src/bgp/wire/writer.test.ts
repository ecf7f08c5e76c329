import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Writer } from './writer.ts';

test('a value that makes the buffer grow is not lost, whatever its size', () => {
  for (let filled = 0; filled < 20; filled++) {
    const writer = new Writer(8).put(Buffer.alloc(filled, 0xee));
    writer
      .u8(0x01)
      .u16(0x0203)
      .u24(0x040506)
      .u32(0x0708090a)
      .u64(0x0b0c0d0e0f101112n)
      .put(Buffer.from([0x13]));
    const expected = Buffer.from(Array.from({ length: 0x13 }, (_, index) => index + 1));
    assert.deepEqual(writer.done().subarray(filled), expected);
  }
});
