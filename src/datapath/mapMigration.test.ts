import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { Layout } from '../ebpf/btf.ts';
import { conversion, sameLayout } from './mapMigration.ts';

/** A layout of members in a row, by name and size. */
function layout(...members: [name: string, size: number][]): Layout {
  let offset = 0;
  const placed = members.map(([name, size]) => {
    offset += size;
    return { name, size, offset: offset - size };
  });
  return { size: offset, members: placed };
}

test('members keep their values by name, wherever they have moved', () => {
  const convert = conversion(
    layout(['port', 2], ['gone', 2], ['backend', 4]),
    layout(['backend', 4], ['port', 2], ['new', 2]),
  );
  assert.equal(convert(Buffer.from('1f90ffff07000000', 'hex')).toString('hex'), '070000001f900000');
});

test('an integer that has grown keeps its value', () => {
  const convert = conversion(layout(['packets', 4]), layout(['packets', 8]));
  assert.equal(convert(Buffer.from('01020304', 'hex')).toString('hex'), '0102030400000000');
});

test('a plain number is one member without a name', () => {
  const convert = conversion(layout(['', 4]), layout(['', 4]));
  assert.equal(convert(Buffer.from('2a000000', 'hex')).toString('hex'), '2a000000');
});

test('layouts are the same only if names, places and sizes are', () => {
  assert.ok(sameLayout(layout(['a', 4], ['b', 4]), layout(['a', 4], ['b', 4])));
  assert.ok(!sameLayout(layout(['a', 4], ['b', 4]), layout(['b', 4], ['a', 4])));
  assert.ok(!sameLayout(layout(['a', 4], ['b', 4]), layout(['a', 8])));
});
