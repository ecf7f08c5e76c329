import assert from 'node:assert/strict';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, test } from 'node:test';
import { eventually } from '../../src/eventually.rig.ts';
import { type Result, TestFile } from './testFile.ts';

const directory = mkdtempSync(join(tmpdir(), 'tombolo-runner-'));
after(() => rmSync(directory, { recursive: true }));

function run(text: string, limits = { test: 60_000, linger: 60_000 }): Promise<Result> {
  const file = join(directory, 'one.test.mjs');
  const imports = `import { spawn } from 'node:child_process'; import { before, describe, test } from 'node:test';`;
  writeFileSync(file, `${imports}\n${text}`);
  return new TestFile(file, limits).result;
}

/** Not so a zombie, that init has not buried yet. */
function runs(pid: number): boolean {
  try {
    return !/^State:\tZ/m.test(readFileSync(`/proc/${pid}/status`, 'utf8'));
  } catch {
    return false;
  }
}

test('what a file comes to is counted, and what failed is told in full, but once', async () => {
  const { passed, skipped, failures, output } = await run(`
    describe('a suite', () => {
      test('good', () => {});
      test.skip('left out', () => {});
      test('bad', () => { console.log('printed'); throw new Error('first', { cause: new Error('second') }); });
    });
    describe('another', () => {
      before(() => { throw new Error('third'); });
      test('never run', () => {});
    });`);
  assert.deepEqual([passed, skipped], [1, 1]);
  assert.deepEqual(
    failures.map(({ path }) => path.join(' > ')),
    ['a suite > bad', 'another'],
  );
  assert.match(failures[0]?.error ?? '', /first[\s\S]*cause[\s\S]*second/);
  assert.match(failures[1]?.error ?? '', /third/);
  assert.equal(output.trim(), 'printed');
});

test('a file that cannot be run has failed', async () => {
  const { failures, output } = await run('throw new Error("no tests here");');
  assert.match(failures[0]?.error ?? '', /ended with 1/);
  assert.match(output, /no tests here/);
});

test('a test that is stuck is ended, and named', async () => {
  const { failures } = await run(
    `describe('a suite', () => test('waits', () => new Promise(() => setInterval(() => {}, 1000))));`,
    { test: 5_000, linger: 60_000 },
  );
  assert.deepEqual(failures[0]?.path, ['a suite', 'waits']);
  assert.match(failures[0]?.error ?? '', /nothing has happened for 5 s/);
});

test('a file that ignores the signal and has left a process behind is ended with that', async () => {
  const { failures, output } = await run(
    `process.on('SIGTERM', () => {});
     test('leaves something', () => { console.log(spawn('sleep', ['1000'], { stdio: 'inherit' }).pid); setInterval(() => {}, 1000); });`,
    { test: 60_000, linger: 500 },
  );
  assert.match(failures[0]?.error ?? '', /nothing has happened for 0.5 s/);
  assert.match(output, /^\d+\n$/);
  await eventually(() => assert.equal(runs(Number(output)), false));
});
