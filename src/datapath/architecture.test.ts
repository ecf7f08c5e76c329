// docs/architecture.md is where people look up what `bpftool` shows them.
import assert from 'node:assert/strict';
import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';

const ROOT = join(import.meta.dirname, '../..');
const SOURCES = ['bpf', 'bpf/maps'].flatMap((directory) =>
  readdirSync(join(ROOT, directory))
    .filter((name) => /\.[ch]$/.test(name))
    .map((name) => readFileSync(join(ROOT, directory, name), 'utf8')),
);

/** As tables name them: `tb_connect4/6` is two. */
function documented(): Set<string> {
  const text = readFileSync(join(ROOT, 'docs/architecture.md'), 'utf8');
  return new Set(
    [...text.matchAll(/`(tb_\w+)(?:\/(\d))?`/g)].flatMap(([, name = '', other]) =>
      other === undefined ? [name] : [name, name.replace(/\d$/, other)],
    ),
  );
}

function named(pattern: RegExp): string[] {
  return SOURCES.flatMap((text) => [...text.matchAll(pattern)].map(([, name = '']) => name)).sort();
}

const PROGRAMS = named(/^int (tb_\w+)\(/gm);
const MAPS = named(/^\} (tb_\w+) SEC\("\.maps"\);/gm);

test('every program and every map has its line in docs/architecture.md', () => {
  assert.notEqual(PROGRAMS.length * MAPS.length, 0);
  const lines = documented();
  assert.deepEqual(
    [...PROGRAMS, ...MAPS].filter((name) => !lines.has(name)),
    [],
  );
});

test('docs/architecture.md names no program and no map that there is not', () => {
  const there = new Set([...PROGRAMS, ...MAPS]);
  assert.deepEqual(
    [...documented()].filter((name) => !there.has(name)),
    [],
  );
});
