import { CniError, CODE } from '../../cni/protocol/error.ts';
import { Turns } from '../../cni/turns.ts';
import { formatIP, type IP } from '../address/ip.ts';
import { contains, type Prefix } from '../address/prefix.ts';
import { messageOf } from '../errors.ts';
import { type Allocation, type Owner, Refusal, type Request } from '../ipam/allocator.ts';
import { bar, type PoolRule, type Subject } from '../ipam/binding.ts';
import { type ClaimWish, type Holder, type HolderNode, OUT_OF_SERVICE, reasonToWait } from '../ipam/claim.ts';
import {
  BOUND,
  boundAddresses,
  claimKey,
  held,
  newClaim,
  released,
  renewed,
  setAside,
  unboundAddresses,
  viewOf,
  withBound,
} from '../ipam/claimObject.ts';
import type { Ipam } from '../ipam/ipam.ts';
import type { Log } from '../log.ts';
import type { Happening } from '../store/events.ts';
import type { Change } from '../store/follow.ts';
import type { IPClaim } from '../store/kinds/ipClaim.ts';
import { isStoreError, type Store } from '../store/store.ts';
import type { Terms } from './binding.ts';

/** So long an ADD waits for an earlier pod to let go, in ms; kubelet comes again after code 11. */
const PATIENCE_MS = 5_000;
/** A speaker that has nobody to ask must not keep a pod from its address for longer than this, in ms. */
const WITHDRAWAL_MS = 10_000;
/** Nodes are not followed: whether one is gone is asked this often, in ms. */
const LOOK_AGAIN_MS = 500;

export interface ClaimsParts {
  readonly store: Store;
  readonly node: string;
  readonly ipam: Ipam;
  readonly rules: () => readonly PoolRule[];
  /** Why an address of another node's block may not be held here, undefined if it may. */
  readonly reasonNotToBorrow: (address: IP, subject: Subject, onLink: boolean) => string | undefined;
  /** The living nodes whose blocks the addresses are of. */
  readonly blockOwners: (addresses: readonly IP[]) => Promise<string[]>;
  /** Lets packets for addresses of this node's blocks through to the nodes that hold them, and no others. */
  readonly letThrough: (passages: readonly Passage[]) => Promise<ReadonlySet<IP>>;
  /** Called when what this node borrows has changed: it is announced, or no longer. */
  readonly borrowedChanged: () => void;
  /** Whether nobody believes any more that the address is here. */
  readonly isWithdrawn: (address: IP) => boolean;
  /** Tells people what became of a pod's fixed address. */
  readonly tell: (pod: ClaimRequest['pod'], happening: Happening) => void;
  readonly log: Log;
  /** So long an ADD waits, in ms. */
  readonly patience?: number;
}

/** An address of this node's blocks, and the node that holds it. */
export interface Passage {
  readonly address: IP;
  readonly node: string;
}

/** What an ADD for a claim comes with. */
export interface ClaimRequest {
  readonly pod: { readonly namespace: string; readonly name: string; readonly uid?: string | undefined };
  readonly owner: Owner;
  readonly terms: Terms;
  readonly onLink: boolean;
  /** Draws from this node's own segments, as any pod does. */
  readonly draw: (request: Request) => Promise<Allocation>;
}

type Outcome = { readonly allocation: Allocation } | { readonly wait: string };

/**
 * Fixed addresses, as this node sees them: wins claims for its containers, keeps the claimed addresses of its own
 * segments from everybody else, and lets go of what its containers held. Whoever writes `status.node` and
 * `status.container` of a claim with compare-and-swap holds its addresses; nobody else writes over a living holder.
 */
export class Claims {
  readonly #parts: ClaimsParts;
  readonly #known = new Map<string, IPClaim>();
  readonly #turns = new Turns();
  /** Claims whose turn it is: what they say and what the journal says may differ for a moment. */
  readonly #busy = new Set<string>();
  readonly #waiting = new Set<() => void>();
  /** Since when claims have waited for their addresses to be withdrawn. */
  readonly #leavingSince = new Map<string, number>();
  #listed = false;

