import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { type IPv4, type IPv6, parseIP } from './ip.ts';
import {
  addressAt,
  comparePrefixes,
  contains,
  covers,
  formatPrefix,
  lastAddress,
  networkOf,
  overlaps,
  type Prefix,
  parseInterfaceAddress,
  parsePrefix,
  prefixSize,
  samePrefix,
} from './prefix.ts';

const prefix: fc.Arbitrary<Prefix> = fc.oneof(
  fc
    .tuple(fc.integer({ min: 0, max: 0xffffffff }), fc.integer({ min: 0, max: 32 }))
    .map(([address, length]) => networkOf({ address: address as IPv4, length })),
  fc
    .tuple(fc.bigInt({ min: 0n, max: (1n << 128n) - 1n }), fc.integer({ min: 0, max: 128 }))
    .map(([address, length]) => networkOf({ address: address as IPv6, length })),
);

test('a prefix survives being written as text and read again', () => {
  fc.assert(fc.property(prefix, (p) => samePrefix(parsePrefix(formatPrefix(p)), p)));
});

test('a prefix contains its first and last address and nothing beyond them', () => {
  fc.assert(
    fc.property(prefix, (p) => {
      assert.ok(contains(p, p.address));
      assert.ok(contains(p, lastAddress(p)));
      assert.throws(() => addressAt(p, prefixSize(p)), RangeError);
    }),
  );
});

test('prefixes overlap exactly when one covers the other, in any order', () => {
  fc.assert(
    fc.property(prefix, prefix, (a, b) => {
      assert.equal(overlaps(a, b), overlaps(b, a));
      assert.equal(overlaps(a, b), covers(a, b) || covers(b, a));
      assert.equal(Math.sign(comparePrefixes(a, b)) + Math.sign(comparePrefixes(b, a)), 0);
    }),
  );
});

test('bits beyond the length are refused with the prefix that was meant', () => {
  assert.throws(() => parsePrefix('10.0.0.1/24'), /did you mean 10\.0\.0\.0\/24/);
  assert.equal(parseInterfaceAddress('10.0.0.1/24').address, parseIP('10.0.0.1'));
});

test('a length out of range is refused', () => {
  for (const text of ['10.0.0.0/33', '::/129', '10.0.0.0/', '10.0.0.0/-1', '10.0.0.0/08', '10.0.0.0']) {
    assert.throws(() => parsePrefix(text), SyntaxError, text);
  }
});
