import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { parseAllDocuments, stringify } from 'yaml';
import { SAMPLED_KINDS, sampleOf } from '../kinds/samples.rig.ts';
import { parsePlain } from './plainYaml.ts';

/** What the library says; an error is one, whichever. */
function byLibrary(text: string): unknown {
  const documents = parseAllDocuments(text);
  if (!Array.isArray(documents) || documents.length !== 1) return { documents: documents.length };
  const [document] = documents;
  return document === undefined || document.errors.length > 0 ? { errors: true } : document.toJS();
}

function agrees(text: string): boolean {
  const value = parsePlain(text);
  if (value === undefined) return false;
  assert.deepEqual(value, byLibrary(text), text);
  return true;
}

const word = fc.oneof(
  fc.constantFrom(
    ...[
      'null',
      '~',
      'True',
      'no',
      '007',
      '0x1f',
      '0o7',
      '1e5',
      '.5',
      '-1',
      '+1',
      '1.',
      '1.5',
      '10.96.0.1',
      '1_000',
      '.inf',
      '-',
    ],
    ...[
      'fd00::1',
      'a:b',
      'a: b',
      'a #b',
      '#b',
      '- a',
      '? a',
      '*a',
      '&a',
      '!a',
      '|',
      '>',
      '@a',
      '%a',
      '`a',
      '{}',
      '[]',
      '{',
      '[a',
      "it's",
    ],
    ...[
      '2026-01-01',
      '2026-01-01T00:00:00Z',
      '12:30:45',
      'a  b',
      'a b',
      ' a',
      'a ',
      '',
      '---',
      '...',
      '1.2.3',
      '123456789012345678',
    ],
    ...[
      'rack == "a"',
      "has(rack) && rack in {'a', 'b'}",
      'kubernetes.io/service-name',
      '64512:100',
      'a:',
      ':a',
      '<<',
      '__proto__',
    ],
  ),
  fc.string({ maxLength: 8 }),
  fc.stringMatching(/^[ a-z0-9.:#'"{}[\],&*?|<>=!%@\\-]{0,10}$/),
);
const scalar = fc.oneof(word, fc.integer(), fc.double(), fc.boolean(), fc.constant(null));
const { tree } = fc.letrec<{ tree: unknown }>((tie) => ({
  tree: fc.oneof(
    { maxDepth: 4 },
    scalar,
    fc.array(tie('tree'), { maxLength: 4 }),
    fc.dictionary(fc.oneof(fc.stringMatching(/^[a-z]{1,5}$/), word), tie('tree'), { maxKeys: 4 }),
  ),
}));
const mapping = fc.dictionary(fc.stringMatching(/^[a-zA-Z./]{1,6}$/), tree, { maxKeys: 5 });

test('all that it reads it reads as the library does, whatever was written', () => {
  let read = 0;
  fc.assert(
    fc.property(mapping, fc.constantFrom(0, 80), fc.boolean(), (value, lineWidth, indentSeq) => {
      if (agrees(stringify(value, { lineWidth, indentSeq }))) read++;
    }),
    { numRuns: 1000 },
  );
  assert.ok(read > 100, `${read} of 1000 were plain`);
});

const spoiling = fc.record({
  line: fc.nat(),
  how: fc.constantFrom('indent', 'outdent', 'double', 'drop', 'swap', 'item', 'letter', 'text', 'join'),
  at: fc.nat(),
  by: fc.constantFrom(...': -#\'"{}[]&*!|>%@`~,\t\r?\n\\=<0.e_'),
  text: word,
});
type Spoiling = typeof spoiling extends fc.Arbitrary<infer T> ? T : never;

const SPOIL: Record<Spoiling['how'], (old: string, next: string, spoiling: Spoiling) => string[]> = {
  indent: (old, next) => [` ${old}`, next],
  outdent: (old, next) => [old.slice(1), next],
  double: (old, next) => [old, old, next],
  drop: (_old, next) => [next],
  swap: (old, next) => [next, old],
  item: (old, next) => [old.replace(/^( *)/, '$1- '), next],
  text: (old, next, { text }) => [old.replace(/: .*$/, () => `: ${text}`), next],
  join: (old, next) => [old + next],
  letter(old, next, { at, by }) {
    const place = at % (old.length + 1);
    return [old.slice(0, place) + by + old.slice(place + 1), next];
  },
};

function spoilt(written: string, spoilings: readonly Spoiling[]): string {
  const lines = written.split('\n');
  for (const one of spoilings) {
    const index = one.line % lines.length;
    lines.splice(index, 2, ...SPOIL[one.how](lines[index] ?? '', lines[index + 1] ?? '', one));
  }
  return lines.join('\n');
}

test('and also what somebody has spoilt: lines that are moved, indented, doubled or cut, and letters that are others', () => {
  const spoilings = fc.array(spoiling, { minLength: 1, maxLength: 4 });
  let read = 0;
  fc.assert(
    fc.property(mapping, spoilings, fc.constantFrom('json', 'yaml', 'flush'), (value, how, written) => {
      const text =
        written === 'json'
          ? JSON.stringify(value, null, 2)
          : stringify(value, { lineWidth: 0, indentSeq: written === 'yaml' });
      if (agrees(spoilt(text, how))) read++;
    }),
    { numRuns: 1500 },
  );
  assert.ok(read > 30, `${read} of 1500 were plain`);
});

test('JSON is read, unless a key stands twice', () => {
  fc.assert(
    fc.property(mapping, fc.constantFrom(0, 2), (value, space) => {
      const text = JSON.stringify(value, null, space);
      assert.equal(agrees(text), true, text);
    }),
  );
  assert.equal(parsePlain('{"a": 1, "a": 2}'), undefined);
  assert.equal(parsePlain('{"a": {"b": "\\": {"}, "b": ["c\\\\", "d:"]}') === undefined, false);
  assert.equal(parsePlain('{ a: 1 }'), undefined, 'the library reads it');
});

test('what a store is full of is plain', () => {
  for (const kind of SAMPLED_KINDS) {
    const text = stringify(sampleOf(kind), { lineWidth: 0 });
    const value = parsePlain(text);
    if (value !== undefined) assert.deepEqual(value, byLibrary(text), kind);
    else assert.match(text, / && | in \{|""/, `${kind} is not plain`);
  }
  for (const text of [
    'apiVersion: v1\nkind: Service\nmetadata:\n  name: web\n  namespace: shop\n  labels:\n    app.kubernetes.io/name: web\nspec:\n  clusterIP: 10.96.0.1\n  ports:\n    - name: http\n      port: 80\n      targetPort: http\n',
    'kind: EndpointSlice\nendpoints:\n- addresses:\n  - 10.1.0.1\n  conditions:\n    ready: true\n  nodeName: a\n- addresses:\n  - fd00::1\nports: []\n',
  ]) {
    assert.equal(agrees(text), true, text);
  }
});