  constructor(parts: ClaimsParts) {
    this.#parts = parts;
  }

  all(): IPClaim[] {
    return [...this.#known.values()];
  }

  onClaim(change: Change<IPClaim>): void {
    if (change.type === 'interrupted') return;
    if (change.type === 'replaced') {
      this.#listed = true;
      this.#known.clear();
      for (const claim of change.objects) this.#known.set(claimKey(claim), claim);
    } else if (change.type === 'applied') this.#known.set(claimKey(change.object), change.object);
    else this.#known.delete(claimKey(change.object));
    for (const wake of [...this.#waiting]) wake();
  }

  /**
   * The addresses of the pod's claim, made if it asks for one.
   *
   * @throws {CniError} Code 11 while another container has them, 7 if they may not be had here at all.
   */
  async hold(request: ClaimRequest): Promise<Allocation> {
    const key = `${request.pod.namespace}/${request.pod.name}`;
    return this.#turns.take(key, async () => {
      this.#busy.add(key);
      try {
        return await this.#win(key, request);
      } finally {
        this.#busy.delete(key);
      }
    });
  }

  async #win(key: string, request: ClaimRequest): Promise<Allocation> {
    let claim = request.terms.claim;
    for (const end = performance.now() + (this.#parts.patience ?? PATIENCE_MS); ; ) {
      const outcome = await this.#attempt(key, claim, request);
      if ('allocation' in outcome) {
        this.#tell(key, outcome.allocation, request);
        return outcome.allocation;
      }
      const left = end - performance.now();
      if (left <= 0) {
        const what = claim && [...boundAddresses(claim), ...unboundAddresses(claim)].map(formatIP).join(', ');
        const verb = `Cannot give pod ${key} ${what || 'the address'} of its claim`;
        throw new CniError(CODE.tryAgainLater, `${verb}: ${outcome.wait}`);
      }
      await this.#news(Math.min(left, LOOK_AGAIN_MS));
      claim = await this.#read(key);
    }
  }

  #tell(key: string, { addresses }: Allocation, { pod }: ClaimRequest): void {
    const borrowed = addresses.some((address) => !this.#own(address));
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
    const asker = { node, container: request.owner.containerID, podUID: request.pod.uid };
    const { holder } = viewOf(claim);
    const heldHere = (container: string) => this.#holds(container);
    const reason = reasonToWait({ holder }, asker, await this.#stateOf(holder), heldHere);
    if (reason !== undefined) return { wait: reason };
    const missing = unboundAddresses(claim).filter((address) => !this.#own(address));
    if (missing.length > 0) {
      return { wait: `nobody has set aside ${missing.map(formatIP).join(', ')}: ${this.#whyUnbound(claim)}` };
    }
    try {
      const current = wish ? await this.#renew(claim, wish) : claim;
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
      await store.updateStatus(held(claim, allocation.addresses, asker, Date.now()));
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
    { owner, pod, terms, onLink }: ClaimRequest,
  ): Promise<Outcome> {
    const { ipam, store } = this.#parts;
    for (const address of addresses) this.#expectAllowed(key, address, terms.subject, onLink);
    await this.#keepOwn(key, addresses);
    const won = await store.updateStatus(held(claim, addresses, asker, Date.now()));
    try {
      const allocation = await ipam.allocate({ owner, pod, addresses, claim: key, borrow: true });
      const borrowed = addresses.filter((address) => !this.#own(address));
      if (borrowed.length > 0) {
        this.#parts.borrowedChanged();
        await this.#passage(key, borrowed, owner.containerID);
      }
      return { allocation };
    } catch (error) {
      // The claim itself is let go of when the news of it arrive.
      await ipam.release(owner);
      if (viewOf(won).holder !== undefined)
        await unlessChanged(store.updateStatus(released(won, Date.now())));
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
    for (const end = performance.now() + (this.#parts.patience ?? PATIENCE_MS); obstacles.length > 0; ) {
      if (this.#known.get(key)?.status?.passedTo === container) return;
      const left = end - performance.now();
      if (left <= 0) {
        const text = `Cannot borrow ${borrowed.map(formatIP).join(', ')} of claim ${key}: node ${obstacles.join(', ')} has the block, drops what is sent to it, and does not let it through yet`;
        throw new CniError(CODE.tryAgainLater, text);
      }
      await this.#news(left);
    }
  }

  async #keepOwn(key: string, addresses: readonly IP[]): Promise<void> {
    await this.#parts.ipam.keep(
      key,
      addresses.filter((address) => this.#own(address)),
    );
  }

  /** @throws {CniError} If the pod may not draw from the address's pool, or the address not be held on this node. */
  #expectAllowed(key: string, address: IP, subject: Subject, onLink: boolean): void {
    const own = this.#own(address);
    const pool = this.#parts.rules().find(({ cidr }) => contains(cidr, address));
    const barred = pool && bar(pool, subject);
    const reason = barred === undefined ? undefined : `of pool ${pool?.name}: ${barred}`;
    const refusal = reason ?? (own ? undefined : this.#parts.reasonNotToBorrow(address, subject, onLink));
    if (refusal === undefined) return;
    const verb = own ? 'Cannot give' : 'Cannot borrow';
    const text = `${verb} ${formatIP(address)} of claim ${key} on node ${this.#parts.node}: ${refusal}`;
    throw new CniError(CODE.invalidConfiguration, text);
  }

  #own(address: IP): boolean {
    return this.#parts.ipam.segments().some(({ prefix }) => contains(prefix, address));
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
  async #renew(claim: IPClaim, wish: ClaimWish): Promise<IPClaim> {
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

  #news(ms: number): Promise<void> {
    return new Promise((resolve) => {
      const done = () => {
        clearTimeout(timer);
        this.#waiting.delete(done);
        resolve();
      };
      const timer = setTimeout(done, ms);
      this.#waiting.add(done);
    });
  }

  /**
   * Sets aside what is claimed of blocks that this node is about to have. It asks the store itself: the first address
   * it gives out of a new block may be a claimed one.
   */
  async prepare(blocks: readonly Prefix[]): Promise<void> {
    if (blocks.length === 0) return;
    const { items } = await this.#parts.store.list('IPClaim');
    for (const claim of items) {
      const addresses = [...boundAddresses(claim), ...unboundAddresses(claim)].filter((address) =>
        blocks.some((block) => contains(block, address)),
      );
      try {
        await this.#parts.ipam.keep(claimKey(claim), addresses);
      } catch (error) {
        if (!(error instanceof Refusal)) throw error;
        this.#parts.log.error('two claims name one address', { error });
      }
    }
  }

  /**
   * Makes journal and claims agree: what is claimed of this node's segments is set aside, what no claim has any more
   * rests, and what this node's containers no longer hold is let go of. Nothing is given up on the word of a cache.
   */
  async reconcile(): Promise<void> {
    if (!this.#listed) return;
    for (const [key, claim] of this.#known) {
      if (this.#busy.has(key)) continue;
      await this.#letGo(key, claim);
      await this.#setAside(key, claim);
    }
    await this.#forgetUnclaimed();
    await this.#letThrough();
  }

  async #letThrough(): Promise<void> {
    const { node, store, log } = this.#parts;
    const lent = [...this.#known].flatMap(([key, claim]) => {
      const { holder } = viewOf(claim);
      const kept = this.#parts.ipam.kept();
      const addresses = boundAddresses(claim).filter((address) => kept.get(address) === key);
      return holder && holder.node !== node && addresses.length > 0
        ? [{ key, claim, holder, addresses }]
        : [];
    });
    const wanted = lent.flatMap(({ holder, addresses }) =>
      addresses.map((address) => ({ address, node: holder.node })),
    );
    const open = await this.#parts.letThrough(wanted);
    for (const { key, claim, holder, addresses } of lent) {
      const passedTo = holder.container;
      if (claim.status?.passedTo === passedTo || !addresses.every((address) => open.has(address))) continue;
      await unlessChanged(store.updateStatus({ ...claim, status: { ...claim.status, passedTo } }));
      log.info('claimed address of this node let through', { claim: key, node: holder.node });
    }
  }

  async #letGo(key: string, claim: IPClaim): Promise<void> {
    const { node, store, log } = this.#parts;
    const { holder } = viewOf(claim);
    if (holder?.node !== node) return;
    if (this.#holds(holder.container)) return;
    if (!this.#hasLeft(key, claim)) return;
    const done = await unlessChanged(store.updateStatus(released(claim, Date.now())));
    if (done) log.info('claim let go of', { claim: key, container: holder.container });
  }

  /** The addresses of others' blocks that containers of this node have held, while claims still say that they do. */
  leaving(): IP[] {
    return this.all().flatMap((claim) => {
      const { holder } = viewOf(claim);
      const over = holder?.node === this.#parts.node && !this.#holds(holder.container);
      return over ? boundAddresses(claim).filter((address) => !this.#own(address)) : [];
    });
  }

  /** Whoever gets a borrowed address next must not share its traffic with this node. */
  #hasLeft(key: string, claim: IPClaim): boolean {
    const borrowed = boundAddresses(claim).filter((address) => !this.#own(address));
    const since = this.#leavingSince.get(key) ?? performance.now();
    this.#leavingSince.set(key, since);
    const overdue = performance.now() - since > WITHDRAWAL_MS;
    if (!overdue && !borrowed.every((address) => this.#parts.isWithdrawn(address))) return false;
    this.#leavingSince.delete(key);
    return true;
  }

  #holds(container: string): boolean {
    return this.#parts.ipam.allocations().some(({ owner }) => owner.containerID === container);
  }

  async #setAside(key: string, claim: IPClaim): Promise<void> {
    const { ipam, store, log } = this.#parts;
    const asked = unboundAddresses(claim).filter((address) => this.#own(address));
    const mine = [...boundAddresses(claim).filter((address) => this.#own(address)), ...asked];
    try {
      const { holder } = viewOf(claim);
      await ipam.keep(key, mine, holder?.node === this.#parts.node ? holder.container : undefined);
      if (asked.length === 0) return;
      if (await unlessChanged(store.updateStatus(withBound(setAside(claim, asked), undefined)))) {
        log.info('addresses set aside', { claim: key, addresses: asked.map(formatIP) });
      }
    } catch (error) {
      if (!(error instanceof Refusal)) throw error;
      const told = withBound(claim, error.message);
      if (told !== claim) await unlessChanged(store.updateStatus(told));
    }
  }

  async #forgetUnclaimed(): Promise<void> {
    const { ipam, log } = this.#parts;
    for (const [address, key] of [...ipam.kept()]) {
      const known = this.#known.get(key);
      if (this.#busy.has(key) || (known && this.#own(address) && has(known, address))) continue;
      const claim = this.#own(address) ? await this.#read(key) : undefined;
      if (this.#busy.has(key) || (claim && has(claim, address))) continue;
      await ipam.forget(key, [address]);
      log.info('claimed address free again', { claim: key, address: formatIP(address) });
    }
  }
}

function has(claim: IPClaim, address: IP): boolean {
  return boundAddresses(claim).includes(address) || unboundAddresses(claim).includes(address);
}

/** What somebody else has changed meanwhile is looked at again when the news of that arrive. */
async function unlessChanged(write: Promise<unknown>): Promise<boolean> {
  try {
    await write;
    return true;
  } catch (error) {
    if (isStoreError(error, 'Conflict', 'NotFound')) return false;
    throw error;
  }
}
