import assert from 'node:assert/strict';
import { test } from 'node:test';
import { formatPrefix } from '../address/prefix.ts';
import type { BGPConfiguration } from '../store/kinds/bgpConfiguration.ts';
import { AnnouncedClusterIPs } from './announcedClusterIPs.ts';

const configuration = (name: string, cidrs: readonly string[] | undefined, asNumber = 64512) =>
  ({
    kind: 'BGPConfiguration',
    metadata: { name },
    spec: { asNumber, ...(cidrs && { serviceClusterIPs: cidrs.map((cidr) => ({ cidr })) }) },
  }) as unknown as BGPConfiguration;

test('what any node announces is announced, and only what changes that counts as a change', () => {
  const announced = new AnnouncedClusterIPs();
  const ranges = () => announced.ranges.map(formatPrefix);
  assert.equal(announced.listed, false);
  assert.equal(announced.take({ type: 'replaced', objects: [] }), true, 'known to be none');
  assert.equal(announced.listed, true);
  assert.equal(announced.take({ type: 'replaced', objects: [] }), false);
  assert.equal(announced.take({ type: 'applied', object: configuration('default', undefined) }), false);
  assert.equal(announced.take({ type: 'applied', object: configuration('default', ['10.96.0.0/16']) }), true);
  const other = configuration('default', ['10.96.0.0/16'], 64513);
  assert.equal(announced.take({ type: 'applied', object: other }), false);
  assert.equal(announced.take({ type: 'applied', object: configuration('node.b', ['fd96::/112']) }), true);
  assert.deepEqual(ranges(), ['10.96.0.0/16', 'fd96::/112']);
  assert.equal(announced.take({ type: 'deleted', object: other }), true);
  assert.deepEqual(ranges(), ['fd96::/112']);
});
