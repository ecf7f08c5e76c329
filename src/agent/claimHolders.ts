import { CniError, CODE } from '../../cni/protocol/error.ts';
import { formatIP, type IP } from '../address/ip.ts';
import { contains, prefixFamily } from '../address/prefix.ts';
import type { Clock } from '../clock.ts';
import { messageOf } from '../errors.ts';
import type { Allocation, Owner, Request } from '../ipam/allocator.ts';
import { bar, bind, type PoolRule, type Source, type Subject } from '../ipam/binding.ts';
import { type ClaimWish, type Holder, type HolderNode, OUT_OF_SERVICE, reasonToWait } from '../ipam/claim.ts';
import {
  BOUND,
  boundAddresses,
  doubted,
  held,
  newClaim,
  released,
  renewed,
  unboundAddresses,
  viewOf,
} from '../ipam/claimObject.ts';
import type { Ipam } from '../ipam/ipam.ts';
import type { Log } from '../log.ts';
import type { Happening } from '../store/events.ts';
import type { IPClaim } from '../store/kinds/ipClaim.ts';
import { isStoreError, type Store } from '../store/store.ts';
import { unlessChanged } from '../store/unlessChanged.ts';
import type { Terms } from './binding.ts';
import type { Claims } from './claims.ts';

/** So long an ADD waits for an earlier pod to let go, in ms; kubelet comes again after code 11. */
const PATIENCE_MS = 5_000;
/** A speaker that has nobody to ask must not keep a pod from its address for longer than this, in ms. */
const WITHDRAWAL_MS = 10_000;
/** Nodes are not followed: whether one is gone is asked this often, in ms. */
const LOOK_AGAIN_MS = 500;

export interface ClaimHoldersParts {
  readonly claims: Claims;
  readonly store: Store;
  readonly node: string;
  readonly ipam: Ipam;
  readonly rules: () => readonly PoolRule[];
  /** Why an address of another node's block may not be held here, undefined if it may. */
  readonly reasonNotToBorrow: (address: IP, subject: Subject, onLink: boolean) => string | undefined;
  /** The living nodes whose blocks the addresses are of. */
  readonly blockOwners: (addresses: readonly IP[]) => Promise<string[]>;
  /** Called when what this node borrows has changed: it is announced, or no longer. */
  readonly borrowedChanged: () => void;
  /** Whether nobody believes any more that the address is here. */
  readonly isWithdrawn: (address: IP) => boolean;
  /** Tells people what became of a pod's fixed address. */
  readonly tell: (pod: ClaimRequest['pod'], happening: Happening) => void;
  readonly clock: Clock;
  readonly log: Log;
  /** So long an ADD waits, in ms. */
  readonly patience?: number;
}

/** What an ADD for a claim comes with. */
export interface ClaimRequest {
  readonly pod: { readonly namespace: string; readonly name: string; readonly uid?: string | undefined };
  readonly owner: Owner;
  readonly terms: Terms;
  readonly onLink: boolean;
  /** Whose addresses are wanted: `namespace/name`; the claim of the pod's name where absent. */
  readonly key?: string;
  /** Where addresses of families come from that the claim has none of. */
  readonly besides?: readonly Source[];
  /** Draws from this node's own segments, as any pod does. */
  readonly draw: (request: Request) => Promise<Allocation>;
}

type Outcome = { readonly allocation: Allocation } | { readonly wait: string };

/**
 * The containers of this node that hold claims: wins claims for them, and lets go of what they held. Whoever writes
 * `status.node` and `status.container` of a claim with compare-and-swap holds its addresses; nobody else writes over a
 * living holder.
 */
export class ClaimHolders {
  readonly #parts: ClaimHoldersParts;
  /** Since when claims have waited for their addresses to be withdrawn. */
  readonly #leavingSince = new Map<string, number>();

  constructor(parts: ClaimHoldersParts) {
    this.#parts = parts;
  }

  /**
   * The addresses of the pod's claim, made if it asks for one.
   *
   * @throws {CniError} Code 11 while another container has them, 7 if they may not be had here at all.
   */
  hold(request: ClaimRequest): Promise<Allocation> {
    const { key = `${request.pod.namespace}/${request.pod.name}` } = request;
    return this.#parts.claims.turn(key, () => this.#win(key, request));
  }

