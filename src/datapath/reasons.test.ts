import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { test } from 'node:test';
import { REASONS } from './reasons.ts';

test('the reasons are those of bpf/reasons.h, in its order', () => {
  const script = new URL('../../scripts/generateReasons.mjs', import.meta.url).href;
  const print = `import(${JSON.stringify(script)}).then(({ generate }) => process.stdout.write(generate()))`;
  const expected = execFileSync(process.execPath, ['-e', print], { encoding: 'utf8' });
  const actual = readFileSync(new URL('reasons.ts', import.meta.url), 'utf8');
  assert.ok(actual === expected, 'bpf/reasons.h has changed: run node scripts/generateReasons.mjs');
});

test('a reason is a metric label and has a sentence', () => {
  for (const { name, sentence } of REASONS) {
    assert.match(name, /^[a-z][a-z_]*$/);
    assert.match(sentence, /^[A-Z].*\.$/);
  }
  assert.equal(new Set(REASONS.map(({ name }) => name)).size, REASONS.length);
});
