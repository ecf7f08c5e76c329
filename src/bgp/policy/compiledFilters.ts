import { because } from '../../errors.ts';
import { parseCommunity } from './community.ts';
import type { Filter, FilterOperation, FilterRule } from './filter.ts';
import type { Operation, PolicyRoute, Verdict } from './policyRoute.ts';
import { matchOf, within } from './prefixMatch.ts';

type Condition = (route: PolicyRoute) => boolean;

interface CompiledRule {
  readonly conditions: readonly Condition[];
  readonly verdict: Verdict;
}

/** What happens to a route that no rule speaks of. */
const DEFAULT: Verdict = { accept: true, operations: [], line: 'no rule matched' };

/** The filters of one peer for one direction, ready to be asked. */
export class CompiledFilters {
  readonly #rules: Readonly<Record<4 | 6, readonly CompiledRule[]>>;

  /**
   * @throws {Error} If a rule is not sound; the message names filter and rule.
   */
  constructor(filters: readonly Filter[], direction: 'import' | 'export', peerType: 'ebgp' | 'ibgp') {
    const compiled = (version: 4 | 6) => {
      const field = `${direction}V${version}` as const;
      return filters.flatMap((filter) => compile(filter, field, version, peerType));
    };
    this.#rules = { 4: compiled(4), 6: compiled(6) };
  }

  /** There is no rule at all, so there is nothing to ask. */
  get isEmpty(): boolean {
    return this.#rules[4].length + this.#rules[6].length === 0;
  }

  /** The verdict of the first rule that matches. */
  judge(route: PolicyRoute): Verdict {
    for (const { conditions, verdict } of this.#rules[route.family]) {
      if (conditions.every((condition) => condition(route))) return verdict;
    }
    return DEFAULT;
  }
}

function compile(
  filter: Filter,
  field: 'importV4' | 'exportV4' | 'importV6' | 'exportV6',
  family: 4 | 6,
  peerType: 'ebgp' | 'ibgp',
): CompiledRule[] {
  return (filter[field] ?? []).flatMap((rule, index) => {
    const line = `filter ${filter.name}, ${field} rule ${index + 1}`;
    if (rule.peerType !== undefined && rule.peerType.toLowerCase() !== peerType) return [];
    try {
      const operations = (rule.operations ?? []).map(operation);
      if (operations.length > 0 && rule.action !== 'Accept') {
        throw new SyntaxError('Cannot use operations: they come with action Accept only');
      }
      const verdict = { accept: rule.action === 'Accept', operations, line };
      return [{ conditions: conditionsOf(rule, family), verdict }];
    } catch (error) {
      throw because(`compile ${line}`, error);
    }
  });
}

function conditionsOf(rule: FilterRule, family: 4 | 6): Condition[] {
  const conditions: Condition[] = [];
  if (rule.cidr || rule.matchOperator || rule.prefixLength) conditions.push(prefixCondition(rule, family));
  if (rule.source !== undefined) conditions.push((route) => route.learned);
  if (rule.interface !== undefined) {
    const pattern = wildcard(rule.interface);
    conditions.push((route) => route.interface !== undefined && pattern.test(route.interface));
  }
  for (const value of rule.communities?.values ?? []) {
    const community = parseCommunity(value);
    conditions.push((route) =>
      typeof community === 'number'
        ? route.attributes.hasCommunity(community)
        : route.attributes.hasLargeCommunity(community),
    );
  }
  const { asPathPrefix, priority } = rule;
  if (asPathPrefix?.length) conditions.push((route) => route.attributes.pathBeginsWith(asPathPrefix));
  if (priority !== undefined) conditions.push((route) => route.attributes.priority === priority);
  return conditions;
}

/** The range of lengths is part of what is compared, so the negated operators negate it too, as in BIRD's `net !~`. */
function prefixCondition(rule: FilterRule, family: 4 | 6): Condition {
  const { cidr, matchOperator, prefixLength } = rule;
  if (cidr === undefined || matchOperator === undefined) {
    throw new SyntaxError('Cannot match a prefix: cidr and matchOperator come together');
  }
  const match = matchOf(cidr);
  if (match.family !== family) {
    throw new SyntaxError(`Cannot match a prefix: the cidr is not of IPv${family}`);
  }
  const least = Math.max(match.length, prefixLength?.min ?? 0);
  const most = Math.min(family === 4 ? 32 : 128, prefixLength?.max ?? 128);
  const inside: Condition = (route) =>
    route.length >= least && route.length <= most && within(match, family, route.words, route.length);
  switch (matchOperator) {
    case 'In':
      return inside;
    case 'NotIn':
      return (route) => !inside(route);
    case 'Equal':
      return (route) => route.length === match.length && inside(route);
    case 'NotEqual':
      return (route) => route.length !== match.length || !inside(route);
  }
}

/** BIRD's `~` on strings: `*` and `?`, everything else is itself. */
function wildcard(pattern: string): RegExp {
  const source = pattern
    .replace(/[.+^${}()|[\]\\]/g, '\\$&')
    .replaceAll('*', '.*')
    .replaceAll('?', '.');
  return new RegExp(`^${source}$`, 's');
}

function operation(given: FilterOperation): Operation {
  const { addCommunity, prependASPath, setPriority } = given;
  if ([addCommunity, prependASPath, setPriority].filter((one) => one !== undefined).length !== 1) {
    throw new SyntaxError('Cannot compile operation: exactly one of its fields must be set');
  }
  if (prependASPath) return { kind: 'prependASPath', asns: prependASPath.prefix };
  if (setPriority) return { kind: 'setPriority', priority: setPriority.value };
  const community = parseCommunity(addCommunity?.value ?? '');
  return typeof community === 'number'
    ? { kind: 'addCommunity', community }
    : { kind: 'addLargeCommunity', community };
}
