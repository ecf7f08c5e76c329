import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { MAGLEV_RING, maglevTable } from './maglev.ts';

const names = fc.uniqueArray(fc.ipV4(), { minLength: 2, maxLength: 40 });

test('every backend holds its share of the table, within two percent of the mean at a hundred entries each', () => {
  fc.assert(
    fc.property(names, (names) => {
      const shares = new Array<number>(names.length).fill(0);
      for (const index of maglevTable(names)) shares[index] = (shares[index] ?? 0) + 1;
      const mean = MAGLEV_RING / names.length;
      assert.ok(Math.max(...shares) - Math.min(...shares) <= mean * 0.02 + 1);
    }),
    { numRuns: 25 },
  );
});

test('when one backend goes, few entries of the others change hands', () => {
  fc.assert(
    fc.property(names, fc.nat(), (names, choice) => {
      const gone = choice % names.length;
      const rest = names.filter((_, index) => index !== gone);
      const before = maglevTable(names);
      const after = maglevTable(rest);
      let moved = 0;
      before.forEach((index, entry) => {
        if (index !== gone && names[index] !== rest[after[entry] ?? -1]) moved++;
      });
      assert.ok(moved / MAGLEV_RING < 0.1, `${moved} of ${MAGLEV_RING} moved with ${names.length} backends`);
    }),
    { numRuns: 25 },
  );
});

test('the order in which backends are known does not matter', () => {
  fc.assert(
    fc.property(names, (names) => {
      const forward = Array.from(maglevTable(names, 251), (index) => names[index]);
      const reversed = [...names].reverse();
      assert.deepEqual(
        Array.from(maglevTable(reversed, 251), (index) => reversed[index]),
        forward,
      );
    }),
    { numRuns: 25 },
  );
});

test('without backends there is no table', () => {
  assert.throws(() => maglevTable([]), /Cannot build a Maglev table: there are no backends/);
});
