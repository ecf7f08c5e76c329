/**
 * Runs test files side by side, and always ends: what is stuck is ended, and all of it after LIMIT_MS. Prints a line for
 * each file, with what failed in it; at the end the slowest files, and once more what failed, in full. A few files that
 * failed beside others run once more alone: what passes then was the machine's doing, and is told as such.
 *
 * usage: run.ts [--slots N] FILE-OR-DIRECTORY...
 */
import { readdirSync, statSync } from 'node:fs';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { type Result, TestFile } from './testFile.ts';

const LIMIT_MS = 4_500_000;
const SLOWEST = 20;
/** More files than these do not fail by chance. */
const ONCE_MORE = 6;

const { values, positionals } = parseArgs({
  allowPositionals: true,
  options: { slots: { type: 'string', default: '2' } },
});
const began = performance.now();
const waiting = [...new Set(positionals.flatMap(testFiles))];
const running = new Set<TestFile>();
const results: Result[] = [];
/** What failed beside other files, and passed alone. */
const unsteady: Result[] = [];
let aborted = false;

setTimeout(() => abort(`not done after ${seconds(LIMIT_MS)}`), LIMIT_MS).unref();
for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) {
  process.on(signal, () => abort(`the run was ended by ${signal}`));
}
await Promise.all(Array.from({ length: Number(values.slots) }, slot));
await onceMore();
process.exit(summarize() ? 0 : 1);

async function slot(): Promise<void> {
  for (let file = waiting.shift(); file !== undefined; file = waiting.shift()) results.push(await ran(file));
}

async function ran(file: string): Promise<Result> {
  const one = new TestFile(file);
  running.add(one);
  const result = await one.result;
  running.delete(one);
  console.log(inWords(result));
  return result;
}

async function onceMore(): Promise<void> {
  const failed = results.filter(({ failures }) => failures.length > 0);
  if (Number(values.slots) === 1 || failed.length > ONCE_MORE) return;
  for (const first of failed) {
    if (aborted) return;
    console.log(`\nonce more, alone: ${first.file}`);
    const alone = await ran(first.file);
    results[results.indexOf(first)] = alone;
    if (alone.failures.length === 0) unsteady.push(first);
  }
}

/** Ends what runs, and begins nothing more. */
function abort(reason: string): void {
  aborted = true;
  for (const file of waiting.splice(0)) {
    results.push({
      file,
      ms: 0,
      passed: 0,
      skipped: 0,
      failures: [{ path: [], error: `not run: ${reason}` }],
      output: '',
    });
  }
  console.log(`\n${reason}, in the middle of`);
  for (const one of running) {
    console.log(`  ${one.file}: ${one.at}`);
    one.end(reason);
  }
}

/** @returns Whether all went well. */
function summarize(): boolean {
  const failed = results.filter(({ failures }) => failures.length > 0);
  const sum = (of: (result: Result) => number) => results.reduce((total, result) => total + of(result), 0);
  const slowest = results.toSorted((a, b) => b.ms - a.ms).slice(0, SLOWEST);
  if (results.length > SLOWEST) {
    console.log('\nThe slowest files:');
    for (const { ms, file } of slowest) console.log(`${seconds(ms).padStart(8)}  ${file}`);
  }
  if (unsteady.length > 0)
    console.log(`\nWhat failed beside other files, and passed alone:\n${unsteady.map(inWords).join('\n')}`);
  if (failed.length > 0) console.log(`\nWhat failed:\n${failed.map(inWords).join('\n')}`);
  console.log(
    `\n${results.length} files in ${seconds(performance.now() - began)}: ${sum(({ passed }) => passed)} tests passed, ` +
      `${sum(({ failures }) => failures.length)} failed, ${sum(({ skipped }) => skipped)} skipped`,
  );
  return failed.length === 0;
}

function inWords({ file, ms, passed, skipped, failures, output }: Result): string {
  const left = skipped > 0 ? `, ${skipped} skipped` : '';
  if (failures.length === 0) return `✔ ${file}  ${passed} tests${left}  ${seconds(ms)}`;
  return [
    `✖ ${file}  ${failures.length} failed, ${passed} passed${left}  ${seconds(ms)}`,
    ...failures.map(({ path, error }) => `${indented(`✖ ${path.join(' > ')}`, 2)}\n${indented(error, 6)}`),
    ...(output.trim() === '' ? [] : ['  printed:', indented(output.trimEnd(), 6)]),
  ].join('\n');
}

function indented(text: string, columns: number): string {
  return text.replace(/^/gm, ' '.repeat(columns));
}

function seconds(ms: number): string {
  return `${(ms / 1000).toFixed(1)} s`;
}

function testFiles(path: string): string[] {
  if (statSync(path).isFile()) return [path];
  const names = readdirSync(path, { recursive: true, encoding: 'utf8' }).sort();
  return names.filter((name) => name.endsWith('.test.ts')).map((name) => join(path, name));
}
