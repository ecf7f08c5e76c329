import assert from 'node:assert/strict';
import {
  copyFileSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  rmSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { Journal } from './journal.ts';
import { openJournalFiles } from './journalFiles.ts';

/** A journal whose entries are numbers and whose state is the list of them. */
function open(directory: string, limit = Number.POSITIVE_INFINITY) {
  const state: number[] = [];
  const journal = new Journal<number, number[]>(openJournalFiles(directory), {
    restore: (all) => state.push(...all),
    replay: (entry) => state.push(entry),
    state: () => state.slice(-limit),
  });
  const append = (entry: number) => {
    state.push(entry);
    return journal.append(entry);
  };
  return { journal, state, append };
}

function withDirectory(claim: string, run: (directory: string) => Promise<void>): void {
  test(claim, async () => {
    const directory = mkdtempSync(join(tmpdir(), 'tombolo-journal-'));
    try {
      await run(directory);
    } finally {
      rmSync(directory, { recursive: true });
    }
  });
}

async function write(directory: string, entries: number[]): Promise<Buffer> {
  const { journal, append } = open(directory);
  for (const entry of entries) await append(entry);
  await journal.close();
  return readFileSync(join(directory, 'journal.jsonl'));
}

withDirectory('what was appended is there again', async (directory) => {
  await write(directory, [1, 2, 3]);
  await write(directory, [4]);
  const { state, journal } = open(directory);
  assert.deepEqual(state, [1, 2, 3, 4]);
  await journal.close();
});

withDirectory('a journal cut off at any byte holds every line that was complete', async (directory) => {
  const bytes = await write(directory, [10, 20, 30]);
  for (let length = 0; length <= bytes.length; length++) {
    const copy = join(directory, `cut-${length}`);
    mkdirSync(copy);
    const cut = bytes.subarray(0, length);
    writeFileSync(join(copy, 'journal.jsonl'), cut);
    const complete = cut.toString().split('\n').length - 1;
    const { state, journal, append } = open(copy);
    assert.deepEqual(state, [10, 20, 30].slice(0, complete), `cut at ${length}`);
    await append(99);
    await journal.close();
    const again = open(copy);
    assert.deepEqual(again.state, [...[10, 20, 30].slice(0, complete), 99], `cut at ${length}`);
    await again.journal.close();
  }
});

withDirectory('a flipped bit anywhere is refused by the number of its line', async (directory) => {
  const bytes = await write(directory, [10, 20, 30]);
  for (let at = 0; at < bytes.length - 1; at++) {
    const copy = join(directory, `flip-${at}`);
    mkdirSync(copy);
    const damaged = Buffer.from(bytes);
    damaged.writeUInt8(damaged.readUInt8(at) ^ 1, at);
    writeFileSync(join(copy, 'journal.jsonl'), damaged);
    const line = bytes.subarray(0, at).toString().split('\n').length;
    assert.throws(
      () => open(copy),
      new RegExp(`journal\\.jsonl: line (${line}|${line + 1}) is damaged`),
      `at ${at}`,
    );
  }
});

withDirectory('a line that is missing is damage', async (directory) => {
  const [first, , third] = (await write(directory, [10, 20, 30])).toString().split('\n');
  writeFileSync(join(directory, 'journal.jsonl'), `${first}\n${third}\n`);
  assert.throws(() => open(directory), /line 2 is damaged/);
});

withDirectory(
  'a long journal becomes a snapshot, and a crash between the two loses nothing',
  async (directory) => {
    const first = open(directory);
    const entries = Array.from({ length: 4200 }, (_, index) => index);
    await Promise.all(entries.slice(0, 4000).map(first.append));
    const before = join(directory, 'before');
    mkdirSync(before);
    await Promise.all(entries.slice(4000).map(first.append));
    await first.journal.close();
    assert.ok(existsSync(join(directory, 'snapshot.json')));
    assert.ok(readFileSync(join(directory, 'journal.jsonl'), 'utf8').split('\n').length < 4000);
    const second = open(directory);
    assert.deepEqual(second.state, entries);
    await second.append(4200);
    await second.journal.close();
    const third = open(directory);
    assert.deepEqual(third.state, [...entries, 4200]);
    await third.journal.close();
  },
);

withDirectory('lines that a snapshot has overtaken are skipped', async (directory) => {
  const old = await write(directory, [1, 2, 3]);
  const { journal, append } = open(directory);
  await Promise.all(Array.from({ length: 4096 }, (_, index) => append(index)));
  await journal.close();
  const snapshot = JSON.parse(readFileSync(join(directory, 'snapshot.json'), 'utf8'));
  writeFileSync(join(directory, 'journal.jsonl'), old);
  const again = open(directory);
  assert.equal(again.state.length, snapshot.n);
  await again.journal.close();
});

withDirectory('a damaged snapshot is refused', async (directory) => {
  const { journal, append } = open(directory);
  await Promise.all(Array.from({ length: 4100 }, (_, index) => append(index)));
  await journal.close();
  const path = join(directory, 'snapshot.json');
  writeFileSync(path, readFileSync(path, 'utf8').replace('[0,1,2', '[0,1,3'));
  assert.throws(() => open(directory), /snapshot\.json: it is damaged/);
});

withDirectory('two processes do not share a journal', async (directory) => {
  const { journal } = open(directory);
  assert.throws(() => open(directory), /another process has it open/);
  await journal.close();
  await open(directory).journal.close();
});

withDirectory('appends that come together are written together', async (directory) => {
  const { journal, append } = open(directory);
  await Promise.all(Array.from({ length: 500 }, (_, index) => append(index)));
  copyFileSync(join(directory, 'journal.jsonl'), join(directory, 'copy'));
  await journal.close();
  assert.equal(readFileSync(join(directory, 'copy'), 'utf8').trim().split('\n').length, 500);
});

withDirectory('a hole that a power cut left in what was not synced ends the journal', async (directory) => {
  const bytes = await write(directory, [10, 20, 30, 40]);
  const second = bytes.indexOf('\n') + 1;
  for (const [from, length, kept] of [
    [second, 30, [10]],
    [second + 5, 3, [10]],
    [bytes.length - 4, 4, [10, 20, 30]],
  ] as const) {
    const copy = join(directory, `hole-${from}`);
    mkdirSync(copy);
    writeFileSync(join(copy, 'journal.jsonl'), Buffer.from(bytes).fill(0, from, from + length));
    const { journal, state, append } = open(copy);
    assert.deepEqual(state, kept);
    await append(99);
    await journal.close();
    const again = open(copy);
    assert.deepEqual(again.state, [...kept, 99]);
    await again.journal.close();
  }
});
