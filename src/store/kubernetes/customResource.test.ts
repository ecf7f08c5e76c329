import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import fc from 'fast-check';
import { parseAllDocuments } from 'yaml';
import { crds } from '../../../scripts/generateCrds.ts';
import { formatIP, type IPv4, type IPv6, ipFromBytes } from '../../address/ip.ts';
import { formatPrefix, networkOf } from '../../address/prefix.ts';
import { PATTERNS } from '../kinds/patterns.ts';
import { definitionOf, type Kind } from '../kinds/registry.ts';
import { SAMPLED_KINDS, sampleOf } from '../kinds/samples.rig.ts';
import { isRecord, type JsonSchema, type Problem } from '../schema.ts';
import { CUSTOM_KINDS } from './customResource.ts';
import { violations } from './structuralSchema.ts';

const FILE = readFileSync(join(import.meta.dirname, '../../../deploy/crds.yaml'), 'utf8');
const DEFINITIONS = new Map(
  parseAllDocuments(FILE).map((document) => {
    const { spec } = document.toJS();
    return [spec.names.kind as Kind, spec];
  }),
);

function schemaOf(kind: Kind): JsonSchema {
  return DEFINITIONS.get(kind)?.versions[0].schema.openAPIV3Schema;
}

/** What our own validation says of each field by itself. */
function problemsOf(kind: Kind, object: Record<string, unknown>): Problem[] {
  const problems: Problem[] = [];
  const { apiVersion: _, kind: __, metadata: ___, ...body } = object;
  definitionOf(kind).body.check(body, '', problems);
  return problems;
}

type Path = readonly (string | number)[];

/** Every place in a value, itself left out. */
function places(value: unknown, at: Path = []): Path[] {
  if (typeof value !== 'object' || value === null) return [];
  return Object.entries(value).flatMap(([key, inner]) => {
    const place = [...at, Array.isArray(value) ? Number(key) : key];
    return [place, ...places(inner, place)];
  });
}

/** A copy in which one place holds something else, or nothing where that is undefined. */
function changed(object: Record<string, unknown>, path: Path, to: (before: unknown) => unknown) {
  const copy = structuredClone(object);
  let holder: Record<string | number, unknown> = copy;
  for (const key of path.slice(0, -1)) holder = holder[key] as Record<string | number, unknown>;
  const last = path.at(-1) ?? '';
  const next = to(holder[last]);
  if (next === undefined && Array.isArray(holder)) holder.splice(Number(last), 1);
  else if (next === undefined) delete holder[last];
  else holder[last] = next;
  return copy;
}

const CHANGES: Record<string, (before: unknown) => unknown> = {
  'left out': (before) => (Array.isArray(before) ? before : undefined),
  'a list': () => [],
  'an object': () => ({}),
  'a number': () => 5,
  'a large number': () => 2 ** 40,
  'a negative number': () => -1,
  'half a number': () => 1.5,
  'a truth': () => true,
  'a word': () => 'Nonsense',
  'a long word': () => 'x'.repeat(300),
  'no word': () => '',
  'one more field': (before) => (isRecord(before) ? { ...before, nonsense: 1 } : before),
  'many of it': (before) => (Array.isArray(before) ? Array.from({ length: 12 }, () => before[0]) : before),
  'none of it': (before) => (Array.isArray(before) ? [] : before),
  '': (before) => (typeof before === 'string' ? `${before} ` : before),
  'address of the other family': (before) =>
    before === '10.0.0.0/8' ? 'fd00::/8' : before === 'fd00::/8' ? '10.0.0.0/8' : before,
};

/** The grammar of selectors, and how many bits of a prefix may be set, are beyond a regular expression. */
const BEYOND = /[sS]elector$|^spec\.localWorkloadSelector$/;

test('deploy/crds.yaml is what the kinds say: `make crds` writes it', () => {
  assert.equal(FILE, crds());
});

