import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { formatIP, parseIP } from '../address/ip.ts';
import { macBytes, parseMac } from '../address/mac.ts';
import { formatPrefix, parseInterfaceAddress, parsePrefix } from '../address/prefix.ts';
import type { AttachmentSpec } from './attachment.ts';
import {
  derivedMac,
  type InterfacePlan,
  isOffLink,
  NOBODYS_MAC,
  planNic,
  planVethHost,
  planVethPod,
} from './plan.ts';

const HOST = parseMac('02:00:00:00:00:0a');
const POD = parseMac('02:00:00:00:00:0b');

function spec(
  addresses: [address: string, gateway?: string][],
  routes: [string, string?][] = [],
): AttachmentSpec {
  return {
    id: '00000000000',
    containerId: 'c',
    ifName: 'eth0',
    network: 'n',
    netns: '/run/netns/c',
    kind: { kind: 'veth' },
    mtu: 0,
    addresses: addresses.map(([address, gateway]) => ({
      address: parseInterfaceAddress(address),
      gateway: gateway === undefined ? undefined : parseIP(gateway),
    })),
    routes: routes.map(([prefix, via]) => ({
      prefix: parsePrefix(prefix),
      via: via === undefined ? undefined : parseIP(via),
    })),
    ipam: { kind: 'agent' },
    cniVersion: '1.1.0',
  };
}

function lines({ addresses, routes, neighbours }: InterfacePlan): string[] {
  return [
    ...addresses.map((address) => `address ${formatPrefix(address)}`),
    ...routes.map(({ prefix, gateway, preferredSource }) =>
      [
        `route ${formatPrefix(prefix)}`,
        gateway === undefined ? '' : ` via ${formatIP(gateway)}`,
        preferredSource === undefined ? '' : ` from ${formatIP(preferredSource)}`,
      ].join(''),
    ),
    ...neighbours.map(({ address, mac }) => `neighbour ${formatIP(address)} ${mac}`),
  ];
}

test('a veth pod has host prefixes, and everything leads to the host end', () => {
  const wish = spec([['10.0.0.5/24', '10.0.0.1'], ['fd00::5/64']], [['10.9.0.0/16']]);
  assert.deepEqual(lines(planVethPod(wish, HOST)), [
    'address 10.0.0.5/32',
    'address fd00::5/128',
    'route 0.0.0.0/0 via 169.254.1.1',
    'route ::/0 via fe80::1',
    'route 10.9.0.0/16 via 169.254.1.1',
    `neighbour 169.254.1.1 ${HOST}`,
    `neighbour fe80::1 ${HOST}`,
  ]);
  assert.deepEqual(lines(planVethHost(wish, POD)), [
    'route 10.0.0.5/32',
    'route fd00::5/128',
    `neighbour 10.0.0.5 ${POD}`,
    `neighbour fd00::5 ${POD}`,
  ]);
});

test('a pod of one family gets nothing of the other', () => {
  assert.deepEqual(lines(planVethPod(spec([['fd00::5/64']]), HOST)), [
    'address fd00::5/128',
    'route ::/0 via fe80::1',
    `neighbour fe80::1 ${HOST}`,
  ]);
});

test('the first of several addresses is the source', () => {
  const plan = planVethPod(spec([['10.0.0.5/24'], ['10.0.0.6/24']]), HOST);
  assert.ok(lines(plan).includes('route 0.0.0.0/0 via 169.254.1.1 from 10.0.0.5'));
});

test('a NIC keeps its networks, and nobody stands where no gateway is known', () => {
  const wish = spec(
    [['10.0.0.5/24', '10.0.0.1'], ['fd00::5/64']],
    [['10.9.0.0/16', '10.0.0.2'], ['fd09::/64']],
  );
  assert.deepEqual(lines(planNic(wish)), [
    'address 10.0.0.5/24',
    'address fd00::5/64',
    'route 0.0.0.0/0 via 10.0.0.1',
    'route ::/0 via fe80::1',
    'route 10.9.0.0/16 via 10.0.0.2',
    'route fd09::/64 via fe80::1',
    `neighbour fe80::1 ${NOBODYS_MAC}`,
  ]);
});

test('a gateway outside the networks is reached on link all the same', () => {
  const networks = [parseInterfaceAddress('10.0.0.5/24')];
  assert.equal(isOffLink(parseIP('10.0.0.1'), networks), false);
  assert.equal(isOffLink(parseIP('10.0.1.1'), networks), true);
  assert.equal(isOffLink(parseIP('fe80::1'), networks), true);
});

test('derived MAC addresses are unicast, local, different for each end and the same every time', () => {
  fc.assert(
    fc.property(fc.stringMatching(/^[0-9a-f]{11}$/), (id) => {
      const mac = derivedMac(id, 'host');
      assert.equal(macBytes(mac).readUInt8(0) & 0x03, 0x02);
      assert.equal(mac, derivedMac(id, 'host'));
      assert.notEqual(mac, derivedMac(id, 'pod'));
    }),
  );
});
