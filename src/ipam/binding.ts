import type { Family } from '../address/ip.ts';
import { formatPrefix, type Prefix, prefixFamily } from '../address/prefix.ts';
import { isNobody, type Labels, type Selector, selects } from '../selector/selector.ts';
import { objectionTo } from './annotations.ts';

/** What an `IPPool` says about who may draw from it. */
export interface PoolRule {
  readonly name: string;
  readonly cidr: Prefix;
  readonly nodeSelector: Selector;
  /** Where there is one, the pool is for the pods of these namespaces and for nobody else. */
  readonly namespaceSelector: Selector | undefined;
  readonly disabled: boolean;
  /** Serves only who names it. */
  readonly manual: boolean;
  /** Whether `allowedUses` has pods in it. */
  readonly workload: boolean;
  /** The length of its blocks. */
  readonly blockSize: number;
  readonly disableBGPExport: boolean;
}

/** Whom addresses are for. Where no Kubernetes pod is behind a call, there is neither pod nor namespace. */
export interface Subject {
  readonly node: { readonly name: string; readonly labels: Labels };
  readonly pod?: {
    readonly namespace: string;
    readonly name: string;
    readonly annotations: Labels;
    readonly uid?: string | undefined;
    /** Of `metadata.ownerReferences` the one that controls it. */
    readonly controller?: { readonly kind: string; readonly name: string; readonly uid?: string | undefined };
  };
  readonly namespace?: { readonly labels: Labels; readonly annotations: Labels };
}

/** Where the address of a family comes from. */
export interface Source {
  readonly family: Family;
  /** Bound: from these pools or not at all. Otherwise segments that belong to no pool will do as well. */
  readonly bound: boolean;
  /** Names of pools. An unbound source without any is no promise: there may be no address of this family. */
  readonly pools: readonly string[];
  /** What decided that, for people. */
  readonly why: string;
}

/** A pod cannot have an address from where it is told to have it. */
export class BindingError extends Error {
  override readonly name = 'BindingError';
}

/** Calico's annotations, on a pod or on its namespace: names of pools, as a JSON list or separated by commas. */
export const ANNOTATIONS: Record<Family, string> = {
  4: 'cni.projectcalico.org/ipv4pools',
  6: 'cni.projectcalico.org/ipv6pools',
};

/**
 * Where a pod's addresses come from, one source per family: the pools that its annotation names, or its namespace's,
 * else those that select its namespace and its node, else the open ones that select its node. The first of these that
 * says anything is the only one that counts.
 *
 * @throws {BindingError} If an annotation names what there is not, or what may not serve this pod, or is mistyped itself; or if
 *   the pools that select its namespace and its node are all disabled.
 */
export function bind(subject: Subject, pools: readonly PoolRule[]): Source[] {
  refuseAnnotations(subject);
  return ([4, 6] as const).map((family) => sourceOf(family, subject, pools));
}

function refuseAnnotations({ pod, namespace }: Subject): void {
  const places = [
    [pod?.annotations, `pod ${pod?.namespace}/${pod?.name}`],
    [namespace?.annotations, `namespace ${pod?.namespace}`],
  ] as const;
  for (const [annotations = {}, object] of places) {
    for (const name of Object.keys(annotations)) {
      const objection = objectionTo(name);
      if (objection === undefined) continue;
      throw new BindingError(`Cannot do what annotation ${name} of ${object} says: ${objection}`);
    }
  }
}

