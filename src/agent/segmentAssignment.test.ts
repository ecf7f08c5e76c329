import assert from 'node:assert/strict';
import { test } from 'node:test';
import { shortageOf } from './segmentAssignment.ts';

const FULL = { pool: 'full', reason: 'pool full has no free block' };
const LAST = { pool: 'last', reason: 'pool last has no free block' };
const OPEN = { reason: 'no pool selects this node' };

test('what a pool lacks is nothing to a pod that does not draw from it', () => {
  assert.equal(shortageOf({ bound: true, pools: ['roomy'] }, [FULL, OPEN]), undefined);
  assert.equal(shortageOf({ bound: false, pools: ['roomy'] }, [FULL]), undefined);
});

test('nor what one of several pools lacks that it draws from', () => {
  assert.equal(shortageOf({ bound: true, pools: ['full', 'roomy'] }, [FULL]), undefined);
  assert.match(
    shortageOf({ bound: true, pools: ['full', 'last'] }, [FULL, LAST]) ?? '',
    /full .*; pool last/,
  );
});

test('a pod that is bound to no pool lacks what the open ones do', () => {
  assert.equal(shortageOf({ bound: false, pools: ['a', 'b'] }, [OPEN]), OPEN.reason);
  assert.equal(shortageOf({ bound: false, pools: ['full'] }, [FULL]), FULL.reason);
  assert.equal(shortageOf({ bound: false, pools: [] }, []), undefined);
});
