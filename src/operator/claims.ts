import { formatIP, type IP } from '../address/ip.ts';
import { contains, formatPrefix, parsePrefix } from '../address/prefix.ts';
import { messageOf } from '../errors.ts';
import { hasPod, OUT_OF_SERVICE, reasonToEnd, type Surroundings } from '../ipam/claim.ts';
import { claimKey, released, setAside, unboundAddresses, viewOf, withBound } from '../ipam/claimObject.ts';
import type { Log } from '../log.ts';
import type { IPClaim } from '../store/kinds/ipClaim.ts';
import type { Kind, ObjectOf } from '../store/kinds/registry.ts';
import { isStoreError, type Key, keyOf, type Store } from '../store/store.ts';
import { unlessChanged } from '../store/unlessChanged.ts';

/** What speaks against a claim must still do so after this, in ms, before it is acted upon. */
const OBSERVATION_GAP = 10_000;
/** Claims are looked at this often, in ms: nothing about them is urgent to the operator. */
const INTERVAL = 2_000;

/** What the operator does for claims; what belongs to a node's block is that node's to do. */
export interface ClaimsReport {
  readonly claims: number;
  readonly held: number;
  readonly ended: number;
}

/** Called with each thing that happens to a claim, for people. */
export type TellClaim = (
  claim: IPClaim,
  event: { readonly type: 'Normal' | 'Warning'; readonly reason: string; readonly message: string },
) => void;

export interface ClaimKeeperOptions {
  readonly store: Store;
  /** Wall time in ms. */
  readonly now: () => number;
  readonly log: Log;
  readonly tell?: TellClaim;
  readonly observationGap?: number;
}

/**
 * Ends claims that nobody is coming back for, takes them from holders on dead nodes, and sets aside the addresses that
 * lie in no node's block. It acts on proof alone, seen twice, and by compare-and-swap on the very claim that was judged.
 */
export class ClaimKeeper {
  readonly #options: ClaimKeeperOptions;
  readonly #suspected = new Map<string, number>();
  #ended = 0;
  #last = Number.NEGATIVE_INFINITY;
  #report: ClaimsReport = { claims: 0, held: 0, ended: 0 };

  constructor(options: ClaimKeeperOptions) {
    this.#options = options;
  }

  get report(): ClaimsReport {
    return this.#report;
  }