function sourceOf(family: Family, subject: Subject, pools: readonly PoolRule[]): Source {
  const named = namesFor(family, subject);
  if (named) {
    const found = named.names.map((name) => poolNamed(name, named.where, family, subject, pools));
    return { family, bound: true, pools: found.map(({ name }) => name), why: named.where };
  }
  const automatic = pools.filter(
    (pool) => prefixFamily(pool.cidr) === family && !pool.manual && pool.workload,
  );
  const isHere = (pool: PoolRule) => selects(pool.nodeSelector, subject.node.labels);
  const candidates = automatic.filter(isHere);
  const ofNamespace = automatic.filter(
    ({ namespaceSelector }) =>
      namespaceSelector && subject.namespace && selects(namespaceSelector, subject.namespace.labels),
  );
  const own = ofNamespace.filter(isHere);
  if (own.length > 0) {
    const why = 'the pools that select its namespace and its node';
    const enabled = own.filter(({ disabled }) => !disabled);
    if (enabled.length > 0) return { family, bound: true, pools: namesOf(enabled), why };
    throw new BindingError(`Cannot draw from pool ${namesOf(own).join(' or ')} (${why}): it is disabled`);
  }
  const open = candidates.filter(
    ({ namespaceSelector, disabled }) => namespaceSelector === undefined && !disabled,
  );
  const elsewhere = ofNamespace.filter(({ disabled }) => !disabled);
  const because =
    elsewhere.length === 0
      ? ''
      : `, for pool ${namesOf(elsewhere).join(' and ')} selects its namespace and not node ${subject.node.name}`;
  const why = `the open pools that select its node${because}`;
  return { family, bound: false, pools: namesOf(open), why };
}

function namesFor(
  family: Family,
  { pod, namespace }: Subject,
): { names: string[]; where: string } | undefined {
  const annotation = ANNOTATIONS[family];
  const places = [
    [pod?.annotations[annotation], `pod ${pod?.namespace}/${pod?.name}`],
    [namespace?.annotations[annotation], `namespace ${pod?.namespace}`],
  ] as const;
  for (const [text, object] of places) {
    if (text === undefined) continue;
    const where = `annotation ${annotation} of ${object}`;
    return { names: listedIn(text, where), where };
  }
  return undefined;
}

function listedIn(text: string, where: string): string[] {
  const names = text.trim().startsWith('[') ? parsedList(text) : text.split(',').map((name) => name.trim());
  if (names === undefined || names.length === 0 || names.includes('')) {
    throw new BindingError(
      `Cannot read ${where}: expected names of pools, as a JSON list or separated by commas (value ${JSON.stringify(text)})`,
    );
  }
  return names;
}

function parsedList(text: string): string[] | undefined {
  try {
    const value: unknown = JSON.parse(text);
    return Array.isArray(value) && value.every((name) => typeof name === 'string') ? value : undefined;
  } catch {
    return undefined;
  }
}

function poolNamed(
  name: string,
  where: string,
  family: Family,
  subject: Subject,
  pools: readonly PoolRule[],
): PoolRule {
  const pool = pools.find((one) => one.name === name);
  const reason = pool ? refusal(pool, family, subject) : `there is no pool of this name; ${choice(pools)}`;
  if (pool && reason === undefined) return pool;
  throw new BindingError(`Cannot draw from pool ${name}, named by ${where}: ${reason}`);
}

function refusal(pool: PoolRule, family: Family, subject: Subject): string | undefined {
  if (prefixFamily(pool.cidr) !== family)
    return `its addresses are not IPv${family} (${formatPrefix(pool.cidr)})`;
  return pool.disabled ? 'it is disabled' : bar(pool, subject);
}

/** Why a pool may not serve a pod even if it is named, its being disabled aside: what a pod has had it may keep. */
export function bar(pool: PoolRule, { node, namespace }: Subject): string | undefined {
  if (!pool.workload) return 'its allowedUses do not include Workload';
  if (!isNobody(pool.nodeSelector) && !selects(pool.nodeSelector, node.labels)) {
    return `it does not select node ${node.name}`;
  }
  const { namespaceSelector: selector } = pool;
  if (selector && !isNobody(selector) && !(namespace && selects(selector, namespace.labels))) {
    return 'it does not select the namespace';
  }
  return undefined;
}

function choice(pools: readonly PoolRule[]): string {
  return pools.length === 0 ? 'there is none at all' : `there are ${namesOf(pools).join(', ')}`;
}

function namesOf(pools: readonly PoolRule[]): string[] {
  return pools.map(({ name }) => name).sort();
}
