import { comparePrefixes, covers, overlaps, type Prefix, prefixSize } from './prefix.ts';

/** What of these ranges lies in `prefix`, apart from each other and in order. */
export function within(prefix: Prefix, ranges: readonly Prefix[]): Prefix[] {
  const parts = ranges
    .filter((range) => overlaps(range, prefix))
    .map((range) => (covers(range, prefix) ? prefix : range))
    .sort(comparePrefixes);
  // Prefixes are nested or apart, and the wider one comes first.
  const apart: Prefix[] = [];
  for (const part of parts) {
    const last = apart.at(-1);
    if (!last || !covers(last, part)) apart.push(part);
  }
  return apart;
}

/** How many addresses prefixes hold that are apart from each other. */
export function sizeOf(apart: readonly Prefix[]): bigint {
  return apart.reduce((sum, prefix) => sum + prefixSize(prefix), 0n);
}