  /** @param mayWrite Asked before each write: false once this process no longer leads. */
  async round(mayWrite: () => boolean): Promise<void> {
    const now = this.#options.now();
    if (Math.abs(now - this.#last) < INTERVAL) return;
    this.#last = now;
    // Claims come first: a block that is assigned after this list is begun is found by the next one.
    const { items } = await this.#options.store.list('IPClaim');
    const suspected = new Set<string>();
    await this.#setAside(items, mayWrite);
    for (const claim of items) {
      const verdict = await this.#judge(claim, now);
      if (verdict === undefined) continue;
      const what = `${claimKey(claim)} ${claim.metadata.resourceVersion} ${verdict.reason}`;
      suspected.add(what);
      const since = this.#suspected.get(what) ?? now;
      this.#suspected.set(what, since);
      if (now - since < (this.#options.observationGap ?? OBSERVATION_GAP)) continue;
      if (mayWrite()) await this.#act(claim, verdict);
    }
    for (const what of this.#suspected.keys()) if (!suspected.has(what)) this.#suspected.delete(what);
    const held = items.filter((claim) => viewOf(claim).holder !== undefined).length;
    this.#report = { claims: items.length, held, ended: this.#ended };
  }

  async #judge(
    claim: IPClaim,
    now: number,
  ): Promise<{ kind: 'end' | 'release'; reason: string } | undefined> {
    const view = viewOf(claim);
    if (view.holder) {
      const reason = await this.#deathOf(view.holder.node);
      return reason === undefined ? undefined : { kind: 'release', reason };
    }
    if (view.releasedAt === undefined) return undefined;
    const reason = reasonToEnd(view, await this.#surroundings(claim), now);
    return reason === undefined ? undefined : { kind: 'end', reason };
  }

  async #act(claim: IPClaim, { kind, reason }: { kind: 'end' | 'release'; reason: string }): Promise<void> {
    const { store, now, log, tell } = this.#options;
    const { uid, resourceVersion } = claim.metadata;
    const key = claimKey(claim);
    const addresses = (claim.status?.addresses ?? []).join(', ');
    const done = await unlessChanged(
      kind === 'end'
        ? store.delete('IPClaim', keyOf(claim), {
            ...(uid !== undefined && { uid }),
            ...(resourceVersion !== undefined && { resourceVersion }),
          })
        : store.updateStatus(released(claim, now())),
    );
    if (!done) return;
    if (kind === 'end') this.#ended++;
    const message =
      kind === 'end'
        ? `${addresses} become free again: ${reason}`
        : `${addresses} wait for the next pod: ${reason}`;
    log.info(message, { claim: key });
    tell?.(claim, { type: 'Normal', reason: kind === 'end' ? 'IPReleased' : 'IPReserved', message });
  }

  async #deathOf(name: string): Promise<string | undefined> {
    const node = await this.#find('Node', { name });
    if (node === undefined || node.metadata.deletionTimestamp !== undefined) return `node ${name} is gone`;
    const off = node.spec?.taints?.some(({ key }) => key === OUT_OF_SERVICE) ?? false;
    return off ? `node ${name} is out of service` : undefined;
  }

  async #surroundings(claim: IPClaim): Promise<Surroundings> {
    const { namespace, name } = keyOf(claim);
    const { owner, releasePolicy = 'Pod' } = claim.spec;
    // One question at most: nobody's answer matters to a claim that is kept for ever.
    if (releasePolicy === 'Never') return { pod: '', owner: 'unknown' };
    if (releasePolicy === 'Pod' || owner.kind === 'Pod') {
      const pod = await this.#find('Pod', { namespace, name });
      const same = pod && (owner.uid === undefined || pod.metadata.uid === owner.uid);
      return { pod: pod && (pod.metadata.uid ?? ''), owner: same ? 'present' : 'absent' };
    }
    if (owner.kind !== 'StatefulSet') return { pod: '', owner: 'unknown' };
    const set = await this.#find('StatefulSet', { namespace, name: owner.name });
    const there = set && {
      uid: set.metadata.uid,
      replicas: set.spec?.replicas ?? 1,
      first: set.spec?.ordinals?.start ?? 0,
    };
    return { pod: '', owner: hasPod(there, owner, name) ? 'present' : 'absent' };
  }

  /** Addresses in no node's block have nobody but the operator to set them aside. */
  async #setAside(claims: readonly IPClaim[], mayWrite: () => boolean): Promise<void> {
    const wanting = claims.filter((claim) => unboundAddresses(claim).length > 0);
    if (wanting.length === 0) return;
    const { store, log } = this.#options;
    const [pools, networks] = await Promise.all([store.list('IPPool'), store.list('NodeNetwork')]);
    const blocks = networks.items.flatMap(({ spec }) =>
      (spec.segments ?? []).map(({ cidr }) => parsePrefix(cidr)),
    );
    for (const claim of wanting) {
      const orphans = unboundAddresses(claim).filter((one) => !blocks.some((block) => contains(block, one)));
      if (orphans.length === 0 || !mayWrite()) continue;
      const refusal = refusalOf(claim, orphans, claims, pools.items);
      const next =
        refusal === undefined ? withBound(setAside(claim, orphans), undefined) : withBound(claim, refusal);
      if (next === claim || !(await unlessChanged(store.updateStatus(next)))) continue;
      const addresses = orphans.map(formatIP);
      if (refusal === undefined) log.info('addresses set aside', { claim: claimKey(claim), addresses });
      else
        log.warning('addresses cannot be set aside', { claim: claimKey(claim), addresses, reason: refusal });
    }
  }

  async #find<K extends Kind>(kind: K, key: Key): Promise<ObjectOf<K> | undefined> {
    try {
      return await this.#options.store.get(kind, key);
    } catch (error) {
      if (isStoreError(error, 'NotFound')) return undefined;
      throw new Error(`Cannot judge a claim: ${messageOf(error)}`, { cause: error });
    }
  }
}

/** Why nobody should set these addresses aside for the claim, undefined if they are nobody's. */
function refusalOf(
  claim: IPClaim,
  addresses: readonly IP[],
  claims: readonly IPClaim[],
  pools: readonly ObjectOf<'IPPool'>[],
): string | undefined {
  for (const address of addresses) {
    const text = formatIP(address);
    const pool = pools.find(({ spec }) => contains(parsePrefix(spec.cidr), address));
    if (pool === undefined) return `${text} lies in no pool`;
    const { reserved = [] } = pool.spec;
    const range = reserved.map(parsePrefix).find((prefix) => contains(prefix, address));
    if (range) return `${text} lies in ${formatPrefix(range)}, which pool ${pool.metadata.name} reserves`;
    const rival = claims.find((one) => one !== claim && one.status?.addresses?.includes(text));
    if (rival) return `${text} is kept for claim ${claimKey(rival)}`;
  }
  return undefined;
}
