import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { test } from 'node:test';
import { formatIP, parseIP } from '../address/ip.ts';
import { parsePrefix } from '../address/prefix.ts';
import { silentLog } from '../log.ts';
import { Ipam } from './ipam.ts';
import { MemoryDisk } from './memoryFiles.rig.ts';

const SEGMENT = { prefix: parsePrefix('10.0.0.0/24'), state: 'active', generation: 1 } as const;

function open(directory: string, boot = 'boot-1'): Ipam {
  return new Ipam({ directory, cooldown: 0, boot, now: Date.now, log: silentLog });
}

function owner(containerID: string) {
  return { containerID, ifName: 'eth0', network: 'pods' };
}

function withIpam(claim: string, run: (ipam: Ipam, directory: string) => Promise<void>): void {
  test(claim, async () => {
    const directory = mkdtempSync(join(tmpdir(), 'tombolo-ipam-'));
    const ipam = open(directory);
    try {
      await ipam.assign([SEGMENT]);
      await run(ipam, directory);
    } finally {
      await ipam.close();
      rmSync(directory, { recursive: true });
    }
  });
}

withIpam('an attachment that asks again is given what it has', async (ipam) => {
  const first = await ipam.allocate({ owner: owner('a'), addresses: [] });
  const again = await ipam.allocate({ owner: owner('a'), addresses: [] });
  assert.deepEqual(again, first);
  await assert.rejects(
    ipam.allocate({ owner: owner('a'), addresses: [parseIP('10.0.0.9')] }),
    /Cannot allocate 10\.0\.0\.9: the attachment holds 10\.0\.0\.0/,
  );
});

withIpam('what is reserved is in the journal at once, before the disk has it', async (ipam, directory) => {
  const { allocation, durable } = ipam.reserve({ owner: owner('a'), addresses: [] });
  const [address = parseIP('0.0.0.0')] = allocation.addresses;
  assert.ok(readFileSync(join(directory, 'journal.jsonl'), 'utf8').includes(formatIP(address)));
  await durable;
});

withIpam('a hundred at a time get a hundred addresses', async (ipam) => {
  const allocations = await Promise.all(
    Array.from({ length: 100 }, (_, index) => ipam.allocate({ owner: owner(`c${index}`), addresses: [] })),
  );
  assert.equal(new Set(allocations.flatMap(({ addresses }) => addresses)).size, 100);
  assert.equal(ipam.usage()[0]?.used, 100);
});

withIpam('releasing is done once and asked for as often as one likes', async (ipam) => {
  await ipam.allocate({ owner: owner('a'), addresses: [] });
  assert.ok(await ipam.release(owner('a')));
  assert.equal(await ipam.release(owner('a')), undefined);
  assert.equal(ipam.counters.releases, 1);
});

withIpam('addresses in use that the journal has forgotten are never given out', async (ipam) => {
  await ipam.adopt(owner('old'), [parseIP('10.0.0.0')]);
  const { addresses } = await ipam.allocate({ owner: owner('new'), addresses: [] });
  assert.deepEqual(addresses.map(formatIP), ['10.0.0.1']);
  await assert.rejects(
    ipam.adopt(owner('liar'), [parseIP('10.0.0.1')]),
    /container new holds it, and so does/,
  );
});

