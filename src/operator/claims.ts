import { formatIP, type IP } from '../address/ip.ts';
import { contains, formatPrefix, parsePrefix } from '../address/prefix.ts';
import type { Clock } from '../clock.ts';
import { messageOf } from '../errors.ts';
import {
  type Holder,
  hasPod,
  mayEnd,
  OUT_OF_SERVICE,
  reasonToEnd,
  type Surroundings,
} from '../ipam/claim.ts';
import {
  claimKey,
  doubted,
  released,
  setAside,
  unboundAddresses,
  unprotected,
  viewOf,
  withBound,
} from '../ipam/claimObject.ts';
import type { Log } from '../log.ts';
import type { IPClaim } from '../store/kinds/ipClaim.ts';
import type { Kind, ObjectOf } from '../store/kinds/registry.ts';
import { isStoreError, type Key, keyOf, type Store } from '../store/store.ts';
import { unlessChanged } from '../store/unlessChanged.ts';

/** What speaks against a claim must still do so after this, in ms, before it is acted upon. */
const OBSERVATION_GAP = 10_000;
/** So long the agent of a node that is gone has to say that its pods are not, in ms. */
const OBJECTION_MS = 30_000;
/** Claims are looked at this often, in ms: nothing about them is urgent to the operator. */
const INTERVAL = 2_000;

/** What the operator does for claims; what belongs to a node's block is that node's to do. */
export interface ClaimsReport {
  readonly claims: number;
  readonly held: number;
  readonly ended: number;
}

/** What is to become of a claim. */
interface Verdict {
  readonly kind: 'doubt' | 'bury' | 'release' | 'end' | 'let go';
  readonly reason: string;
}

/** Called with each thing that happens to a claim, for people. */
export type TellClaim = (
  claim: IPClaim,
  event: { readonly type: 'Normal' | 'Warning'; readonly reason: string; readonly message: string },
) => void;

export interface ClaimKeeperOptions {
  readonly store: Store;
  readonly clock: Pick<Clock, 'wall' | 'monotonic'>;
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
    const now = this.#options.clock.monotonic();
    if (now - this.#last < INTERVAL) return;
    this.#last = now;
    // Claims come first: a block that is assigned after this list is begun is found by the next one.
    const { items } = await this.#options.store.list('IPClaim');
    const suspected = new Set<string>();
    await this.#setAside(items, mayWrite);
    for (const claim of items) {
      const verdict = await this.#judge(claim);
      if (verdict === undefined) continue;
      // Reasons tell the seconds, and would be new each time.
      const what = `${claimKey(claim)} ${claim.metadata.resourceVersion} ${verdict.kind}`;
      suspected.add(what);
      const since = this.#suspected.get(what) ?? now;
      this.#suspected.set(what, since);
      if (now - since >= this.#gap(verdict.kind) && mayWrite()) await this.#act(claim, verdict);
    }
    for (const what of this.#suspected.keys()) if (!suspected.has(what)) this.#suspected.delete(what);
    const held = items.filter((claim) => viewOf(claim).holder !== undefined).length;
    this.#report = { claims: items.length, held, ended: this.#ended };
  }

  #gap(kind: Verdict['kind']): number {
    const { observationGap = OBSERVATION_GAP } = this.#options;
    // What was to be deleted has nothing to say for itself.
    return {
      'let go': 0,
      doubt: observationGap,
      bury: OBJECTION_MS,
      release: observationGap,
      end: observationGap,
    }[kind];
  }

  async #judge(claim: IPClaim): Promise<Verdict | undefined> {
    const view = viewOf(claim);
    if (view.holder) return this.#judgeHolder(claim, view.holder);
    if (claim.metadata.deletionTimestamp !== undefined)
      return { kind: 'let go', reason: 'it has been deleted' };
    if (!mayEnd(view)) return undefined;
    const reason = reasonToEnd(view, await this.#surroundings(claim), this.#options.clock.wall());
    return reason === undefined ? undefined : { kind: 'end', reason };
  }

  /** Who is on a node that is gone may live all the same: its agent is asked first. */
  async #judgeHolder(claim: IPClaim, { node, container }: Holder): Promise<Verdict | undefined> {
    const object = await this.#find('Node', { name: node });
    if (object === undefined || object.metadata.deletionTimestamp !== undefined) {
      const reason = `node ${node} is gone`;
      return { kind: claim.status?.doubted === container ? 'bury' : 'doubt', reason };
    }
    const off = object.spec?.taints?.some(({ key }) => key === OUT_OF_SERVICE) ?? false;
    return off ? { kind: 'release', reason: `node ${node} is out of service` } : undefined;
  }

  async #act(claim: IPClaim, { kind, reason }: Verdict): Promise<void> {
    const { log, tell } = this.#options;
    if (!(await unlessChanged(this.#write(claim, kind)))) return;
    if (kind === 'doubt') return;
    const ended = kind === 'end' || kind === 'let go';
    if (ended) this.#ended++;
    const addresses = (claim.status?.addresses ?? []).join(', ');
    const message = ended
      ? `${addresses} become free again: ${reason}`
      : `${addresses} wait for the next pod: ${reason}`;
    log.info(message, { claim: claimKey(claim) });
    tell?.(claim, { type: 'Normal', reason: ended ? 'IPReleased' : 'IPReserved', message });
  }

  async #write(claim: IPClaim, kind: Verdict['kind']): Promise<unknown> {
    const { store, clock } = this.#options;
    const { uid, resourceVersion } = claim.metadata;
    switch (kind) {
      case 'doubt':
        return store.updateStatus(doubted(claim, claim.status?.container));
      case 'bury':
      case 'release':
        return store.updateStatus(released(claim, clock.wall()));
      case 'let go':
        return store.update(unprotected(claim));
      case 'end':
        return store.delete('IPClaim', keyOf(claim), {
          ...(uid !== undefined && { uid }),
          ...(resourceVersion !== undefined && { resourceVersion }),
        });
    }
  }

  async #surroundings(claim: IPClaim): Promise<Surroundings> {
    const { namespace, name } = keyOf(claim);
    const { owner, releasePolicy = 'Pod', loan } = claim.spec;
    // One question at most: nobody's answer matters to a claim that is kept for ever.
    if (releasePolicy === 'Never' || loan) return { pod: '', owner: 'unknown' };
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
