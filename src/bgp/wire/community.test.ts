import assert from 'node:assert/strict';
import { test } from 'node:test';
import { formatCommunity, formatExtendedCommunity, formatLargeCommunity } from './community.ts';
import { formatDistinguisher, type RouteDistinguisher } from './distinguisher.ts';

test('communities are written as operators write them', () => {
  assert.equal(formatCommunity(0xffff0000), '65535:0');
  assert.equal(
    formatLargeCommunity({ globalAdministrator: 4200000000, localData1: 0, localData2: 7 }),
    '4200000000:0:7',
  );
});

test('extended communities are named by their type', () => {
  const texts: [bigint, string][] = [
    [0x0002fc0000000064n, 'target:64512:100'],
    [0x01020a0000010064n, 'target:10.0.0.1:100'],
    [0x0202fa56ea000064n, 'target:4200000000:100'],
    [0x0003fc0000000064n, 'origin:64512:100'],
    [0x030c000000000008n, 'encap:8'],
    [0x0603020000000001n, 'router-mac:02:00:00:00:00:01'],
    [0x4004fc0047f42400n, 'bandwidth:64512:125000'],
    [0x8006000000000000n, '0x8006000000000000'],
  ];
  for (const [value, text] of texts) assert.equal(formatExtendedCommunity(value), text);
});

test('distinguishers are written by their type', () => {
  const text = (value: bigint) => formatDistinguisher(value as RouteDistinguisher);
  assert.equal(text(0x0000fc0000000064n), '64512:100');
  assert.equal(text(0x00010a0000010064n), '10.0.0.1:100');
  assert.equal(text(0x0002fa56ea000064n), '4200000000:100');
  assert.equal(text(0xffff000000000001n), 'ffff000000000001');
});
