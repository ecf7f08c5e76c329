import { createHash } from 'node:crypto';

/** `MAGLEV_RING` of bpf/maps/services.h: a prime, so that every skip visits every entry. */
export const MAGLEV_RING = 16381;

/**
 * Builds a look-up table by Maglev hashing: each name fills about the same number of entries, and when a name
 * comes or goes few entries change hands among the others. The order of `names` does not matter, so that every
 * node of a cluster builds the same table.
 *
 * @param names At least one; unique.
 * @param size A prime, best a hundred times the number of names.
 * @returns For each entry, the index of its name.
 * @see Eisenbud et al., "Maglev", NSDI 2016, §3.4
 */
export function maglevTable(names: readonly string[], size = MAGLEV_RING): Uint32Array {
  if (names.length === 0) throw new RangeError('Cannot build a Maglev table: there are no backends');
  const turns = names
    .map((name, index) => ({ name, index, ...permutationOf(name, size) }))
    .sort((a, b) => (a.name < b.name ? -1 : 1));
  const table = new Uint32Array(size);
  const taken = new Uint8Array(size);
  for (let filled = 0; ; ) {
    for (const turn of turns) {
      while (taken[turn.at]) turn.at = (turn.at + turn.skip) % size;
      taken[turn.at] = 1;
      table[turn.at] = turn.index;
      if (++filled === size) return table;
    }
  }
}

/** Where a name begins, and how far it steps: two independent hashes. */
function permutationOf(name: string, size: number): { at: number; skip: number } {
  const hash = createHash('sha256').update(name).digest();
  return { at: hash.readUIntBE(0, 6) % size, skip: (hash.readUIntBE(6, 6) % (size - 1)) + 1 };
}
