import assert from 'node:assert/strict';
import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { MAPS } from '../../src/datapath/layout.ts';
import { MAGLEV_RING } from '../../src/datapath/maglev.ts';
import { BACKEND_STATES } from '../../src/datapath/maps/backends.ts';
import { SCOPES } from '../../src/datapath/maps/endpoint.ts';
import { FLOW_DIRECTIONS, FLOW_FLAGS, FLOW_STATES } from '../../src/datapath/maps/flows.ts';
import { NAT_FLAGS } from '../../src/datapath/maps/nat.ts';
import { NETNS_FLAGS } from '../../src/datapath/maps/netns.ts';
import { NODE_FLAGS, UPLINKS } from '../../src/datapath/maps/node.ts';
import { POD_FLAGS } from '../../src/datapath/maps/pods.ts';
import { SERVICE_FLAGS } from '../../src/datapath/maps/services.ts';
import { PEER_SIDES } from '../../src/datapath/maps/sockPeers.ts';
import { TUNNEL_FLAGS } from '../../src/datapath/maps/tunnels.ts';
import { OBJECTS } from '../../src/datapath/programs.ts';
import { REASONS } from '../../src/datapath/reasons.ts';
import type { Layout } from '../../src/ebpf/btf.ts';
import type { Codec, StructCodec } from '../../src/ebpf/codec.ts';
import { loadObject, type WantedMap } from '../../src/ebpf/object.ts';

/** Storage of sockets, room to work in, what is remembered for a moment: nobody but the programs reads them. */
const UNREAD = [
  'tb_sock_service',
  'tb_held_draft',
  'tb_refused',
  'tb_refusals',
  'tb_ways',
  'tb_flow_marks',
  'tb_nat_marks',
];

const objects = join(import.meta.dirname, '../../dist/bpf');
const headers = join(import.meta.dirname, '../../bpf/maps');
const declarations = readdirSync(headers)
  .map((header) => readFileSync(join(headers, header), 'utf8'))
  .join('');

/** Every map of every object, as the compiler laid it out. */
function compiledMaps(): Map<string, WantedMap> {
  const maps = new Map<string, WantedMap>();
  for (const object of Object.keys(OBJECTS)) {
    loadObject(join(objects, `${object}.o`), {
      programs: [],
      reuse: (wanted) => {
        maps.set(wanted.name, wanted);
        return undefined;
      },
    }).close();
  }
  return maps;
}

function fieldsOf(codec: Codec<never> | StructCodec<never>): string[] {
  if (!('fields' in codec)) return [`@0+${codec.size}`];
  return codec.fields.map(({ name, offset, size }) => `${name}@${offset}+${size}`);
}

/** By name where the codec is a struct's; an address alone is one value here, and one member there. */
function membersOf({ members }: Layout, codec: object): string[] {
  return members.map(({ name, offset, size }) => `${'fields' in codec ? name : ''}@${offset}+${size}`);
}

test('every field of every map lies in TypeScript where it lies in C', () => {
  const compiled = compiledMaps();
  for (const [name, { key, value }] of Object.entries(MAPS)) {
    const map = compiled.get(name);
    assert.ok(map, `no object has ${name}`);
    if (name !== 'tb_maglev') {
      assert.deepEqual(fieldsOf(key as never), membersOf(map.layout.key, key), `key of ${name}`);
      assert.deepEqual(fieldsOf(value as never), membersOf(map.layout.value, value), `value of ${name}`);
    }
    assert.equal(key.size, map.keySize, `key of ${name}`);
    assert.equal(value.size, map.valueSize, `value of ${name}`);
  }
});

test('every map that is pinned is known here', () => {
  const known = new Set([...Object.keys(MAPS), ...UNREAD]);
  assert.deepEqual(
    [...compiledMaps().keys()].filter((name) => !known.has(name)),
    [],
  );
});

test('states, flags and sizes have the numbers that C gives them', () => {
  const numbered = (prefix: string, names: readonly string[]) =>
    names.map((name, number) => [`${prefix}_${upper(name)}`, number] as const);
  const flagged = (prefix: string, flags: Record<string, number>) =>
    Object.entries(flags).map(([name, bit]) => [`${prefix}_${upper(name)}`, bit] as const);
  const expected = new Map<string, number>([
    ...numbered('BACKEND', BACKEND_STATES),
    ...numbered('FLOW', FLOW_DIRECTIONS),
    ...numbered('FLOW', FLOW_STATES),
    ...numbered('PEER_OF', PEER_SIDES),
    ...flagged('SERVICE', SERVICE_FLAGS),
    ...flagged('FLOW', FLOW_FLAGS),
    ...flagged('NETNS', NETNS_FLAGS),
    ...flagged('POD', POD_FLAGS),
    ...flagged('NODE', NODE_FLAGS),
    ...flagged('TUNNEL', TUNNEL_FLAGS),
    ...SCOPES.map((name, number) => [upper(name), number] as const),
    ...flagged('NAT', NAT_FLAGS),
    ['MAGLEV_RING', MAGLEV_RING],
    ['UPLINKS', UPLINKS],
  ]);
  const defined = new Map(
    [...declarations.matchAll(/^#define (\w+) \(?(?:1 << )?(\d+)\)?/gm)].map(([line, name, number]) => [
      name ?? '',
      line.includes('<<') ? 1 << Number(number) : Number(number),
    ]),
  );
  for (const [name, number] of expected) assert.equal(defined.get(name), number, name);
  const others = [...defined.keys()].filter((name) => !expected.has(name));
  assert.deepEqual(others.sort(), ['ADDRESS_MARKS', 'HELD_BYTES', 'TCP_SERVICES']);
});

test('there is a counter for every reason', () => {
  assert.ok((compiledMaps().get('tb_metrics')?.maxEntries ?? 0) >= REASONS.length);
});

test('every object and every program in it is one the agent loads', () => {
  assert.deepEqual(
    readdirSync(objects)
      .filter((file) => file.endsWith('.o'))
      .sort(),
    Object.keys(OBJECTS)
      .map((name) => `${name}.o`)
      .sort(),
  );
});

function upper(name: string): string {
  return name.replace(/[A-Z]/g, (letter) => `_${letter}`).toUpperCase();
}