test('a process killed at any moment finds all it has answered for', { timeout: 60_000 }, async () => {
  const directory = mkdtempSync(join(tmpdir(), 'tombolo-ipam-'));
  const script = `
    const { Ipam } = await import(${JSON.stringify(join(import.meta.dirname, 'ipam.ts'))});
    const { parsePrefix } = await import(${JSON.stringify(join(import.meta.dirname, '../address/prefix.ts'))});
    const { silentLog } = await import(${JSON.stringify(join(import.meta.dirname, '../log.ts'))});
    const ipam = new Ipam({ directory: ${JSON.stringify(directory)}, cooldown: 0, boot: 'b', now: Date.now, log: silentLog });
    await ipam.assign([{ prefix: parsePrefix('10.0.0.0/16'), state: 'active', generation: 1 }]);
    for (let i = 0; ; i++) {
      const containerID = process.pid + '-' + i;
      const { addresses } = await ipam.allocate({ owner: { containerID, ifName: 'eth0', network: 'pods' }, addresses: [] });
      process.stdout.write(containerID + ' ' + addresses[0] + '\\n');
    }`;
  const answered = new Map<string, string>();
  try {
    for (const patience of [1, 20, 60]) {
      const child = spawn(process.execPath, ['--import', 'tsx', '--input-type=module', '-e', script], {
        stdio: ['ignore', 'pipe', 'inherit'],
      });
      const lines = createInterface({ input: child.stdout });
      let seen = 0;
      for await (const line of lines) {
        const [containerID = '', address = ''] = line.split(' ');
        answered.set(containerID, address);
        if (++seen === patience) child.kill('SIGKILL');
      }
    }
    assert.equal(new Set(answered.values()).size, answered.size, 'an address was given out twice');
    const ipam = open(directory);
    const held = new Map(
      ipam.allocations().map(({ owner, addresses }) => [owner.containerID, String(addresses[0])]),
    );
    for (const [containerID, address] of answered) assert.equal(held.get(containerID), address);
    await ipam.close();
  } finally {
    rmSync(directory, { recursive: true });
  }
});

test('what is kept for a claim is kept by the next process, too', async () => {
  const directory = mkdtempSync(join(tmpdir(), 'tombolo-ipam-'));
  try {
    const ipam = open(directory);
    await ipam.assign([SEGMENT]);
    const { addresses } = await ipam.allocate({ owner: owner('db'), addresses: [], claim: 'shop/db-0' });
    await ipam.keep('shop/db-1', [parseIP('10.0.0.7')]);
    await ipam.release(owner('db'));
    await ipam.close();
    const next = open(directory);
    const kept = [...next.kept()].map(([address, claim]) => `${formatIP(address)} ${claim}`);
    assert.deepEqual(kept, ['10.0.0.0 shop/db-0', '10.0.0.7 shop/db-1']);
    await assert.rejects(
      next.keep('shop/db-1', addresses),
      /Cannot set aside 10\.0\.0\.0 for claim shop\/db-1: it is kept for claim shop\/db-0/,
    );
    await next.forget('shop/db-0', addresses);
    assert.deepEqual([...next.kept().keys()], [parseIP('10.0.0.7')]);
    await next.close();
  } finally {
    rmSync(directory, { recursive: true });
  }
});

withIpam('an address that somebody holds cannot be set aside for a claim', async (ipam) => {
  const { addresses } = await ipam.allocate({ owner: owner('web'), addresses: [] });
  await assert.rejects(ipam.keep('shop/db-0', addresses), /container web holds it/);
});

/** An IPAM on a disk whose every sync is carried out at once. */
async function onDisk(disk: MemoryDisk, run: (ipam: Ipam) => Promise<void>): Promise<void> {
  const files = disk.open();
  const ipam = new Ipam({ directory: '', cooldown: 0, boot: 'b', now: Date.now, log: silentLog, files });
  const spinning = setInterval(() => disk.finish(), 1);
  try {
    await run(ipam);
  } finally {
    clearInterval(spinning);
  }
}

test("an address that could not be journaled and went to somebody else is not the first one's after a crash", async () => {
  const disk = new MemoryDisk();
  await onDisk(disk, async (ipam) => {
    await ipam.assign([SEGMENT]);
    const failing = ipam.allocate({ owner: owner('a'), addresses: [] });
    disk.fail(2);
    await assert.rejects(ipam.allocate({ owner: owner('b'), addresses: [] }), /no space left/);
    await failing;
    await ipam.allocate({ owner: owner('c'), addresses: [parseIP('10.0.0.1')] });
  });
  await onDisk(disk, async (ipam) => {
    const held = ipam
      .allocations()
      .map(({ owner: { containerID }, addresses }) => [containerID, ...addresses.map(formatIP)]);
    assert.deepEqual(held, [
      ['a', '10.0.0.0'],
      ['c', '10.0.0.1'],
    ]);
  });
});

test('segments that the disk has not taken are written again when they are assigned again', async () => {
  const disk = new MemoryDisk();
  await onDisk(disk, async (ipam) => {
    disk.fail(2);
    await assert.rejects(ipam.assign([SEGMENT]), /no space left/);
    await ipam.assign([SEGMENT]);
  });
  await onDisk(disk, async (ipam) => assert.equal(ipam.segments().length, 1));
});
