import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { closeSync, mkdirSync, mkdtempSync, rmdirSync, rmSync } from 'node:fs';
import { release, tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { setTimeout } from 'node:timers/promises';
import { withDescriptor } from '../../src/ebpf/bpf.ts';
import { cgroupRoot, openCgroup } from '../../src/ebpf/cgroup.ts';
import { be16, padding, raw, struct, u32, u64 } from '../../src/ebpf/codec.ts';
import { explained, FEATURES } from '../../src/ebpf/features.ts';
import { MapIterator } from '../../src/ebpf/iterator.ts';
import { createLink, linkInfo, updateLink } from '../../src/ebpf/link.ts';
import { BpfMap, createMap, mapInfo, openMap, openMapById, perCpu } from '../../src/ebpf/map.ts';
import { LoadError, type LoadedObject, loadObject, readBtf, type Verified } from '../../src/ebpf/object.ts';
import { listPins, makePinDirectory, openPin, pin, replacePin, unpin } from '../../src/ebpf/pin.ts';
import { programInfo, readSkBuff, skBuff, testRun, verifiedInstructions } from '../../src/ebpf/program.ts';
import { RingBuffer } from '../../src/ebpf/ringBuffer.ts';
import { KERNEL } from './kernel.ts';

const directory = mkdtempSync(join(tmpdir(), 'tbt-ebpf-'));
const pins = `/sys/fs/bpf/tbt-ebpf-${process.pid}`;
const cgroup = join(cgroupRoot() ?? '', `tbt-ebpf-${process.pid}`);
const frame = Buffer.alloc(64);

const key = struct<{ number: number; port: number }>({ number: u32, port: be16, zero: padding(2) });
const value = struct<{ packets: bigint; address: Buffer }>({ packets: u64, address: raw(16) });
const nowhere = Buffer.alloc(16);

let object: LoadedObject;

before(() => {
  makePinDirectory(pins);
  object = loadObject(compile('object'), { constants: { mark: 42, limit: 2n ** 63n, 'config.flag': 1 } });
});

after(() => {
  object?.close();
  for (const name of listPins(pins)) unpin(join(pins, name));
  rmdirSync(pins);
  rmSync(directory, { recursive: true });
});

describe('an object', () => {
  test('loads its programs and maps under their names', () => {
    assert.deepEqual([...object.programs.keys()], ['tbt_mark', 'tbt_connect4', 'tbt_sweep']);
    assert.deepEqual([...object.maps.keys()].sort(), ['tbt_hash', 'tbt_percpu', 'tbt_ring']);
    assert.equal(programInfo(fdOf('tbt_mark')).name, 'tbt_mark');
  });

  test('runs with the constants set before it was loaded', () => {
    const { verdict, context } = testRun(fdOf('tbt_mark'), { data: frame, context: skBuff({ mark: 7 }) });
    assert.equal(verdict, 7);
    assert.equal(readSkBuff(context).mark, 43);
  });

  test('refuses a constant it does not have, or one too wide', () => {
    const path = join(directory, 'object.o');
    assert.throws(() => loadObject(path, { constants: { none: 1 } }), /it has no constant none/);
    assert.throws(
      () => loadObject(path, { constants: { 'config.flag': 256 } }),
      /it has 1 bytes \(value 256\)/,
    );
  });

  test('that the verifier refuses says which program, where and why, and keeps the log', () => {
    const path = compile('refused', '-DREFUSED');
    assert.throws(
      () => loadObject(path),
      (error) => {
        assert.ok(error instanceof LoadError);
        assert.match(
          error.message,
          /refuses program tbt_refused, instruction \d+: R\d offset is outside of the packet/,
        );
        assert.match(error.log, /BEGIN PROG LOAD LOG/);
        return true;
      },
    );
    loadObject(path, { programs: ['tbt_mark'] }).close();
  });

  const nonNull = '-DARGUMENT=__attribute__((btf_decl_tag("arg:nonnull")))';
  if (KERNEL.verifiesByFunction) {
    test('has its functions verified once each, whoever calls them', () => {
      const path = compile('functions', '-DFUNCTIONS', nonNull);
      const [once, atCalls] = [loadFunctions(path), loadFunctions(path, 'by call')];
      assert.deepEqual([once.verified, atCalls.verified], ['by function', 'by call']);
      assert.ok(
        once.instructions > 0 && 3 * once.instructions < atCalls.instructions,
        `${once.instructions}, ${atCalls.instructions}`,
      );
      assert.deepEqual([once.verdict, atCalls.verdict], [7, 7]);
    });
  } else {
    test('has its functions verified at each call, as this kernel does not know the mark of what is never NULL', () => {
      const path = compile('functions', '-DFUNCTIONS', nonNull);
      assert.throws(() => loadFunctions(path, 'by function'), LoadError);
      const { verified, verdict } = loadFunctions(path);
      assert.deepEqual({ verified, verdict }, { verified: 'by call', verdict: 7 });
    });
  }

  test('whose functions are right for their callers alone has them verified at each call', () => {
    const path = compile('callers', '-DFUNCTIONS', '-DARGUMENT=');
    assert.throws(() => loadFunctions(path, 'by function'), /invalid mem access 'mem_or_null'/);
    const { verified, verdict } = loadFunctions(path);
    assert.deepEqual({ verified, verdict }, { verified: 'by call', verdict: 7 });
  });

  test('that is no object is refused with a reason', () => {
    assert.throws(() => loadObject('/nonexistent.o'), /Cannot load \/nonexistent\.o: .*ENOENT/);
  });

  test('takes over an open map of the same shape, with its entries', () => {
    const map = hash();
    map.set({ number: 9, port: 9 }, { packets: 9n, address: nowhere });
    const again = loadObject(join(directory, 'object.o'), {
      reuse: ({ name }) => (name === 'tbt_hash' ? openMapById(hash().info.id) : undefined),
    });
    assert.equal(mapInfo(again.maps.get('tbt_hash') ?? -1).id, map.info.id);
    again.close();
    map.delete({ number: 9, port: 9 });
  });

  test('has BTF that names the members of its structs and its constants', () => {
    const btf = readBtf(join(directory, 'object.o'));
    assert.deepEqual(btf.struct('value'), {
      name: 'value',
      size: 24,
      members: [
        { name: 'packets', offset: 0, size: 8 },
        { name: 'address', offset: 8, size: 16 },
      ],
    });
    assert.deepEqual(
      btf
        .variables('.rodata')
        .map(({ name }) => name)
        .sort(),
      ['limit', 'mark'],
    );
  });
});

describe('a map', () => {
  test('gives back what was set, and nothing once deleted', () => {
    const map = hash();
    const entry = { packets: 3n, address: Buffer.from('0123456789abcdef') };
    map.set({ number: 1, port: 80 }, entry);
    assert.deepEqual(map.get({ number: 1, port: 80 }), entry);
    assert.equal(map.add({ number: 1, port: 80 }, entry), false);
    assert.equal(map.delete({ number: 1, port: 80 }), true);
    assert.equal(map.delete({ number: 1, port: 80 }), false);
    assert.equal(map.get({ number: 1, port: 80 }), undefined);
  });

  test('takes, lists and drops thousands of entries in batches', () => {
    const fd = createMap({
      name: 'tbt_many',
      type: 'hash',
      keySize: 8,
      valueSize: 24,
      maxEntries: 20000,
      flags: 0,
    });
    const map = new BpfMap(fd, key, value);
    const keys = Array.from({ length: 10000 }, (_, number) => ({ number, port: number % 7 }));
    map.setAll(keys.map((key) => [key, { packets: BigInt(key.number), address: nowhere }]));
    const found = [...map.entries()];
    assert.equal(found.length, 10000);
    assert.ok(found.every(([key, value]) => value.packets === BigInt(key.number)));
    map.delete({ number: 5, port: 5 });
    assert.equal(map.deleteAll(keys), 9999);
    assert.deepEqual([...map.entries()], []);
    map.close();
  });

  test('that is full says so, with its size', () => {
    const map = hash();
    const entries = Array.from({ length: 40 }, (_, number) => [
      { number, port: 0 },
      { packets: 0n, address: nowhere },
    ]);
    assert.throws(
      () => map.setAll(entries as [{ number: number; port: number }, { packets: bigint; address: Buffer }][]),
      /Cannot write to map tbt_hash: E2BIG \(it is full: 16 entries\)/,
    );
    map.deleteAll([...map.entries()].map(([key]) => key));
  });

  test('refuses codecs of another size', () => {
    assert.throws(
      () => new BpfMap(object.maps.get('tbt_hash') ?? -1, u32, value),
      /Cannot use map tbt_hash: expected keys of 4 and values of 24 bytes \(value 8 and 24\)/,
    );
  });

  test('with a value per CPU is read and written for all CPUs at once', () => {
    const map = new BpfMap(object.maps.get('tbt_percpu') ?? -1, u32, perCpu(u32));
    map.set(1, map.get(1)?.map((_, cpu) => cpu + 10) ?? []);
    assert.equal(map.get(1)?.[0], 10);
    map.set(0, map.get(0)?.map(() => 0) ?? []);
    testRun(fdOf('tbt_mark'), { data: frame, repeat: 5 });
    assert.equal(
      map.get(0)?.reduce((sum, count) => sum + count),
      5,
    );
    assert.deepEqual(
      [...map.entries()].map(([index]) => index),
      [0, 1, 2, 3],
    );
  });

  test('holds inner maps, which are found again by id', () => {
    const inner = createMap({
      name: 'tbt_inner',
      type: 'array',
      keySize: 4,
      valueSize: 4,
      maxEntries: 8,
      flags: 0,
    });
    const shape = {
      name: 'tbt_outer',
      type: 'hash_of_maps',
      keySize: 4,
      valueSize: 4,
      maxEntries: 4,
      flags: 0,
    } as const;
    const outer = new BpfMap(createMap(shape, inner), u32, u32);
    outer.set(3, inner);
    assert.equal(outer.get(3), mapInfo(inner).id);
    outer.close();
    closeSync(inner);
  });
});

describe('a pin', () => {
  test('is found, replaced by rename and removed', () => {
    const path = join(pins, 'tbt_hash');
    pin(object.maps.get('tbt_hash') ?? -1, path);
    assert.throws(() => pin(object.maps.get('tbt_hash') ?? -1, path), /EEXIST/);
    openMap(path, key, value).close();
    replacePin(object.maps.get('tbt_percpu') ?? -1, path);
    assert.equal(
      withDescriptor(openPin(path), (fd) => mapInfo(fd).name),
      'tbt_percpu',
    );
    assert.deepEqual(listPins(pins), ['tbt_hash']);
    assert.equal(unpin(path), true);
    assert.equal(unpin(path), false);
  });

  test('belongs on a BPF file system', () => {
    assert.throws(() => makePinDirectory(directory), /it is not on a BPF file system/);
  });
});

test('a ring buffer hands over every record, in order, also while more arrive', async () => {
  const seen: bigint[] = [];
  const ring = new RingBuffer(object.maps.get('tbt_ring') ?? -1, (bytes) => {
    seen.push(Buffer.from(bytes).readBigUInt64LE());
  });
  seen.length = 0;
  for (let round = 0; round < 20; round++) {
    testRun(fdOf('tbt_mark'), { data: frame, repeat: 100 });
    await setTimeout(5);
  }
  ring.close();
  assert.equal(seen.length, 2000);
  assert.ok(seen.every((record) => record === 2n ** 63n));
});

test('an iterator visits every entry in the kernel, may delete, and reports', () => {
  const map = hash();
  map.setAll(
    [1, 2, 3].map((number) => [
      { number, port: 0 },
      { packets: BigInt(number - 1), address: nowhere },
    ]),
  );
  const iterator = new MapIterator(fdOf('tbt_sweep'), map.fd);
  const kept = iterator.run();
  iterator.close();
  assert.deepEqual([kept.readUInt32LE(0), kept.readUInt32LE(4), kept.length].sort(), [2, 3, 8]);
  assert.equal(map.get({ number: 1, port: 0 }), undefined);
  map.deleteAll([...map.entries()].map(([key]) => key));
});

test('the features that this kernel is new enough for are found', () => {
  const [major = 0, minor = 0] = release().split('.').map(Number);
  for (const { name, since, supported } of Object.values(FEATURES)) {
    const [wantedMajor = 0, wantedMinor = 0] = since.split('.').map(Number);
    if (major > wantedMajor || (major === wantedMajor && minor >= wantedMinor)) assert.ok(supported(), name);
  }
});

test('an error is explained by the feature that is missing, and only by that', () => {
  const error = new Error('Cannot attach');
  if (FEATURES.tcx.supported()) assert.equal(explained(FEATURES.tcx, error), error);
  const missing = { name: 'time travel', since: '9.9', supported: () => false };
  assert.match(
    String(explained(missing, error)),
    /Cannot use time travel: this kernel has none, Linux 9.9 does/,
  );
});

test('a directory that is no cgroup is refused by name', () => {
  assert.throws(
    () => openCgroup('/tmp'),
    /^Error: Cannot use cgroup \/tmp: it is not in a cgroup v2 hierarchy$/,
  );
  assert.throws(() => openCgroup('/no/such'), /^Error: Cannot use cgroup \/no\/such: ENOENT/);
});

test('a cgroup link takes another program without a gap', () => {
  mkdirSync(cgroup);
  try {
    const other = loadObject(join(directory, 'object.o'), { programs: ['tbt_connect4'] });
    withDescriptor(openCgroup(cgroup), (fd) => {
      const link = createLink(fdOf('tbt_connect4'), fd, 'cgroup_inet4_connect');
      const before = linkInfo(link);
      const next = other.programs.get('tbt_connect4') ?? -1;
      updateLink(link, next);
      assert.deepEqual(linkInfo(link), { ...before, programId: programInfo(next).id });
      assert.notEqual(linkInfo(link).programId, before.programId);
      closeSync(link);
    });
    other.close();
  } finally {
    rmdirSync(cgroup);
  }
});

function hash() {
  return new BpfMap(object.maps.get('tbt_hash') ?? -1, key, value);
}

function fdOf(program: string): number {
  const fd = object.programs.get(program);
  assert.ok(fd !== undefined);
  return fd;
}

/** The program of the fixture that calls functions, and what it makes of a mark whose bits 3 and 4 are set. */
function loadFunctions(path: string, verified?: Verified) {
  const object = loadObject(path, { programs: ['tbt_calls'], ...(verified && { verified }) });
  try {
    const fd = object.programs.get('tbt_calls') ?? -1;
    return {
      verified: object.verified,
      instructions: verifiedInstructions(fd),
      verdict: testRun(fd, { data: Buffer.alloc(256), context: skBuff({ mark: 0x18 }) }).verdict,
    };
  } finally {
    object.close();
  }
}

function compile(name: string, ...flags: string[]): string {
  const path = join(directory, `${name}.o`);
  const include = `-I/usr/include/${process.arch === 'arm64' ? 'aarch64' : 'x86_64'}-linux-gnu`;
  const source = new URL('ebpfFixture.c', import.meta.url).pathname;
  execFileSync('clang', [
    '-O2',
    '-g',
    '-target',
    'bpf',
    '-mcpu=v3',
    include,
    ...flags,
    '-c',
    source,
    '-o',
    path,
  ]);
  return path;
}
