import { type Family, familyOf, formatIP } from '../address/ip.ts';
import { contains, formatPrefix, prefixFamily } from '../address/prefix.ts';
import { isNobody, selects } from '../selector/selector.ts';
import type { Allocation } from './allocator.ts';
import { BindingError, bind, type PoolRule, type Source, type Subject } from './binding.ts';
import type { SegmentUsage } from './ipam.ts';

/** Why a pod has the addresses it has, or where it would get them on this node, or why it would not. */
export interface Explanation {
  readonly holds: readonly { readonly address: string; readonly segment?: string; readonly pool?: string }[];
  /** Why it may draw from nowhere: what is wrong with its annotation or its namespace's. */
  readonly refused?: string;
  readonly families: readonly FamilyExplanation[];
  readonly pools: readonly { readonly name: string; readonly cidr: string; readonly verdict: string }[];
}

export interface FamilyExplanation {
  readonly family: Family;
  /** Whether it gets an address from these pools or none at all. */
  readonly bound: boolean;
  readonly pools: readonly string[];
  /** What decided that. */
  readonly why: string;
  /** The segments of this node it may draw from. */
  readonly segments: readonly { readonly cidr: string; readonly pool?: string; readonly free: string }[];
  /** What would happen to an ADD now, and what to do where it would fail. */
  readonly outlook: string;
}

export interface Situation {
  readonly subject: Subject;
  readonly pools: readonly PoolRule[];
  readonly usage: readonly SegmentUsage[];
  /** What the pod holds. */
  readonly held: readonly Allocation[];
  /** What the operator says against another segment for whoever draws from there, while it does. */
  readonly shortage: (source: Source) => string | undefined;
}

export function explain(situation: Situation): Explanation {
  const { subject, pools, usage, held } = situation;
  const base = {
    holds: held
      .flatMap(({ addresses }) => addresses)
      .map((address) => {
        const segment = usage.find((one) => contains(one.segment.prefix, address))?.segment;
        return {
          address: formatIP(address),
          ...(segment && { segment: formatPrefix(segment.prefix) }),
          ...(segment?.pool !== undefined && { pool: segment.pool }),
        };
      }),
  };
  try {
    const sources = bind(subject, pools);
    return {
      ...base,
      families: sources.map((source) => explainFamily(source, situation)),
      pools: pools.map((pool) => verdictOn(pool, subject, sources)),
    };
  } catch (error) {
    if (!(error instanceof BindingError)) throw error;
    return {
      ...base,
      refused: error.message,
      families: [],
      pools: pools.map((pool) => verdictOn(pool, subject, [])),
    };
  }
}

function explainFamily(source: Source, { usage, shortage }: Situation): FamilyExplanation {
  const { family, bound, pools, why } = source;
  const mine = usage.filter(
    ({ segment: { prefix, pool, state } }) =>
      state === 'active' &&
      familyOf(prefix.address) === family &&
      (pool === undefined ? !bound : pools.includes(pool)),
  );
  const segments = mine.map(({ segment, capacity, used }) => ({
    cidr: formatPrefix(segment.prefix),
    ...(segment.pool !== undefined && { pool: segment.pool }),
    free: String(capacity - BigInt(used)),
  }));
  const free = mine.reduce((sum, { capacity, used }) => sum + capacity - BigInt(used), 0n);
  return { family, bound, pools, why, segments, outlook: outlookOf(source, free, shortage(source)) };
}

function outlookOf({ family, pools }: Source, free: bigint, shortage: string | undefined): string {
  if (free > 0n) return `it gets one of ${free} free addresses`;
  if (pools.length === 0) return `no IPv${family} address: no pool of this family is open to it on this node`;
  if (shortage === undefined)
    return 'no address is free here: an ADD asks the operator for a segment and waits';
  return `no address is free here, and the operator has no segment: ${shortage}. An ADD asks other nodes to lend one, unless strictAffinity forbids it; enlarge the pool or add another one, or remove pods`;
}

function verdictOn(pool: PoolRule, subject: Subject, sources: readonly Source[]) {
  const serves = sources.some(
    ({ family, pools }) => family === prefixFamily(pool.cidr) && pools.includes(pool.name),
  );
  const verdict = serves ? 'serves it' : `does not serve it: ${objection(pool, subject)}`;
  return { name: pool.name, cidr: formatPrefix(pool.cidr), verdict };
}

/** The first reason against a pool that the pod does not draw from. */
function objection(pool: PoolRule, { node, namespace }: Subject): string {
  if (pool.disabled) return 'it is disabled';
  if (!pool.workload) return 'its allowedUses do not include Workload';
  if (isNobody(pool.nodeSelector) || pool.manual) return 'it serves only who names it';
  if (!selects(pool.nodeSelector, node.labels)) return `its nodeSelector does not select node ${node.name}`;
  const { namespaceSelector } = pool;
  if (namespaceSelector && !(namespace && selects(namespaceSelector, namespace.labels))) {
    return 'its namespaceSelector does not select the namespace';
  }
  return 'the pod is bound to other pools';
}
