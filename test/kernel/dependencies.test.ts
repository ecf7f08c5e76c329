import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, beforeEach, describe, test } from 'node:test';

const SCRIPT = join(import.meta.dirname, '../../scripts/install-dependencies.sh');
const directory = mkdtempSync(join(tmpdir(), 'tbt-dependencies-'));
const calls = join(directory, 'calls');

after(() => rmSync(directory, { recursive: true }));

beforeEach(() => {
  rmSync(calls, { force: true });
  stand('node', 'echo v20.9.0');
  stand('npm', '');
  stand('dpkg-query', 'exit 1');
});

/** A program that stands before the machine's own on the PATH, and notes its last words. */
function stand(name: string, text: string): void {
  writeFileSync(join(directory, name), `#!/bin/bash\necho "${name} \${*: -1}" >>${calls}\n${text}\n`, {
    mode: 0o755,
  });
}

function install(...groups: string[]) {
  const { status, stderr } = spawnSync(SCRIPT, groups, {
    encoding: 'utf8',
    env: { PATH: `${directory}:${process.env.PATH}` },
  });
  return { status, stderr };
}

function calledApt(): string[] {
  const lines = existsSync(calls) ? readFileSync(calls, 'utf8').trim().split('\n') : [];
  return lines.filter((line) => line.startsWith('apt-get'));
}

describe('what Debian packages are missing', () => {
  test('is installed in one go, when others have let go of the lists of packages', () => {
    const locked = 'echo "E: Could not get lock /var/lib/apt/lists/lock. It is held by process 1"; exit 100';
    stand('apt-get', `[[ $(grep -c apt-get ${calls}) -gt 2 ]] || { ${locked}; }`);
    assert.deepEqual(install('build'), { status: 0, stderr: '' });
    assert.deepEqual(calledApt(), ['apt-get update', 'apt-get update', 'apt-get update', 'apt-get git']);
  });

  test('is installed from the lists that are there, if they cannot be brought up to date', () => {
    stand('apt-get', '[[ $* != *update ]] || { echo "E: The repository has no Release file"; exit 100; }');
    assert.deepEqual(install('build'), { status: 0, stderr: 'E: The repository has no Release file\n' });
    assert.deepEqual(calledApt(), ['apt-get update', 'apt-get git']);
  });

  test('is nothing: then nobody is asked, and no network is needed', () => {
    stand('dpkg-query', 'echo installed');
    stand('apt-get', 'exit 1');
    assert.deepEqual(install('test', 'bench'), { status: 0, stderr: '' });
    assert.deepEqual(calledApt(), []);
  });

  test('is not installed for a Node that is too old, or none', () => {
    const refusals = {
      'echo v18.20.4': /install Node 20\.9 or newer first \(found v18\.20\.4\)/,
      'echo v20.8.1': /found v20\.8\.1/,
      'exit 127': /found none/,
    };
    stand('apt-get', '');
    for (const [text, reason] of Object.entries(refusals)) {
      stand('node', text);
      const { status, stderr } = install('demo');
      assert.equal(status, 1);
      assert.match(stderr, reason);
    }
    assert.deepEqual(calledApt(), []);
  });
});
