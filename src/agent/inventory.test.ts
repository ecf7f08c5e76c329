import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { StoredObject } from '../store/kinds/kind.ts';
import { Inventory } from './inventory.ts';

interface Thing extends StoredObject {
  readonly size: number;
  readonly beat: number;
}

const thing = (name: string, size: number, beat = 0) => ({ metadata: { name }, size, beat }) as Thing;

test('only what matters counts as a change, and the newest object is kept all the same', () => {
  const things = new Inventory<Thing>(({ size }) => size);
  assert.equal(things.listed, false);
  assert.equal(things.take({ type: 'replaced', objects: [thing('b', 1), thing('a', 1)] }), true);
  assert.equal(things.listed, true);
  assert.equal(things.take({ type: 'applied', object: thing('a', 1, 7) }), false);
  assert.equal(things.get('a')?.beat, 7);
  assert.equal(things.take({ type: 'applied', object: thing('a', 2) }), true);
  assert.equal(things.take({ type: 'interrupted', error: 'away' }), false);
  assert.deepEqual(
    things.all().map(({ metadata }) => metadata.name),
    ['a', 'b'],
  );
  assert.equal(things.take({ type: 'deleted', object: thing('a', 2) }), true);
  assert.equal(things.take({ type: 'deleted', object: thing('a', 2) }), false);
});
