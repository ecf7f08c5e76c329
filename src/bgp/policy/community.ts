import type { LargeCommunity } from './policyRoute.ts';

/** A standard community as 32 bits, a large one as three numbers. */
export type Community = number | LargeCommunity;

const WELL_KNOWN: ReadonlyMap<string, number> = new Map([
  ['no-export', 0xffffff01],
  ['no-advertise', 0xffffff02],
  ['no-export-subconfed', 0xffffff03],
  ['graceful-shutdown', 0xffff0000],
  ['llgr-stale', 0xffff0006],
  ['no-llgr', 0xffff0007],
  ['blackhole', 0xffff029a],
]);

/**
 * Parses `65001:100`, `65001:1:100` or the name of a well-known community.
 *
 * @throws {SyntaxError} If it is none of them.
 */
export function parseCommunity(text: string): Community {
  const wellKnown = WELL_KNOWN.get(text.toLowerCase());
  if (wellKnown !== undefined) return wellKnown;
  const parts = /^\d{1,10}(:\d{1,10}){1,2}$/.test(text) ? text.split(':').map(Number) : [];
  const [a, b, c] = parts;
  if (parts.length === 2 && a !== undefined && b !== undefined && a <= 0xffff && b <= 0xffff) {
    return ((a << 16) | b) >>> 0;
  }
  if (a !== undefined && b !== undefined && c !== undefined && Math.max(a, b, c) <= 0xffffffff) {
    return [a, b, c];
  }
  throw new SyntaxError(
    `Cannot parse community: expected AA:NN, AA:NN:MM or a well-known name (value ${JSON.stringify(text)})`,
  );
}

/** `65001:100`, `65001:1:100`, or the well-known name. */
export function formatCommunity(community: Community): string {
  if (typeof community !== 'number') return community.join(':');
  for (const [name, value] of WELL_KNOWN) if (value === community) return name;
  return `${community >>> 16}:${community & 0xffff}`;
}
