import assert from 'node:assert/strict';
import { mkdtempSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, test } from 'node:test';
import type { AddressOwner } from './addresses.ts';
import { Released } from './released.ts';

let stateDir = '';
beforeEach(() => {
  stateDir = mkdtempSync(join(tmpdir(), 'tombolo-released-'));
});
afterEach(() => rmSync(stateDir, { recursive: true }));

const owner = (containerID: string): AddressOwner => ({ network: 'pods', containerID, ifName: 'eth0' });

test('what was released while no agent ran is freed once, each attachment once', async () => {
  const released = new Released(stateDir);
  released.add(owner('a'));
  released.add(owner('b'));
  released.add(owner('a'));
  const freed: string[] = [];
  assert.deepEqual(await released.drain(async ({ containerID }) => void freed.push(containerID)), []);
  assert.deepEqual(freed.sort(), ['a', 'b']);
  assert.deepEqual(await released.drain(() => assert.fail('freed twice')), []);
});

test('nothing released is nothing to do', async () => {
  assert.deepEqual(await new Released(join(stateDir, 'none')).drain(() => assert.fail()), []);
});

test('what cannot be freed or read is reported, stays, and does not keep the others', async () => {
  const released = new Released(stateDir);
  for (const containerID of ['a', 'b', 'c']) released.add(owner(containerID));
  writeFileSync(join(stateDir, 'released', 'zz.json'), '{"network":"pods"');
  const freed: string[] = [];
  const failures = await released.drain(async ({ containerID }) => {
    if (containerID === 'b') throw new Error('the journal is full');
    freed.push(containerID);
  });
  assert.deepEqual(freed.sort(), ['a', 'c']);
  assert.equal(failures.length, 2);
  assert.match(failures.map(String).join(), /journal is full/);
  assert.equal(readdirSync(join(stateDir, 'released')).length, 2);
});
