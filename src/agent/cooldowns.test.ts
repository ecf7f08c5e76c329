import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { IPPool } from '../store/kinds/ipPool.ts';
import { Cooldowns } from './cooldowns.ts';

const pool = (name: string, cooldownSeconds?: number) =>
  ({
    metadata: { name },
    spec: { cidr: '10.0.0.0/16', ...(cooldownSeconds !== undefined && { cooldownSeconds }) },
  }) as IPPool;

test("an address rests as long as its pool says, and where it says nothing as the node's configuration does", () => {
  const cooldowns = new Cooldowns(30_000);
  assert.equal(cooldowns.of({ pool: 'a' }), 30_000);
  cooldowns.onPool({ type: 'replaced', objects: [pool('a', 300), pool('none', 0), pool('silent')] });
  const all = ['a', 'none', 'silent', undefined].map((name) => cooldowns.of({ pool: name }));
  assert.deepEqual(all, [300_000, 0, 30_000, 30_000]);
  cooldowns.onPool({ type: 'interrupted', error: 'away' });
  cooldowns.onPool({ type: 'applied', object: pool('a') });
  assert.equal(cooldowns.of({ pool: 'a' }), 30_000);
  cooldowns.onPool({ type: 'deleted', object: pool('none', 0) });
  assert.equal(cooldowns.of({ pool: 'none' }), 30_000);
});
