import type { IP } from '../../address/ip.ts';
import type { Passage } from '../../agent/blockRoutes.ts';
import { blockOwners, living } from '../../agent/borrowing.ts';
import { ClaimedAddresses } from '../../agent/claimedAddresses.ts';
import { ClaimHolders } from '../../agent/claimHolders.ts';
import { Claims } from '../../agent/claims.ts';
import { Loans } from '../../agent/loans.ts';
import { type Allocation, type Owner, Refusal } from '../../ipam/allocator.ts';
import type { Source } from '../../ipam/binding.ts';
import type { ClaimWish } from '../../ipam/claim.ts';
import type { Ipam } from '../../ipam/ipam.ts';
import { poolRule } from '../../ipam/poolRule.rig.ts';
import { silentLog } from '../../log.ts';
import { type Change, follow } from '../../store/follow.ts';
import { ifThere } from '../../store/ifThere.ts';
import type { IPClaim } from '../../store/kinds/ipClaim.ts';
import type { Store } from '../../store/store.ts';
import { type Fault, GatedStore } from './gatedStore.rig.ts';
import { drain, type VirtualClock } from './virtualClock.rig.ts';

/** The model's pool, as pods see it. */
const RULE = poolRule('default', '10.0.0.0/26', { blockSize: 30 });
const SOURCE: Source = { family: 4, bound: false, pools: [RULE.name], why: 'there is no other' };

/** A pod whose name comes again, and with it its address. */
export interface NamedPod {
  readonly namespace: string;
  readonly name: string;
  readonly uid: string;
  readonly wish: ClaimWish;
}

export interface ClaimedPodsParts {
  readonly node: string;
  readonly ipam: Ipam;
  readonly store: Store;
  readonly clock: VirtualClock;
  readonly signal: AbortSignal;
  readonly isAlive: () => boolean;
  /** The kernel of the machine lets packets for these addresses through, and no others. */
  readonly letThrough: (passages: readonly Passage[]) => void;
}

/** The agent's part in claims, held up at the store's door, with neighbours that believe what they were told last. */
export class ClaimedPods {
  readonly gate: GatedStore;
  readonly addresses: ClaimedAddresses;
  readonly #claims: Claims;
  readonly #holders: ClaimHolders;
  readonly #loans: Loans;
  readonly #parts: ClaimedPodsParts;
  readonly #inbox: Change<IPClaim>[] = [];
  /** Addresses that the neighbours send here for. */
  #believed = new Set<IP>();
  #reconciling = false;

  constructor(parts: ClaimedPodsParts) {
    const { node, ipam, store, clock, signal, isAlive, letThrough } = parts;
    this.#parts = parts;
    this.gate = new GatedStore(store, isAlive);
    this.#claims = new Claims(clock);
    const common = { claims: this.#claims, store: this.gate, node, ipam, log: silentLog };
    this.addresses = new ClaimedAddresses({
      ...common,
      letThrough: async (passages) => {
        if (isAlive()) letThrough(passages);
        return new Set(passages.map(({ address }) => address));
      },
    });
    this.#holders = new ClaimHolders({
      ...common,
      rules: () => [RULE],
      reasonNotToBorrow: () => undefined,
      blockOwners: (addresses) => blockOwners(this.gate, addresses),
      borrowedChanged: () => {
        for (const address of ipam.borrowed()) this.#believed.add(address);
      },
      isWithdrawn: (address) => !this.#believed.has(address),
      tell: () => {},
      clock,
    });
    this.#loans = new Loans({
      ...common,
      holders: this.#holders,
      rules: () => [RULE],
      reasonNotToBorrow: () => undefined,
      routing: 'underlay',
      networks: async () => (await this.gate.list('NodeNetwork')).items,
      living: (nodes) => living(this.gate, nodes),
      clock,
    });
    void follow(store, 'IPClaim', (change) => this.#inbox.push(change), signal, clock.pause);
  }

  /** An ADD of a container of the pod. */
  async hold({ namespace, name, uid, wish }: NamedPod, owner: Owner): Promise<Allocation> {
    const claim = await ifThere(this.gate.get('IPClaim', { namespace, name }));
    const subject = { node: { name: this.#parts.node, labels: {} } };
    return this.#holders.hold({
      pod: { namespace, name, uid },
      owner,
      terms: { sources: [], addresses: [], wish, claim, subject },
      onLink: false,
      draw: ({ sources: _, ...request }) => this.#parts.ipam.allocate(request),
    });
  }

  /** An ADD of a container without a name worth keeping, on a node that may have to borrow. */
  async draw(owner: Owner): Promise<Allocation> {
    const { ipam, node } = this.#parts;
    const request = { owner, pod: { namespace: 'shop', name: `web-${owner.containerID}` } };
    try {
      return await ipam.allocate({ ...request, addresses: [], sources: [SOURCE] });
    } catch (error) {
      if (!(error instanceof Refusal) || !error.short) throw error;
      const subject = { node: { name: node, labels: {} } };
      const terms = { sources: [SOURCE], addresses: [], wish: undefined, claim: undefined, subject };
      return this.#loans.borrow({ ...request, terms, onLink: false }, error.short);
    }
  }

  /** The agent learns of the next changes of claims, and brings them and its journal together. */
  hear(changes: number): void {
    for (const change of this.#inbox.splice(0, changes)) this.#claims.onClaim(change);
    if (this.#reconciling) return;
    this.#reconciling = true;
    this.#reconcile()
      .catch(() => {})
      .finally(() => {
        this.#reconciling = false;
      });
  }

  /** Lets calls through, the first one with a fault. */
  async pass(calls: number, fault: Fault, order: number, settle: () => Promise<void>): Promise<void> {
    for (let n = 0; n < calls; n++) {
      await settle();
      if (this.gate.waiting === 0) return;
      await this.gate.pass(order * n, n === 0 ? fault : 'none');
    }
    await drain();
  }

  /** The neighbours have heard what is announced now. */
  announce(): void {
    this.#believed = new Set(this.#parts.ipam.borrowed());
  }

  async #reconcile(): Promise<void> {
    await this.#holders.reconcile();
    await this.addresses.reconcile();
  }
}