  /** Lets go of what no container of this node holds any more. */
  async reconcile(): Promise<void> {
    const { claims } = this.#parts;
    if (!claims.listed) return;
    for (const [key, claim] of claims.all()) {
      if (claims.isBusy(key)) continue;
      await this.#answerDoubt(key, claim);
      await this.#letGo(key, claim);
    }
  }

  async #win(key: string, request: ClaimRequest): Promise<Allocation> {
    let claim = request.terms.claim;
    for (const end = this.#parts.clock.monotonic() + (this.#parts.patience ?? PATIENCE_MS); ; ) {
      const outcome = await this.#attempt(key, claim, request);
      if ('allocation' in outcome) {
        this.#tell(key, outcome.allocation, request);
        return outcome.allocation;
      }
      const left = end - this.#parts.clock.monotonic();
      if (left <= 0) {
        const what = claim && [...boundAddresses(claim), ...unboundAddresses(claim)].map(formatIP).join(', ');
        const verb = `Cannot give pod ${key} ${what || 'the address'} of its claim`;
        throw new CniError(CODE.tryAgainLater, `${verb}: ${outcome.wait}`);
      }
      await this.#parts.claims.news(Math.min(left, LOOK_AGAIN_MS));
      claim = await this.#read(key);
    }
  }

  #tell(key: string, { addresses }: Allocation, { pod }: ClaimRequest): void {
    const borrowed = addresses.some((address) => !this.#parts.ipam.owns(address));
    const message = `${addresses.map(formatIP).join(', ')} of claim ${key} on node ${this.#parts.node}${
      borrowed ? ', borrowed from the node of its block and announced from here' : ''
    }`;
    this.#parts.tell(pod, { type: 'Normal', reason: borrowed ? 'IPBorrowed' : 'IPClaimed', message });
  }

  async #attempt(key: string, stored: IPClaim | undefined, request: ClaimRequest): Promise<Outcome> {
    const { node, store } = this.#parts;
    const { wish } = request.terms;
    const claim = stored ?? (wish && (await this.#make(request.pod, wish)));
    if (claim === undefined) return { wait: 'it has just been removed' };
    if (claim.metadata.deletionTimestamp !== undefined) return { wait: 'it is being deleted' };
    const asker = { node, container: request.owner.containerID, podUID: request.pod.uid };
    const { holder } = viewOf(claim);
    const heldHere = (container: string) => this.#holds(container);
    const reason = reasonToWait({ holder }, asker, await this.#stateOf(holder), heldHere);
    if (reason !== undefined) return { wait: reason };
    const missing = unboundAddresses(claim).filter((address) => !this.#parts.ipam.owns(address));
    if (missing.length > 0) {
      return { wait: `nobody has set aside ${missing.map(formatIP).join(', ')}: ${this.#whyUnbound(claim)}` };
    }
    try {
      const current = await this.#renew(claim, wish);
      const addresses = [...boundAddresses(current), ...unboundAddresses(current)];
      if (addresses.length === 0) return await this.#bind(key, current, asker, request);
      return await this.#take(key, current, addresses, asker, request);
    } catch (error) {
      if (isStoreError(error, 'Conflict', 'NotFound')) return { wait: 'somebody else is changing it' };
      if (!isStoreError(error, 'Unavailable', 'Invalid', 'AlreadyExists')) throw error;
      const where = `${key} from ${store.location}`;
      throw new CniError(CODE.tryAgainLater, `Cannot take claim ${where}: ${messageOf(error)}`);
    }
  }

  /** Nobody has chosen addresses yet: this node does, from its own segments. */
  async #bind(key: string, claim: IPClaim, asker: Holder, request: ClaimRequest): Promise<Outcome> {
    const { ipam, store } = this.#parts;
    const { owner, pod, terms, onLink, draw } = request;
    const { sources, addresses } = terms;
    const allocation = await draw({ owner, pod, addresses, sources, onLink, claim: key });
    try {
      await store.updateStatus(held(claim, allocation.addresses, asker, this.#parts.clock.wall()));
      return { allocation };
    } catch (error) {
      await ipam.release(owner);
      // After a lost answer the claim may name these addresses: then they stay, and the next look finds out.
      if (isStoreError(error, 'Conflict', 'NotFound')) await ipam.forget(key, allocation.addresses);
      throw error;
    }
  }

  async #take(
    key: string,
    claim: IPClaim,
    addresses: readonly IP[],
    asker: Holder,
    { owner, pod, terms, onLink, besides }: ClaimRequest,
  ): Promise<Outcome> {
    const { ipam, store } = this.#parts;
    this.#expectAsked(key, addresses, terms);
    for (const address of addresses) this.#expectAllowed(key, address, terms, onLink);
    await this.#keepOwn(key, addresses);
    const won = await store.updateStatus(held(claim, addresses, asker, this.#parts.clock.wall()));
    try {
      const allocation = await ipam.allocate({ owner, pod, addresses, besides, claim: key, borrow: true });
      const borrowed = addresses.filter((address) => !this.#parts.ipam.owns(address));
      if (borrowed.length > 0) {
        this.#parts.borrowedChanged();
        await this.#passage(key, borrowed, owner.containerID);
      }
      return { allocation };
    } catch (error) {
      // The claim itself is let go of when the news of it arrive.
      await ipam.release(owner);
      if (viewOf(won).holder !== undefined)
        await unlessChanged(store.updateStatus(released(won, this.#parts.clock.wall())));
      throw error;
    }
  }

  /**
   * A block is a black hole on the node that has it: that node must let packets for a borrowed address through before
   * anybody counts on it.
   *
   * @throws {CniError} Code 11 if it does not in time.
   */
  async #passage(key: string, borrowed: readonly IP[], container: string): Promise<void> {
    const obstacles = await this.#parts.blockOwners(borrowed);
    for (
      const end = this.#parts.clock.monotonic() + (this.#parts.patience ?? PATIENCE_MS);
      obstacles.length > 0;
    ) {
      if (this.#parts.claims.get(key)?.status?.passedTo === container) return;
      const left = end - this.#parts.clock.monotonic();
      if (left <= 0) {
        const text = `Cannot borrow ${borrowed.map(formatIP).join(', ')} of claim ${key}: node ${obstacles.join(', ')} has the block, drops what is sent to it, and does not let it through yet`;
        throw new CniError(CODE.tryAgainLater, text);
      }
      await this.#parts.claims.news(left);
    }
  }

  async #keepOwn(key: string, addresses: readonly IP[]): Promise<void> {
    await this.#parts.ipam.keep(
      key,
      addresses.filter((address) => this.#parts.ipam.owns(address)),
    );
  }

  /** @throws {CniError} If the pod may not draw from the address's pool, or the address not be held on this node. */
  #expectAllowed(key: string, address: IP, terms: Terms, onLink: boolean): void {
    const { subject } = terms;
    const own = this.#parts.ipam.owns(address);
    const pool = this.#parts.rules().find(({ cidr }) => contains(cidr, address));
    const barred = pool && (bar(pool, subject) ?? this.#unbound(pool, terms));
    const reason = barred === undefined ? undefined : `of pool ${pool?.name}: ${barred}`;
    const refusal = reason ?? (own ? undefined : this.#parts.reasonNotToBorrow(address, subject, onLink));
    if (refusal === undefined) return;
    const verb = own ? 'Cannot give' : 'Cannot borrow';
    const text = `${verb} ${formatIP(address)} of claim ${key} on node ${this.#parts.node}: ${refusal}`;
    throw new CniError(CODE.invalidConfiguration, text);
  }

  /** A pod that is bound to pools has no address of another one, unless of one of them that has been disabled since. */
  #unbound(pool: PoolRule, { sources, subject }: Terms): string | undefined {
    const rules = this.#parts
      .rules()
      .map((rule) => (rule.name === pool.name ? { ...rule, disabled: false } : rule));
    const family = prefixFamily(pool.cidr);
    const source = (pool.disabled ? bind(subject, rules) : sources).find((one) => one.family === family);
    if (!source?.bound || source.pools.includes(pool.name)) return undefined;
    return `the pod draws from pool ${source.pools.join(' or ')} alone (${source.why}); delete the claim to have it choose anew`;
  }

  /** @throws {CniError} If the pod insists on an address that is not the claim's. */
  #expectAsked(key: string, addresses: readonly IP[], terms: Terms): void {
    const other = terms.addresses.find((address) => !addresses.includes(address));
    if (other === undefined) return;
    const text = `Cannot give ${formatIP(other)} to the pod of claim ${key}: the claim keeps ${addresses.map(formatIP).join(', ')} for it; delete the claim to have another address`;
    throw new CniError(CODE.invalidConfiguration, text);
  }

  #whyUnbound({ status }: IPClaim): string {
    const refused = status?.conditions?.find(({ type, status }) => type === BOUND && status === 'False');
    return refused?.message ?? 'neither the node of its block nor the operator has answered';
  }

  async #make(pod: ClaimRequest['pod'], wish: ClaimWish): Promise<IPClaim | undefined> {
    try {
      return await this.#parts.store.create(newClaim(pod, wish));
    } catch (error) {
      if (isStoreError(error, 'AlreadyExists')) return this.#read(`${pod.namespace}/${pod.name}`);
      throw new CniError(CODE.tryAgainLater, `Cannot make a claim: ${messageOf(error)}`);
    }
  }

  /** A workload that was made anew takes over what its namesake left, and says how long to keep it. */
  async #renew(claim: IPClaim, wish: ClaimWish | undefined): Promise<IPClaim> {
    const next = renewed(claim, wish);
    return next === claim ? claim : this.#parts.store.update(next);
  }

  async #read(key: string): Promise<IPClaim | undefined> {
    const [namespace, name = ''] = key.split('/');
    try {
      return await this.#parts.store.get('IPClaim', { namespace, name });
    } catch (error) {
      if (isStoreError(error, 'NotFound')) return undefined;
      throw new CniError(CODE.tryAgainLater, `Cannot read claim ${key}: ${messageOf(error)}`);
    }
  }

  async #stateOf(holder: Holder | undefined): Promise<HolderNode> {
    if (holder === undefined || holder.node === this.#parts.node) return 'present';
    try {
      const { metadata, spec } = await this.#parts.store.get('Node', { name: holder.node });
      if (metadata.deletionTimestamp !== undefined) return 'gone';
      return spec?.taints?.some(({ key }) => key === OUT_OF_SERVICE) ? 'out of service' : 'present';
    } catch (error) {
      if (isStoreError(error, 'NotFound')) return 'gone';
      throw new CniError(CODE.tryAgainLater, `Cannot ask for node ${holder.node}: ${messageOf(error)}`);
    }
  }

  /** The `Node` may have been deleted while its pods ran on. */
  async #answerDoubt(key: string, claim: IPClaim): Promise<void> {
    const { node, store, log } = this.#parts;
    const { holder } = viewOf(claim);
    const { doubted: container } = claim.status ?? {};
    if (container === undefined || holder?.node !== node || holder.container !== container) return;
    if (!this.#holds(container)) return;
    const done = await unlessChanged(store.updateStatus(doubted(claim, undefined)));
    if (done) log.warning('this node is gone, as the cluster has it, and its pods are not', { claim: key });
  }

  async #letGo(key: string, claim: IPClaim): Promise<void> {
    const { node, store, log } = this.#parts;
    const { holder } = viewOf(claim);
    if (holder?.node !== node) return;
    if (this.#holds(holder.container)) return;
    if (!this.#hasLeft(key, claim)) return;
    const done = await unlessChanged(store.updateStatus(released(claim, this.#parts.clock.wall())));
    if (done) log.info('claim let go of', { claim: key, container: holder.container });
  }

  /** The addresses of others' blocks that containers of this node have held, while claims still say that they do. */
  leaving(): IP[] {
    return this.#parts.claims.all().flatMap(([, claim]) => {
      const { holder } = viewOf(claim);
      const over = holder?.node === this.#parts.node && !this.#holds(holder.container);
      return over ? boundAddresses(claim).filter((address) => !this.#parts.ipam.owns(address)) : [];
    });
  }

  /** Whoever gets a borrowed address next must not share its traffic with this node. */
  #hasLeft(key: string, claim: IPClaim): boolean {
    const borrowed = boundAddresses(claim).filter((address) => !this.#parts.ipam.owns(address));
    const since = this.#leavingSince.get(key) ?? this.#parts.clock.monotonic();
    this.#leavingSince.set(key, since);
    const overdue = this.#parts.clock.monotonic() - since > WITHDRAWAL_MS;
    if (!overdue && !borrowed.every((address) => this.#parts.isWithdrawn(address))) return false;
    this.#leavingSince.delete(key);
    return true;
  }

  #holds(container: string): boolean {
    return this.#parts.ipam.allocations().some(({ owner }) => owner.containerID === container);
  }
}
