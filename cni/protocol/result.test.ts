import assert from 'node:assert/strict';
import { test } from 'node:test';
import { parseIP } from '../../src/address/ip.ts';
import { parseMac } from '../../src/address/mac.ts';
import { parseInterfaceAddress, parsePrefix } from '../../src/address/prefix.ts';
import type { JsonObject } from './members.ts';
import { chainResults, EMPTY_RESULT, formatResult, parseResult, type Result } from './result.ts';
import { VERSIONS } from './version.ts';

const result: Result = {
  interfaces: [
    { name: 'tbo0123456789a', mac: parseMac('02:00:00:00:00:01') },
    {
      name: 'eth0',
      mac: parseMac('02:00:00:00:00:02'),
      mtu: 1450,
      sandbox: '/run/netns/a',
      pciID: '0000:3b:00.2',
    },
  ],
  ips: [
    { address: parseInterfaceAddress('10.0.0.5/32'), gateway: parseIP('169.254.1.1'), interface: 1 },
    { address: parseInterfaceAddress('2001:db8::5/128'), interface: 1 },
  ],
  routes: [{ dst: parsePrefix('0.0.0.0/0'), gw: parseIP('169.254.1.1'), mtu: 1400, table: 254 }],
  dns: { nameservers: ['10.96.0.10'] },
};

const printed = (version: (typeof VERSIONS)[number]) =>
  JSON.parse(JSON.stringify(formatResult(result, version))) as JsonObject;

test('before 1.0.0 an address states its family, and only 1.1.0 knows MTUs, PCI and route attributes', () => {
  const old = printed('0.4.0');
  assert.deepEqual(old.ips, [
    { version: '4', interface: 1, address: '10.0.0.5/32', gateway: '169.254.1.1' },
    { version: '6', interface: 1, address: '2001:db8::5/128' },
  ]);
  assert.deepEqual(old.interfaces, [
    { name: 'tbo0123456789a', mac: '02:00:00:00:00:01' },
    { name: 'eth0', mac: '02:00:00:00:00:02', sandbox: '/run/netns/a' },
  ]);
  assert.deepEqual(printed('1.0.0').routes, [{ dst: '0.0.0.0/0', gw: '169.254.1.1' }]);
  assert.deepEqual((printed('1.0.0').ips as JsonObject[])[1], { interface: 1, address: '2001:db8::5/128' });
  assert.deepEqual((printed('1.1.0').interfaces as JsonObject[])[1], {
    name: 'eth0',
    mac: '02:00:00:00:00:02',
    mtu: 1450,
    sandbox: '/run/netns/a',
    pciID: '0000:3b:00.2',
  });
  assert.deepEqual(printed('1.1.0').routes, [{ dst: '0.0.0.0/0', gw: '169.254.1.1', mtu: 1400, table: 254 }]);
});

test('a result printed in any version is read back with everything that version can say', () => {
  assert.deepEqual(normal(parseResult(printed('1.1.0'))), normal(result));
  for (const version of VERSIONS) {
    assert.deepEqual(formatted(parseResult(printed(version)), version), printed(version));
  }
});

test('what earlier plugins made comes first, and interface indices keep their meaning', () => {
  const earlier: Result = { ...EMPTY_RESULT, interfaces: [{ name: 'br0' }], dns: { domain: 'x' } };
  const chained = chainResults(earlier, result);
  assert.deepEqual(
    chained.interfaces.map(({ name }) => name),
    ['br0', 'tbo0123456789a', 'eth0'],
  );
  assert.deepEqual(
    chained.ips.map((ip) => ip.interface),
    [2, 2],
  );
  assert.deepEqual(chained.dns, { nameservers: ['10.96.0.10'] });
  assert.deepEqual(chainResults(earlier, { ...result, dns: {} }).dns, { domain: 'x' });
});

test('the empty strings of other plugins mean absence', () => {
  const read = parseResult({ interfaces: [{ name: 'eth0', mac: '', sandbox: '' }], dns: { domain: '' } });
  assert.equal(read.interfaces[0]?.mac, undefined);
  assert.equal(read.dns.domain, undefined);
});

test('a destination with host bits is the network it stands in, as for the kernel', () => {
  const read = parseResult({ routes: [{ dst: '10.0.0.7/8' }] });
  assert.deepEqual(read.routes[0]?.dst, parsePrefix('10.0.0.0/8'));
});

/** Absent and undefined members are one. */
function normal(value: Result): unknown {
  return formatted(value, '1.1.0');
}

function formatted(value: Result, version: (typeof VERSIONS)[number]): unknown {
  return JSON.parse(JSON.stringify(formatResult(value, version)));
}
