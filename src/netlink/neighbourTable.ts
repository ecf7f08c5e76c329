import { readFileSync } from 'node:fs';
import type { Family } from '../address/ip.ts';

/** How full the kernel's table of one family is: it has one for all network namespaces together. */
export interface NeighbourTable {
  readonly family: Family;
  /** With permanent ones, such as those of pods: from Linux 5.0 on they do not count against the limit. */
  readonly entries: number;
  /** `gc_thresh3`: beyond it new neighbours are refused, and with them whoever wants to reach one. */
  readonly limit: number | undefined;
  /** How often that has happened, since boot. */
  readonly overflows: number;
}

const FILES = { 4: 'arp_cache', 6: 'ndisc_cache' } as const;

/** The tables of this kernel, from /proc/net/stat; none where they cannot be read. */
export function readNeighbourTables(): NeighbourTable[] {
  return ([4, 6] as const).flatMap((family) => {
    const statistics = read(`/proc/net/stat/${FILES[family]}`);
    if (statistics === undefined) return [];
    const limit = read(`/proc/sys/net/ipv${family}/neigh/default/gc_thresh3`);
    return [
      { family, ...parseStatistics(statistics), limit: limit === undefined ? undefined : Number(limit) },
    ];
  });
}

/** A headline and a line for each CPU, in hex; what is not counted for each CPU stands in every line. */
export function parseStatistics(text: string): Pick<NeighbourTable, 'entries' | 'overflows'> {
  const [head = '', ...lines] = text.trim().split('\n');
  const names = head.trim().split(/\s+/);
  const column = (name: string) =>
    lines.map((line) => Number.parseInt(line.trim().split(/\s+/)[names.indexOf(name)] ?? '0', 16) || 0);
  return {
    entries: Math.max(0, ...column('entries')),
    overflows: column('table_fulls').reduce((sum, count) => sum + count, 0),
  };
}

function read(path: string): string | undefined {
  try {
    return readFileSync(path, 'utf8').trim();
  } catch {
    return undefined;
  }
}
