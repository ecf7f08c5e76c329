import assert from 'node:assert/strict';
import { test } from 'node:test';
import { silentLog } from '../log.ts';
import { MemoryStore } from '../store/memory.rig.ts';
import { Bindings } from './binding.ts';

test('nothing is given out from segments of pools before the store has said which they are', async () => {
  const bindings = new Bindings(new MemoryStore(), 'a', () => true, silentLog);
  bindings.onPool({ type: 'replaced', objects: [] });
  let answered = false;
  const terms = bindings.termsOf(undefined).then(() => {
    answered = true;
  });
  await new Promise((resolve) => setTimeout(resolve, 20));
  assert.equal(answered, false);
  bindings.segmentsAssigned();
  await terms;
});

test('a node whose store does not answer tells a pod to come again, unless its segments are of no pool', {
  timeout: 10_000,
}, async () => {
  const pooled = new Bindings(new MemoryStore(), 'a', () => true, silentLog);
  const configured = new Bindings(new MemoryStore(), 'a', () => false, silentLog);
  const [refused, free] = await Promise.allSettled([
    pooled.termsOf(undefined),
    configured.termsOf(undefined),
  ]);
  assert.match(String(refused.status === 'rejected' && refused.reason), /the store did not answer in 3 s/);
  assert.deepEqual(free, { status: 'fulfilled', value: undefined });
});
