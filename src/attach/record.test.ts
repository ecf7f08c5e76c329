import assert from 'node:assert/strict';
import { mkdtempSync, readdirSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { parseIP } from '../address/ip.ts';
import { parseMac } from '../address/mac.ts';
import { parseInterfaceAddress, parsePrefix } from '../address/prefix.ts';
import { type AttachmentSpec, attachmentId, hostLinkName } from './attachment.ts';
import { type AttachmentRecord, newRecord, RecordStore } from './record.ts';
import { readSpec, writeSpec } from './recordText.ts';
import { isAbandoned } from './recover.ts';

const SPEC: AttachmentSpec = {
  id: attachmentId('c1', 'eth0'),
  containerId: 'c1',
  ifName: 'eth0',
  network: 'pods',
  netns: '/run/netns/c1',
  kind: { kind: 'veth' },
  mtu: 0,
  mac: parseMac('02:00:00:00:00:01'),
  addresses: [
    { address: parseInterfaceAddress('10.0.0.5/24'), gateway: parseIP('10.0.0.1') },
    { address: parseInterfaceAddress('fd00::5/64'), gateway: undefined },
  ],
  routes: [{ prefix: parsePrefix('10.9.0.0/16'), via: undefined }],
  ipam: { kind: 'delegated', type: 'host-local', config: { name: 'pods' } },
  cniVersion: '1.1.0',
};

function recordOf(spec: AttachmentSpec): AttachmentRecord {
  return newRecord(spec, { namespace: { device: 4, inode: 4026531840 }, netnsCookie: '17' });
}

function storeFor(t: { after(run: () => void): void }): { store: RecordStore; directory: string } {
  const stateDir = mkdtempSync(join(tmpdir(), 'tbt-record-'));
  t.after(() => rmSync(stateDir, { recursive: true }));
  return { store: new RecordStore(stateDir), directory: join(stateDir, 'attachments') };
}

test('an id is eleven hex digits and names a link the kernel takes', () => {
  assert.equal(SPEC.id, 'd72e032fedd');
  assert.equal(hostLinkName(SPEC.id).length, 14);
});

test('a specification survives being written as text', () => {
  assert.deepEqual(readSpec(JSON.parse(JSON.stringify(writeSpec(SPEC)))), SPEC);
});

test('a record is read as written, for root alone, and gone when removed', (t) => {
  const { store, directory } = storeFor(t);
  assert.equal(store.read(SPEC.id), undefined);
  assert.deepEqual(store.list(), { records: [], damaged: [] });
  store.remove(SPEC.id);
  store.write(recordOf(SPEC));
  store.write({ ...recordOf(SPEC), state: 'attached' });
  assert.equal(store.read(SPEC.id)?.state, 'attached');
  assert.deepEqual(store.read(SPEC.id)?.spec.addresses[0], { address: '10.0.0.5/24', gateway: '10.0.0.1' });
  assert.deepEqual(readdirSync(directory), [`${SPEC.id}.json`]);
  assert.equal(statSync(join(directory, `${SPEC.id}.json`)).mode & 0o777, 0o600);
  store.remove(SPEC.id);
  assert.deepEqual(readdirSync(directory), []);
});

test('removing a record removes what a killed writer of it has left, and nothing of others', (t) => {
  const { store, directory } = storeFor(t);
  store.write(recordOf(SPEC));
  writeFileSync(join(directory, `${SPEC.id}.json.4242.new`), '{"version":1,');
  writeFileSync(join(directory, '00000000000.json.4242.new'), '{"version":1,');
  store.remove(SPEC.id);
  assert.deepEqual(readdirSync(directory), ['00000000000.json.4242.new']);
});

test('what another process writes, replaces and removes is read and listed as it is now', (t) => {
  const { store, directory } = storeFor(t);
  const other = new RecordStore(join(directory, '..'));
  const more = { ...SPEC, id: attachmentId('c2', 'eth0'), containerId: 'c2' };
  const listed = () =>
    store
      .list()
      .records.map(({ spec, state }) => `${spec.containerId} ${state}`)
      .sort();
  store.write(recordOf(SPEC));
  assert.deepEqual(listed(), ['c1 attaching']);
  other.write(recordOf(more));
  assert.deepEqual(listed(), ['c1 attaching', 'c2 attaching']);
  other.write({ ...recordOf(SPEC), state: 'attached' });
  assert.equal(store.read(SPEC.id)?.state, 'attached');
  store.write({ ...recordOf(more), state: 'detaching' });
  assert.deepEqual(listed(), ['c1 attached', 'c2 detaching']);
  other.remove(SPEC.id);
  assert.equal(store.read(SPEC.id), undefined);
  assert.deepEqual(listed(), ['c2 detaching']);
  writeFileSync(join(directory, `${more.id}.json.4242.new`), '{');
  store.remove(more.id);
  assert.deepEqual(listed(), []);
  assert.deepEqual(readdirSync(directory), []);
});

test('damaged records are set aside with the reason, and the others are still read', (t) => {
  const { store, directory } = storeFor(t);
  store.write(recordOf(SPEC));
  const text = JSON.stringify(recordOf(SPEC));
  const damages = {
    '00000000001': ['', /JSON/],
    '00000000002': ['null', /this version is not known \(value undefined\)/],
    '00000000003': [text, /it belongs to another attachment/],
    '00000000004': [text.replace('"version":1', '"version":9'), /this version is not known \(value 9\)/],
    '00000000005': [withMember('00000000005', 'state', 'gone'), /no such state \(value "gone"\)/],
    '00000000006': [withSpec('00000000006', { kind: { kind: 'nic' } }), /the original device is missing/],
    '00000000007': [
      withSpec('00000000007', { addresses: [{ address: '10.0.0.300/24' }] }),
      /Cannot parse IPv4/,
    ],
    '00000000008': [withSpec('00000000008', { netns: 7 }), /netns must be text \(value 7\)/],
  } as const;
  for (const [id, [content]] of Object.entries(damages))
    writeFileSync(join(directory, `${id}.json`), content);
  writeFileSync(join(directory, 'notes.txt'), 'not ours');
  const { records, damaged } = store.list();
  assert.deepEqual(
    records.map(({ spec }) => spec.id),
    [SPEC.id],
  );
  assert.equal(damaged.length, Object.keys(damages).length);
  for (const { file, reason } of damaged) {
    const id = /([0-9a-f]{11})\.json\.damaged$/.exec(file)?.[1] as keyof typeof damages;
    assert.match(reason, damages[id][1], id);
  }
  assert.deepEqual(store.list().damaged, []);
  assert.equal(store.read('00000000002'), undefined);
});

function withMember(id: string, key: string, value: unknown): string {
  const record = recordOf({ ...SPEC, id });
  return JSON.stringify({ ...record, [key]: value });
}

function withSpec(id: string, changes: object): string {
  const record = recordOf({ ...SPEC, id });
  return JSON.stringify({ ...record, spec: { ...record.spec, ...changes } });
}

test('an id that would lead out of the directory is refused', (t) => {
  const { store } = storeFor(t);
  assert.throws(() => store.read('../../passwd'), /expected 11 hex digits \(value "\.\.\/\.\.\/passwd"\)/);
  assert.throws(() => store.remove(''), /expected 11 hex digits/);
});

test('a record is abandoned after ten seconds half-way, or with the kernel it was made under', () => {
  const record = recordOf(SPEC);
  const written = Date.parse(record.time);
  assert.equal(isAbandoned(record, written + 9_000), false);
  assert.equal(isAbandoned(record, written + 11_000), true);
  assert.equal(isAbandoned(record, written - 3_600_000), true, 'the clock was set back');
  assert.equal(isAbandoned({ ...record, state: 'detaching' }, written + 11_000), true);
  assert.equal(isAbandoned({ ...record, state: 'attached' }, written + 11_000), false);
  assert.equal(isAbandoned({ ...record, state: 'attached', bootId: 'earlier' }, written), true);
});
