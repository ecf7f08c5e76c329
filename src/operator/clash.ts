import { comparePrefixes, formatPrefix, overlaps } from '../address/prefix.ts';
import type { NodeView, Segment } from './world.ts';

export interface Clashes {
  /** Every segment that shares an address with another one. */
  readonly segments: ReadonlySet<Segment>;
  /** The pairs of which neither is a mere claim: held twice, for a person to decide. */
  readonly conflicts: readonly string[];
}

interface Held {
  readonly node: string;
  readonly segment: Segment;
}

/** Finds ranges that are held twice. Prefixes are nested or apart, so one walk in order finds every clash. */
export function findClashes(nodes: readonly NodeView[]): Clashes {
  const held = nodes
    .flatMap((node) =>
      [...node.segments, ...strays(node)].map((segment): Held => ({ node: node.name, segment })),
    )
    .sort((a, b) => comparePrefixes(a.segment.cidr, b.segment.cidr));
  const segments = new Set<Segment>();
  const conflicts: string[] = [];
  let widest: Held | undefined;
  for (const next of held) {
    if (widest === undefined || !overlaps(widest.segment.cidr, next.segment.cidr)) {
      widest = next;
      continue;
    }
    segments.add(widest.segment).add(next.segment);
    if (widest.segment.state !== 'claimed' && next.segment.state !== 'claimed') {
      conflicts.push(`${textOf(widest)} overlaps ${textOf(next)}`);
    }
  }
  return { segments, conflicts };
}

/**
 * Ranges that a node uses and that nobody has assigned to it: its configuration has, or somebody has deleted the object that
 * said so. Of a node that is gone, what it last said means nothing.
 */
export function strays({ present, segments, reports }: NodeView): Segment[] {
  return reports
    .filter(({ cidr, used }) => present && used > 0 && !segments.some((own) => overlaps(own.cidr, cidr)))
    .map(({ cidr, generation }) => ({ cidr, generation, state: 'active' }));
}

function textOf({ node, segment }: Held): string {
  return `${formatPrefix(segment.cidr)} of ${node}`;
}
