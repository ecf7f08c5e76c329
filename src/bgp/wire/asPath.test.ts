import assert from 'node:assert/strict';
import { test } from 'node:test';
import { mergeAs4Path, pathLength, writeAsPath } from './asPath.ts';
import type { Segment } from './attribute.ts';
import { AS_TRANS } from './open.ts';
import { Writer } from './writer.ts';

const sequence = (...asns: number[]): Segment => ({ type: 'AS_SEQUENCE', asns });
const set = (...asns: number[]): Segment => ({ type: 'AS_SET', asns });
const confederation = (...asns: number[]): Segment => ({ type: 'AS_CONFED_SEQUENCE', asns });

test('AS4_PATH takes the place of the end of AS_PATH', () => {
  const path = [sequence(100, AS_TRANS, AS_TRANS)];
  assert.deepEqual(mergeAs4Path(path, [sequence(70000, 80000)], undefined), [sequence(100, 70000, 80000)]);
  assert.deepEqual(mergeAs4Path(path, [sequence(80000)], undefined), [sequence(100, AS_TRANS, 80000)]);
});

test('an AS4_PATH longer than AS_PATH is ignored', () => {
  const path = [sequence(100)];
  assert.deepEqual(mergeAs4Path(path, [sequence(70000, 80000)], undefined), path);
});

test('an aggregator with two octets says that AS4_PATH is stale', () => {
  const path = [sequence(100, AS_TRANS)];
  assert.deepEqual(mergeAs4Path(path, [sequence(70000)], 100), path);
  assert.deepEqual(mergeAs4Path(path, [sequence(70000)], AS_TRANS), [sequence(100, 70000)]);
});

test('sets count as one, confederations as nothing and stay in front', () => {
  assert.equal(pathLength([confederation(1, 2), sequence(3, 4), set(5, 6)]), 3);
  const path = [confederation(65001), sequence(100, AS_TRANS), set(1, 2)];
  const as4Path = [confederation(9), sequence(70000), set(1, 70001)];
  assert.deepEqual(mergeAs4Path(path, as4Path, undefined), [
    confederation(65001),
    sequence(100, 70000),
    set(1, 70001),
  ]);
});

test('a sequence of more than 255 goes on in another segment', () => {
  const to = new Writer();
  writeAsPath([sequence(...Array.from({ length: 300 }, (_, index) => index + 1))], to, 4);
  const bytes = to.done();
  assert.equal(bytes.length, 2 + 255 * 4 + 2 + 45 * 4);
  assert.deepEqual([...bytes.subarray(0, 2)], [2, 255]);
  assert.deepEqual([...bytes.subarray(2 + 255 * 4, 4 + 255 * 4)], [2, 45]);
});
