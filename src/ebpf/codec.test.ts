import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { be16, padding, raw, struct, u8, u16, u32, u64, unlessZero } from './codec.ts';

const sample = struct<{ a: number; port: number; b: bigint; c: number; bytes: Buffer; d: number }>({
  a: u8,
  zero: padding(1),
  port: be16,
  d: u32,
  b: u64,
  c: u16,
  bytes: raw(6),
});

test('a struct lies as C would lay it out, with ports in network order and padding zero', () => {
  const bytes = Buffer.alloc(24, 0xff);
  sample.write(bytes, 0, { a: 1, port: 80, d: 2, b: 3n, c: 4, bytes: Buffer.from('abcdef') });
  assert.equal(bytes.toString('hex'), '0100005002000000030000000000000004006162636465 66'.replace(' ', ''));
  assert.deepEqual(
    sample.fields.map(({ name, offset }) => `${name}@${offset}`),
    ['a@0', 'zero@1', 'port@2', 'd@4', 'b@8', 'c@16', 'bytes@18'],
  );
});

test('what was written is read back, at any offset', () => {
  const value = fc.record(
    {
      a: fc.integer({ min: 0, max: 255 }),
      port: fc.integer({ min: 0, max: 65535 }),
      d: fc.integer({ min: 0, max: 0xffffffff }),
      b: fc.bigInt({ min: 0n, max: 2n ** 64n - 1n }),
      c: fc.integer({ min: 0, max: 65535 }),
      bytes: fc.uint8Array({ minLength: 6, maxLength: 6 }).map((bytes) => Buffer.from(bytes)),
    },
    { noNullPrototype: true },
  );
  fc.assert(
    fc.property(value, fc.nat(16), (value, offset) => {
      const bytes = Buffer.alloc(sample.size + offset);
      sample.write(bytes, offset, value);
      assert.deepEqual(sample.read(bytes, offset), value);
    }),
  );
});

test('bytes of another length are refused', () => {
  assert.throws(
    () => raw(6).write(Buffer.alloc(8), 0, Buffer.alloc(7)),
    /Cannot encode bytes: expected 6 \(value 7\)/,
  );
});

test('a value that was never written reads as none', () => {
  const sparse = unlessZero(sample, 0);
  const bytes = Buffer.alloc(24);
  assert.equal(sparse.read(bytes, 0), undefined);
  const value = { a: 1, port: 0, d: 0, b: 0n, c: 0, bytes: Buffer.alloc(6) };
  sparse.write(bytes, 0, value);
  assert.deepEqual(sparse.read(bytes, 0), value);
  sparse.write(bytes, 0, undefined);
  assert.ok(bytes.every((byte) => byte === 0));
});
