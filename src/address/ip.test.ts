import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import {
  bytesOf,
  formatIP,
  type IP,
  type IPv4,
  type IPv6,
  ipFromBytes,
  parseIP,
  parseIPv4,
  parseIPv6,
} from './ip.ts';

const ipv4 = fc.integer({ min: 0, max: 0xffffffff }).map((value) => value as IPv4);
const ipv6 = fc.bigInt({ min: 0n, max: (1n << 128n) - 1n }).map((value) => value as IPv6);
const ip: fc.Arbitrary<IP> = fc.oneof(ipv4, ipv6);

test('an address survives being written as text and read again', () => {
  fc.assert(fc.property(ip, (address) => parseIP(formatIP(address)) === address));
});

test('an address survives being written as bytes and read again', () => {
  fc.assert(fc.property(ip, (address) => ipFromBytes(bytesOf(address)) === address));
});

test('IPv6 text is canonical by RFC 5952', () => {
  const cases: [string, string][] = [
    ['2001:0DB8::0001', '2001:db8::1'],
    ['2001:db8:0:0:1:0:0:1', '2001:db8::1:0:0:1'],
    ['2001:db8:0:1:1:1:1:1', '2001:db8:0:1:1:1:1:1'],
    ['0:0:0:0:0:0:0:0', '::'],
    ['::ffff:a00:1', '::ffff:10.0.0.1'],
    ['64:ff9b::192.0.2.33', '64:ff9b::c000:221'],
  ];
  for (const [given, canonical] of cases) assert.equal(formatIP(parseIPv6(given)), canonical);
});

test('text that is not exactly one address is refused by name', () => {
  for (const text of [
    '',
    '1.2.3',
    '1.2.3.4.5',
    '256.0.0.1',
    '01.2.3.4',
    ' 1.2.3.4',
    '1.2.3.4 ',
    '1e1.0.0.0',
  ]) {
    assert.throws(() => parseIPv4(text), /Cannot parse IPv4 address/, text);
  }
  for (const text of [
    '',
    ':',
    ':::',
    '1::2::3',
    '1:2:3:4:5:6:7',
    '1:2:3:4:5:6:7:8:9',
    '12345::',
    'fe80::1%eth0',
  ]) {
    assert.throws(() => parseIPv6(text), /Cannot parse IPv6 address/, text);
  }
  assert.throws(() => parseIPv6('1:2:3:4:5:6:7::8:9'), SyntaxError);
  assert.throws(() => parseIPv6('::1.2.3.400'), SyntaxError);
});