test('each kind that a server does not know by itself has a definition, under the name and path that the store asks for', () => {
  assert.deepEqual([...DEFINITIONS.keys()], CUSTOM_KINDS);
  assert.deepEqual([...CUSTOM_KINDS].sort(), [...SAMPLED_KINDS].sort());
  for (const [kind, { group, scope, names, versions }] of DEFINITIONS) {
    const { apiVersion, plural, namespaced, selectable = [] } = definitionOf(kind);
    assert.equal(`${group}/${versions[0].name}`, apiVersion);
    assert.equal(names.plural, plural);
    assert.equal(scope, namespaced ? 'Namespaced' : 'Cluster');
    assert.equal(fieldsOf(schemaOf(kind)).includes('status'), versions[0].subresources !== undefined, kind);
    assert.deepEqual(
      (versions[0].selectableFields ?? []).map(({ jsonPath }: { jsonPath: string }) => jsonPath.slice(1)),
      selectable,
    );
  }
});

for (const kind of SAMPLED_KINDS) {
  test(`a server takes and refuses what we take and refuse in every field of ${kind}`, () => {
    const sample = sampleOf(kind);
    assert.deepEqual(violations(schemaOf(kind), sample), []);
    assert.deepEqual(problemsOf(kind, sample), []);
    for (const path of places(sample).filter(([field]) => field === 'spec' || field === 'status')) {
      for (const [what, change] of Object.entries(CHANGES)) {
        const object = changed(sample, path, change);
        const ours = problemsOf(kind, object);
        const theirs = violations(schemaOf(kind), object);
        const where = `${path.join('.')}: ${what}`;
        if (theirs.length > 0) assert.notDeepEqual(ours, [], `only the server refuses ${where}: ${theirs}`);
        else if (!BEYOND.test(path.join('.'))) assert.deepEqual(ours, [], `only we refuse ${where}`);
      }
    }
  });

  test(`the sample of ${kind} has every field of its schema`, () => {
    const given = new Set(
      places(sampleOf(kind)).map((path) => path.filter((key) => typeof key === 'string').join('.')),
    );
    const fields = fieldsOf(schemaOf(kind)).filter((path) => !/^(apiVersion|kind|metadata)$/.test(path));
    assert.deepEqual(
      fields.filter((path) => !given.has(path)),
      [],
    );
  });
}

function fieldsOf(schema: JsonSchema, at = ''): string[] {
  if (isRecord(schema.items)) return fieldsOf(schema.items, at);
  if (!isRecord(schema.properties)) return [];
  return Object.entries(schema.properties).flatMap(([name, inner]) => {
    const path = at === '' ? name : `${at}.${name}`;
    return [path, ...fieldsOf(inner as JsonSchema, path)];
  });
}

const address = fc
  .oneof(fc.uint8Array({ minLength: 4, maxLength: 4 }), fc.uint8Array({ minLength: 16, maxLength: 16 }))
  .map((bytes): IPv4 | IPv6 => ipFromBytes(bytes));

test('the patterns of addresses and prefixes fit whatever the parsers take', () => {
  fc.assert(
    fc.property(address, fc.nat({ max: 128 }), (ip, bits) => {
      assert.match(formatIP(ip), PATTERNS.ip);
      const length = typeof ip === 'number' ? bits % 33 : bits;
      assert.match(formatPrefix(networkOf({ address: ip, length })), PATTERNS.prefix);
    }),
  );
  for (const text of ['::', '::1', '::ffff:10.0.0.1', '64:ff9b::192.0.2.1', '1:2:3:4:5:6:7:8', 'FE80::A']) {
    assert.match(text, PATTERNS.ipv6);
    assert.match(`[${text}]:179`, PATTERNS.addressAndPort);
  }
  for (const text of [
    '10.0.0.256',
    '10.0.0',
    '010.0.0.1',
    '10.0.0.1/33',
    '1.2.3.4.5',
    'g::',
    '10.0.0.1 ',
    '',
  ]) {
    assert.doesNotMatch(text, PATTERNS.ip);
    assert.doesNotMatch(`${text}/8`, PATTERNS.prefix);
  }
});
