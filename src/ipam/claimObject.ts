import { formatIP, type IP, parseIP } from '../address/ip.ts';
import { CLAIM_PROTECTION, type IPClaim } from '../store/kinds/ipClaim.ts';
import { TOMBOLO_V1ALPHA1 } from '../store/kinds/kind.ts';
import { keyOf, keyText } from '../store/store.ts';
import type { ClaimView, ClaimWish, Holder } from './claim.ts';

/** How decisions see the object. */
export function viewOf({ metadata, spec, status }: IPClaim): ClaimView {
  const { node, container, podUID, releasedAt } = status ?? {};
  const released = releasedAt === undefined ? Number.NaN : Date.parse(releasedAt);
  return {
    name: metadata.name,
    policy: spec.releasePolicy ?? 'Pod',
    ttlSeconds: spec.ttlSeconds,
    owner: spec.owner,
    holder: node !== undefined && container !== undefined ? { node, container, podUID } : undefined,
    podUID,
    releasedAt: Number.isNaN(released) ? undefined : released,
    lent: spec.loan !== undefined,
  };
}

export function claimKey(claim: IPClaim): string {
  return keyText(keyOf(claim));
}

/** What has been set aside for it. */
export function boundAddresses({ status }: IPClaim): IP[] {
  return (status?.addresses ?? []).map(parseIP);
}

/** What it asks for and nobody has set aside yet. */
export function unboundAddresses(claim: IPClaim): IP[] {
  const bound = boundAddresses(claim);
  return (claim.spec.addresses ?? []).map(parseIP).filter((address) => !bound.includes(address));
}

export function newClaim(pod: { namespace: string; name: string }, wish: ClaimWish): IPClaim {
  const { kind, name, uid } = wish.owner;
  return {
    apiVersion: TOMBOLO_V1ALPHA1,
    kind: 'IPClaim',
    metadata: { namespace: pod.namespace, name: pod.name, finalizers: [CLAIM_PROTECTION] },
    spec: {
      owner: { kind, name, ...(uid !== undefined && { uid }) },
      releasePolicy: wish.policy,
      ...(wish.ttlSeconds !== undefined && { ttlSeconds: wish.ttlSeconds }),
    },
  };
}

/** The claim by which a container of node `to` asks node `from` for an address of a pool. */
export function newLoan(
  at: { readonly namespace: string; readonly name: string },
  pool: string,
  loan: NonNullable<IPClaim['spec']['loan']>,
  pod: string,
): IPClaim {
  return {
    apiVersion: TOMBOLO_V1ALPHA1,
    kind: 'IPClaim',
    metadata: { namespace: at.namespace, name: at.name, finalizers: [CLAIM_PROTECTION] },
    spec: { owner: { kind: 'Pod', name: pod }, pool, releasePolicy: 'Pod', loan },
  };
}

/** The claim as its holder writes it. */
export function held(claim: IPClaim, addresses: readonly IP[], holder: Holder, now: number): IPClaim {
  const { releasedAt: _, passedTo: __, doubted: ___, ...kept } = claim.status ?? {};
  const { node, container, podUID } = holder;
  const status = {
    ...kept,
    addresses: addresses.map(formatIP),
    node,
    container,
    since: new Date(now).toISOString(),
    ...(podUID !== undefined && { podUID }),
  };
  return { ...claim, status };
}

/** The claim once its holder has let go: the addresses stay its own. */
export function released(claim: IPClaim, now: number): IPClaim {
  const { node: _, container: __, since: ___, passedTo: ____, doubted: _____, ...kept } = claim.status ?? {};
  return { ...claim, status: { ...kept, releasedAt: new Date(now).toISOString() } };
}

/** The claim with more of what it asks for set aside. */
export function setAside(claim: IPClaim, addresses: readonly IP[]): IPClaim {
  const all = [...boundAddresses(claim), ...addresses].map(formatIP);
  return { ...claim, status: { ...claim.status, addresses: [...new Set(all)] } };
}

/**
 * The claim as it must be before anybody holds it: protected, and with what the pod's workload says now. Of one that
 * somebody else made for somebody else, that says nothing.
 *
 * @returns The very claim if nothing is to be changed.
 */
export function renewed(claim: IPClaim, wish: ClaimWish | undefined): IPClaim {
  const { finalizers = [] } = claim.metadata;
  const guarded = finalizers.includes(CLAIM_PROTECTION)
    ? claim
    : { ...claim, metadata: { ...claim.metadata, finalizers: [...finalizers, CLAIM_PROTECTION] } };
  const { owner, releasePolicy, ttlSeconds } = claim.spec;
  if (!wish || owner.kind !== wish.owner.kind || owner.name !== wish.owner.name) return guarded;
  const same =
    owner.uid === wish.owner.uid && releasePolicy === wish.policy && ttlSeconds === wish.ttlSeconds;
  if (same) return guarded;
  const { ttlSeconds: _, ...kept } = claim.spec;
  const spec = { ...kept, ...newClaim({ namespace: '', name: '' }, wish).spec };
  return { ...guarded, spec };
}

/** The claim without what keeps it from being deleted. */
export function unprotected(claim: IPClaim): IPClaim {
  const finalizers = (claim.metadata.finalizers ?? []).filter((name) => name !== CLAIM_PROTECTION);
  return { ...claim, metadata: { ...claim.metadata, finalizers } };
}

/** The claim of whose holder nobody knows whether it lives; without a container, of whose holder that is known again. */
export function doubted(claim: IPClaim, container: string | undefined): IPClaim {
  const { doubted: _, ...kept } = claim.status ?? {};
  return { ...claim, status: { ...kept, ...(container !== undefined && { doubted: container }) } };
}

/** The condition that says whether the addresses a claim asks for are set aside. */
export const BOUND = 'Bound';

/**
 * The claim with its condition as it should be: `Bound` false with the reason, or gone.
 *
 * @returns The very claim if it says so already.
 */
export function withBound(claim: IPClaim, refusal: string | undefined): IPClaim {
  const conditions = claim.status?.conditions ?? [];
  const before = conditions.find(({ type }) => type === BOUND);
  if (before?.message === refusal) return claim;
  const others = conditions.filter(({ type }) => type !== BOUND);
  const lastTransitionTime = new Date().toISOString();
  const told =
    refusal === undefined
      ? []
      : [{ type: BOUND, status: 'False', reason: 'CannotSetAside', message: refusal, lastTransitionTime }];
  return { ...claim, status: { ...claim.status, conditions: [...others, ...told] } };
}
