import assert from 'node:assert/strict';
import { test } from 'node:test';
import { formatIP, type IP, parseIP } from '../address/ip.ts';
import { parsePrefix } from '../address/prefix.ts';
import type { Segment } from '../ipam/segment.ts';
import { chooseOverlayAddresses } from './overlayAddresses.ts';

function segment(cidr: string, more: Partial<Segment> = {}): Segment {
  return { prefix: parsePrefix(cidr), state: 'active', generation: 1, ...more };
}

function choose(segments: Segment[], held: string[] = [], taken: string[] = []): string[] {
  const others = new Set<IP>([...held, ...taken].map(parseIP));
  return chooseOverlayAddresses(segments, held.map(parseIP), (address) => others.has(address)).map(formatIP);
}

test('the first address of the first segment of each family', () => {
  assert.deepEqual(choose([segment('10.1.0.0/24'), segment('fd01::/64'), segment('10.2.0.0/24')]), [
    '10.1.0.0',
    'fd01::',
  ]);
});

test('the next one where pods were quicker, and the next segment where one is full', () => {
  assert.deepEqual(choose([segment('10.1.0.0/24')], [], ['10.1.0.0', '10.1.0.1']), ['10.1.0.2']);
  assert.deepEqual(choose([segment('10.1.0.0/31'), segment('10.2.0.0/24')], [], ['10.1.0.0', '10.1.0.1']), [
    '10.2.0.0',
  ]);
});

test('what the node has stays, until its segment is given back', () => {
  const held = ['10.1.0.5'];
  assert.deepEqual(choose([segment('10.0.0.0/24'), segment('10.1.0.0/24')], held), held);
  const releasing = segment('10.1.0.0/24', { state: 'releasing' });
  assert.deepEqual(choose([segment('10.0.0.0/24'), releasing], held), ['10.0.0.0']);
  assert.deepEqual(choose([releasing], held), []);
});

test('none of an L2 segment, which is the physical network', () => {
  assert.deepEqual(choose([segment('10.1.0.0/24', { gateway: parseIP('10.1.0.1') })]), []);
});
