import type { Layout, MapLayout } from '../ebpf/btf.ts';
import { raw } from '../ebpf/codec.ts';
import { BpfMap } from '../ebpf/map.ts';
import { hasCode } from '../ffi/systemError.ts';

export function sameLayout(a: Layout, b: Layout): boolean {
  const text = ({ size, members }: Layout) =>
    `${size} ${members.map(({ name, offset, size }) => `${name}@${offset}+${size}`).join(' ')}`;
  return text(a) === text(b);
}

/**
 * A function that carries bytes from one layout to another, member by member: what has kept its name keeps its
 * value (an integer also when it grew), what is new is zero, what is gone is dropped.
 */
export function conversion(from: Layout, to: Layout): (bytes: Buffer) => Buffer {
  const moves = to.members.flatMap((member) => {
    const source = from.members.find(({ name }) => name === member.name);
    return source === undefined ? [] : [{ source, target: member }];
  });
  return (bytes) => {
    const converted = Buffer.alloc(to.size);
    for (const { source, target } of moves) {
      const size = Math.min(source.size, target.size);
      bytes.copy(converted, target.offset, source.offset, source.offset + size);
    }
    return converted;
  };
}

export interface Migration {
  /** Descriptors; they stay the caller's. */
  readonly from: number;
  readonly to: number;
  readonly before: MapLayout;
  readonly after: MapLayout;
}

export interface MigrationResult {
  readonly copied: number;
  /** Entries that found no room. */
  readonly lost: number;
}

/**
 * Copies the entries of one map into another that have no entry there yet. Once before the programs are
 * switched and once after carries over also what came in between.
 */
export function migrate({ from, to, before, after }: Migration): MigrationResult {
  const source = new BpfMap(from, raw(before.key.size), raw(before.value.size));
  const target = new BpfMap(to, raw(after.key.size), raw(after.value.size));
  const key = conversion(before.key, after.key);
  const value = conversion(before.value, after.value);
  const isArray = source.info.type === 'array';
  let copied = 0;
  let lost = 0;
  for (const [oldKey, oldValue] of source.entries()) {
    if (isArray && oldValue.every((byte) => byte === 0)) continue;
    try {
      if (isArray) target.set(key(oldKey), value(oldValue));
      else target.add(key(oldKey), value(oldValue));
      copied++;
    } catch (error) {
      if (!hasCode(error, 'E2BIG', 'ENOMEM', 'ENOSPC')) throw error;
      lost++;
    }
  }
  return { copied, lost };
}
