import { formatIP, type IP } from '../address/ip.ts';
import { contains, type Prefix } from '../address/prefix.ts';
import { Refusal } from '../ipam/allocator.ts';
import {
  boundAddresses,
  claimKey,
  setAside,
  unboundAddresses,
  viewOf,
  withBound,
} from '../ipam/claimObject.ts';
import type { Ipam } from '../ipam/ipam.ts';
import type { Log } from '../log.ts';
import { ifThere } from '../store/ifThere.ts';
import type { IPClaim } from '../store/kinds/ipClaim.ts';
import type { Store } from '../store/store.ts';
import { unlessChanged } from '../store/unlessChanged.ts';
import type { Passage } from './blockRoutes.ts';
import type { Claims } from './claims.ts';

export interface ClaimedAddressesParts {
  readonly claims: Claims;
  readonly store: Store;
  readonly node: string;
  readonly ipam: Ipam;
  /** Lets packets for addresses of this node's blocks through to the nodes that hold them, and no others. */
  readonly letThrough: (passages: readonly Passage[]) => Promise<ReadonlySet<IP>>;
  readonly log: Log;
}

/**
 * The claimed addresses of this node's segments: kept from everybody else, and let through to the nodes whose containers
 * hold them.
 */
export class ClaimedAddresses {
  readonly #parts: ClaimedAddressesParts;

  constructor(parts: ClaimedAddressesParts) {
    this.#parts = parts;
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
   * Makes journal and claims agree: what is claimed of this node's segments is set aside, and what no claim has any more
   * rests. Nothing is given up on the word of a cache.
   */
  async reconcile(): Promise<void> {
    const { claims } = this.#parts;
    if (!claims.listed) return;
    for (const [key, claim] of claims.all()) if (!claims.isBusy(key)) await this.#setAside(key, claim);
    await this.#forgetUnclaimed();
    await this.#letThrough();
  }

  async #letThrough(): Promise<void> {
    const { node, store, log } = this.#parts;
    const lent = this.#parts.claims.all().flatMap(([key, claim]) => {
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

  async #setAside(key: string, claim: IPClaim): Promise<void> {
    const { ipam, store, log } = this.#parts;
    if (isAskedFor(claim, this.#parts.node)) return this.#lend(key, claim);
    const wanted = unboundAddresses(claim).filter((address) => ipam.owns(address));
    const asked = wanted.filter((address) => ipam.usable(address));
    const mine = [...boundAddresses(claim).filter((address) => this.#parts.ipam.owns(address)), ...asked];
    try {
      const { holder } = viewOf(claim);
      await ipam.keep(key, mine, holder?.node === this.#parts.node ? holder.container : undefined);
      if (asked.length < wanted.length) return await this.#refuse(key, claim, wanted);
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

  /** Another node's container has no address, and asks this node for one of its own. */
  async #lend(key: string, claim: IPClaim): Promise<void> {
    const { ipam, store, log } = this.#parts;
    const { loan, pool } = claim.spec;
    if (!loan || pool === undefined) return;
    const source = { family: loan.family, bound: true, pools: [pool], why: `claim ${key}` } as const;
    try {
      const address = await ipam.lend(key, source);
      if (await unlessChanged(store.updateStatus(withBound(setAside(claim, [address]), undefined)))) {
        log.info('address lent', { claim: key, address: formatIP(address), to: loan.to });
      }
    } catch (error) {
      if (!(error instanceof Refusal)) throw error;
      const told = withBound(claim, error.message);
      if (told !== claim) await unlessChanged(store.updateStatus(told));
    }
  }

  /** What was reserved before anybody set it aside is nobody's. */
  async #refuse(key: string, claim: IPClaim, wanted: readonly IP[]): Promise<void> {
    const { ipam, store } = this.#parts;
    const reserved = wanted.filter((address) => !ipam.usable(address));
    await ipam.forget(key, reserved);
    const told = withBound(claim, `${reserved.map(formatIP).join(', ')} is reserved in its block`);
    if (told !== claim) await unlessChanged(store.updateStatus(told));
  }

  async #forgetUnclaimed(): Promise<void> {
    const { ipam, log } = this.#parts;
    for (const [address, key] of [...ipam.kept()]) {
      const known = this.#parts.claims.get(key);
      if (this.#parts.claims.isBusy(key) || (known && this.#parts.ipam.owns(address) && has(known, address)))
        continue;
      const claim = this.#parts.ipam.owns(address) ? await this.#read(key) : undefined;
      if (this.#parts.claims.isBusy(key) || (claim && has(claim, address))) continue;
      await ipam.forget(key, [address]);
      log.info('claimed address free again', { claim: key, address: formatIP(address) });
    }
  }

  #read(key: string): Promise<IPClaim | undefined> {
    const [namespace, name = ''] = key.split('/');
    return ifThere(this.#parts.store.get('IPClaim', { namespace, name }));
  }
}

function isAskedFor({ metadata, spec, status }: IPClaim, node: string): boolean {
  const granted = (status?.addresses ?? []).length > 0;
  return spec.loan?.from === node && !granted && metadata.deletionTimestamp === undefined;
}

function has(claim: IPClaim, address: IP): boolean {
  return boundAddresses(claim).includes(address) || unboundAddresses(claim).includes(address);
}
