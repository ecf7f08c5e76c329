import assert from 'node:assert/strict';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { Released } from '../../cni/released.ts';
import { formatIP, parseIP } from '../address/ip.ts';
import { parsePrefix } from '../address/prefix.ts';
import { attachmentId } from '../attach/attachment.ts';
import { type AttachmentRecord, RecordStore } from '../attach/record.ts';
import { Ipam } from '../ipam/ipam.ts';
import { silentLog } from '../log.ts';
import { recover } from './recovery.ts';

function owner(containerID: string) {
  return { containerID, ifName: 'eth0', network: 'pods' };
}

interface Bench {
  directory: string;
  ipam: Ipam;
  records: RecordStore;
  /** What the agent does when it starts, in this boot; these containers are found to be dead. */
  start(boot: string, dead?: string[]): Promise<void>;
  record(containerID: string, address: string, ipam?: AttachmentRecord['spec']['ipam']): void;
  recorded(): string[];
  held(): string[];
}

function withBench(claim: string, run: (bench: Bench) => Promise<void>): void {
  test(claim, async () => {
    const directory = mkdtempSync(join(tmpdir(), 'tombolo-recovery-'));
    const log = silentLog;
    const ipam = new Ipam({
      directory: join(directory, 'ipam'),
      cooldown: 0,
      boot: 'one',
      now: Date.now,
      log,
    });
    const records = new RecordStore(directory);
    const released = new Released(directory);
    await ipam.assign([{ prefix: parsePrefix('10.0.0.0/29'), state: 'active', generation: 1 }]);
    try {
      await run({
        directory,
        ipam,
        records,
        async start(boot, dead = []) {
          const undo = async (all: readonly AttachmentRecord[]) =>
            all.filter(({ spec }) => dead.includes(spec.containerId));
          await recover({ ipam, records, released, boot, undo, log });
        },
        record(containerID, address, source = { kind: 'agent' }) {
          const id = attachmentId(containerID, 'eth0');
          records.write({
            version: 1,
            state: 'attached',
            time: '2025-01-01T00:00:00Z',
            bootId: 'one',
            namespace: { device: 1, inode: 1 },
            spec: {
              ...{ id, containerId: containerID, ifName: 'eth0', network: 'pods', netns: '/run/netns/x' },
              ...{ kind: { kind: 'veth' }, mtu: 0, addresses: [{ address }], routes: [] },
              ...{ ipam: source, cniVersion: '1.1.0' },
            },
          });
        },
        recorded: () => records.list().records.map(({ spec }) => spec.containerId),
        held: () =>
          ipam
            .allocations()
            .flatMap(({ addresses }) => addresses.map(formatIP))
            .sort(),
      });
    } finally {
      await ipam.close();
      rmSync(directory, { recursive: true });
    }
  });
}

withBench('a restart within one boot keeps everything', async ({ ipam, start, record, recorded, held }) => {
  await ipam.allocate({ owner: owner('a'), addresses: [] });
  await ipam.allocate({ owner: owner('interrupted'), addresses: [] });
  record('a', '10.0.0.0/32');
  await start('one');
  assert.deepEqual(held(), ['10.0.0.0', '10.0.0.1']);
  assert.deepEqual(recorded(), ['a']);
});

withBench('after a reboot everything is free', async ({ ipam, start, record, recorded, held }) => {
  for (const name of ['gone', 'interrupted']) await ipam.allocate({ owner: owner(name), addresses: [] });
  record('gone', '10.0.0.0/32');
  await start('two', ['gone']);
  assert.deepEqual(held(), []);
  assert.deepEqual(recorded(), []);
});

withBench('what cannot be undone keeps its address', async ({ ipam, start, record, recorded, held }) => {
  await ipam.allocate({ owner: owner('stuck'), addresses: [] });
  record('stuck', '10.0.0.0/32');
  await start('two', []);
  assert.deepEqual(held(), ['10.0.0.0']);
  assert.deepEqual(recorded(), ['stuck']);
});

withBench(
  'a record of a delegated IPAM plugin waits for the runtime',
  async ({ start, record, recorded }) => {
    record('a', '192.0.2.1/32', { kind: 'delegated', type: 'host-local', config: {} });
    await start('two', ['a']);
    assert.deepEqual(recorded(), ['a']);
  },
);

withBench('addresses of pods that the journal has lost are not given out again', async (bench) => {
  const { ipam, start, record } = bench;
  record('a', '10.0.0.0/32');
  await start('one');
  const { addresses } = await ipam.allocate({ owner: owner('b'), addresses: [] });
  assert.deepEqual(addresses, [parseIP('10.0.0.1')]);
});

withBench('what the plugin released while no agent ran is free', async ({ directory, ipam, start, held }) => {
  await ipam.allocate({ owner: owner('a'), addresses: [] });
  new Released(directory).add(owner('a'));
  new Released(directory).add(owner('unknown'));
  writeFileSync(join(directory, 'released/damaged.json'), '{');
  await start('one');
  assert.deepEqual(held(), []);
});
