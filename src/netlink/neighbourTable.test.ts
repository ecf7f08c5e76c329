import assert from 'node:assert/strict';
import { test } from 'node:test';
import { parseStatistics, readNeighbourTables } from './neighbourTable.ts';

test('entries stand in the line of every CPU, overflows are counted for each', () => {
  const text = `entries  allocs   table_fulls
00000102 00000000 00000001
00000102 00000007 0000000f
`;
  assert.deepEqual(parseStatistics(text), { entries: 258, overflows: 16 });
});

test('a kernel that does not count overflows has none', () => {
  assert.deepEqual(parseStatistics('entries  allocs\n00000003 00000000\n'), { entries: 3, overflows: 0 });
});

test('this kernel has both tables', () => {
  const tables = readNeighbourTables();
  assert.deepEqual(
    tables.map(({ family }) => family),
    [4, 6],
  );
  for (const { limit } of tables) assert.ok((limit ?? 0) > 0);
});
