import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { NodeNetwork } from '../store/kinds/nodeNetwork.ts';
import { withShortage } from './shortageCondition.ts';

const network: NodeNetwork = {
  apiVersion: 'network.tombolo.dev/v1alpha1',
  kind: 'NodeNetwork',
  metadata: { name: 'a' },
  spec: {},
  status: { ready: true, conditions: [{ type: 'Other', status: 'True' }] },
};
const shortage = { node: 'a', pool: 'default', reason: 'pool default has no free block' };
const [NOON, LATER] = ['2026-01-01T12:00:00.000Z', '2026-01-01T12:00:01.000Z'];

test('a node that never was short says nothing about it', () => {
  assert.equal(withShortage(network, [{ ...shortage, node: 'b' }], NOON), undefined);
});

test('a shortage is said once, with its reasons, beside what others say', () => {
  const told = withShortage(network, [shortage, shortage], NOON);
  assert.deepEqual(told?.status, {
    ready: true,
    shortages: [shortage, shortage].map(({ pool, reason }) => ({ pool, reason })),
    conditions: [
      { type: 'Other', status: 'True' },
      {
        type: 'SegmentShortage',
        status: 'True',
        reason: 'NoSegment',
        message: 'pool default has no free block',
        lastTransitionTime: NOON,
      },
    ],
  });
  assert.equal(withShortage(told, [shortage, shortage], LATER), undefined);
});

test('another reason keeps the time since when; the end of the shortage is a transition', () => {
  const told = withShortage(network, [shortage], NOON);
  assert.ok(told);
  const other = withShortage(told, [{ ...shortage, reason: 'expansion.max is 16' }], LATER);
  assert.equal(other?.status?.conditions?.[1]?.lastTransitionTime, NOON);
  const over = withShortage(told, [], LATER)?.status?.conditions?.[1];
  assert.deepEqual([over?.status, over?.message, over?.lastTransitionTime], ['False', '', LATER]);
});
