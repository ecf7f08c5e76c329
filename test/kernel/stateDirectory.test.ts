// A node whose disk is full, or cannot be written to at all: the agent as it is built, with its state on a file system of its own.
import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { mkdirSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { AgentRig } from './agentRig.ts';
import { type TestNamespace, TestNamespaces } from './namespaces.ts';

const namespaces = new TestNamespaces('statedir');

describe('a node whose state directory takes nothing more', () => {
  let rig: AgentRig;
  let state: string;
  let pod: TestNamespace;
  const fill = () => join(state, 'fill');
  const hostEnds = () => [...rig.node.run('ip', '-o', 'link').matchAll(/ (tbo[0-9a-f]{11})@/g)].length;

  before(async () => {
    rig = new AgentRig(namespaces, 'tbosd');
    state = join(rig.directory, 'state');
    mkdirSync(state);
    execFileSync('mount', ['-t', 'tmpfs', '-o', 'size=4m', 'tmpfs', state]);
    await rig.start();
    pod = (await rig.pod('first')).namespace;
    // All that is left, and then the rest of a page.
    for (const size of [1 << 20, 1 << 16, 1 << 12]) {
      for (let full = false; !full; ) {
        try {
          writeFileSync(fill(), Buffer.alloc(size), { flag: 'a' });
        } catch (error) {
          assert.match(String(error), /ENOSPC/);
          full = true;
        }
      }
    }
  });
  after(async () => {
    await rig?.end('SIGKILL');
    execFileSync('umount', ['-l', state]);
    await rig?.remove();
    namespaces.close();
  });

  test('refuses a pod by the reason, and leaves nothing of it', async () => {
    const { status, body } = await rig.verb('ADD', 'tbosd-second', namespaces.create('tbosd-second').path);
    assert.equal(status, 500);
    assert.match(JSON.parse(body).msg, /Cannot write .*: ENOSPC: no space left on device/);
    assert.equal(hostEnds(), 1);
    const { allocations } = await rig.json('/v1/ipam');
    assert.deepEqual(
      allocations.map(({ containerID }: { containerID: string }) => containerID),
      ['tbosd-first'],
    );
  });

  test('takes a pod away all the same', async () => {
    assert.equal((await rig.verb('DEL', 'tbosd-first', pod.path)).status, 200);
    assert.equal(hostEnds(), 0);
  });

  test('serves on when there is room again', async () => {
    rmSync(fill());
    await rig.pod('third');
    const { allocations } = await rig.json('/v1/ipam');
    assert.deepEqual(
      allocations.map(({ containerID }: { containerID: string }) => containerID),
      ['tbosd-third'],
    );
  });

  test('does not start where nothing can be written, and says which file; the pods keep their networks', async () => {
    assert.equal(await rig.end('SIGTERM'), 0);
    execFileSync('mount', ['-o', 'remount,ro', state]);
    await assert.rejects(rig.start(), (error: Error) => {
      assert.match(error.message, /the agent ended with 1: /);
      assert.match(error.message, new RegExp(`tombolo: Cannot .*${state}/.*: EROFS: read-only file system`));
      return true;
    });
    assert.equal(hostEnds(), 1);
    execFileSync('mount', ['-o', 'remount,rw', state]);
    await rig.start();
    assert.equal(hostEnds(), 1);
  });
});
