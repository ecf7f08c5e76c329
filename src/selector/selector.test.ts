import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { type Labels, parseSelector, selects } from './selector.ts';

const NODE: Labels = { rack: 'a', 'kubernetes.io/os': 'linux', tier: 'db-primary', in: 'x' };

test('selectors of Calico mean what they mean there', () => {
  const cases: [string, boolean][] = [
    ['', true],
    ['all()', true],
    ['!all()', false],
    ['global()', true],
    ['all( )', true],
    ["rack == 'a'", true],
    ['rack == "b"', false],
    ["rack != 'b'", true],
    ["missing != 'b'", true],
    ["missing == 'b'", false],
    ["rack in {'a', 'b'}", true],
    ["rack in {'c'}", false],
    ['rack in {}', false],
    ["rack not in {'a'}", false],
    ["missing not in {'a'}", true],
    ["rack not   in {'b'}", true],
    ['has(rack)', true],
    ['!has(rack)', false],
    ['has( kubernetes.io/os )', true],
    ["tier contains 'prim'", true],
    ["tier starts with 'db'", true],
    ["tier ends with 'replica'", false],
    ["missing starts with ''", false],
    ["rack == 'a' && has(missing) || has(tier)", true],
    ["rack == 'a' && (has(missing) || has(tier))", true],
    ["rack == 'b' || rack == 'a' && has(missing)", false],
    ["!(rack == 'a' && has(tier))", false],
    ['!!has(rack)', true],
    ["in == 'x'", true],
    ["in in {'x'}", true],
    ["kubernetes.io/os == 'linux'&&has(rack)", true],
  ];
  for (const [text, expected] of cases) assert.equal(selects(parseSelector(text), NODE), expected, text);
});

test('what is not a selector is refused with the place', () => {
  const cases: [string, RegExp][] = [
    ["rack = 'a'", /at character 6/],
    ['rack', /expected a comparison at character 5/],
    ["rack == 'a", /the quote is not closed at character 9/],
    ['rack == a', /expected a quoted string at character 9/],
    ["rack in {'a' 'b'}", /expected ',' at character 14/],
    ['(all()', /expected '\)' at character 7/],
    ['all() all()', /expected the end at character 7/],
    ['&& all()', /expected a label at character 1/],
    ['has()', /expected a label at character 5/],
  ];
  for (const [text, message] of cases) assert.throws(() => parseSelector(text), message, text);
});

test('a parser meets any text with a selector or a SyntaxError', () => {
  const piece = fc.constantFrom(
    'rack',
    "'a'",
    '==',
    '!=',
    'in',
    'not in',
    '{',
    '}',
    ',',
    '(',
    ')',
    '!',
    '&&',
    '||',
    'has(',
    'all()',
    ' ',
  );
  fc.assert(
    fc.property(
      fc.oneof(
        fc.string(),
        fc.array(piece).map((parts) => parts.join(' ')),
      ),
      (text) => {
        try {
          selects(parseSelector(text), NODE);
        } catch (error) {
          assert.ok(error instanceof SyntaxError);
        }
      },
    ),
  );
});
