import type { AddressSource } from '../../cni/addresses.ts';
import { CniError, CODE } from '../../cni/protocol/error.ts';
import { bitsOf, familyOf, formatIP, type IP } from '../address/ip.ts';
import { contains } from '../address/prefix.ts';
import { messageOf } from '../errors.ts';
import { isDiskFull } from '../ffi/systemError.ts';
import { type Allocation, Refusal, type RefusalReason, type Request } from '../ipam/allocator.ts';
import type { Source } from '../ipam/binding.ts';
import type { Ipam, Reservation } from '../ipam/ipam.ts';
import type { PodName, Terms } from './binding.ts';
import type { ClaimHolders, ClaimRequest } from './claimHolders.ts';
import type { LoanRequest, Loans } from './loans.ts';
import type { Shortage } from './shortage.ts';

/** What clears up by itself, when a pod goes or a segment comes, and what only another request can mend. */
const CODES: Record<RefusalReason, number> = {
  'no segment': CODE.tryAgainLater,
  exhausted: CODE.tryAgainLater,
  resting: CODE.tryAgainLater,
  taken: CODE.tryAgainLater,
  outside: CODE.invalidConfiguration,
  reserved: CODE.invalidConfiguration,
  held: CODE.failed,
};

/**
 * So long an ADD waits on a node that ran dry, in milliseconds. An operator that is there answers within one second; a
 * new leader is found within its lease, and until then the runtime is better told to come again than kept waiting.
 */
const PATIENCE_MS = 5_000;

/** So long it waits where the only addresses left have not rested yet: better one of these than none. */
const REST_PATIENCE_MS = 2_000;

/** What the addresses of a node depend on beyond the node. */
export interface Supply {
  /** Where a pod's addresses come from, and which; undefined where nobody can say and no pool is concerned. */
  termsOf(pod: PodName | undefined): Promise<Terms | undefined>;
  readonly claims: Pick<ClaimHolders, 'hold'>;
  readonly loans: Pick<Loans, 'borrow'>;
  readonly shortage: Shortage;
  /** Whether somebody could give the node another segment. */
  mayGrow(): boolean;
  /** Tells people why a pod has no address. */
  failed(pod: PodName, error: unknown): void;
  /** Why nobody does, as far as the operator has said. */
  reason(source: Source): string | undefined;
}

/** The node's own IPAM, as the CNI verbs see it. */
export function addressesOf(ipam: Ipam, supply: Supply): AddressSource {
  return {
    async allocate({ owner, pod, ips, onLink }) {
      try {
        const terms = await supply.termsOf(pod);
        const addresses = ips.length > 0 ? ips : (terms?.addresses ?? []);
        const request = { owner, pod, addresses, onLink, sources: terms?.sources };
        const claimed = pod && terms && (terms.claim ?? terms.wish) !== undefined;
        const { allocation, durable } = claimed
          ? await holdClaim(ipam, supply, { ...request, pod, terms: { ...terms, addresses } })
          : await reserveOrBorrow(ipam, supply, request, pod && terms && { owner, pod, terms, onLink });
        return { ips: interfaceAddresses(ipam, allocation), routes: [], dns: NO_DNS, durable };
      } catch (error) {
        const told = error instanceof Refusal ? refused(error, supply) : error;
        if (pod) supply.failed(pod, told);
        throw told;
      }
    },

    async release(owner) {
      await ipam.release(owner).catch((error: unknown) => {
        // A full disk gets room by pods that go. Nobody is given anything before it has taken this, too; if the agent
        // is killed before that, the addresses are the runtime's GC to find.
        if (!isDiskFull(error)) throw error;
      });
      supply.shortage.relieve();
    },

    async check(owner, ips) {
      const held = ipam.heldBy(owner)?.addresses ?? [];
      if (!sameSet(held, ips)) {
        const expected = ips.map(formatIP).join(', ') || 'none';
        const found = held.map(formatIP).join(', ') || 'none';
        throw new Error(
          `Cannot confirm the addresses of container ${owner.containerID}: expected ${expected}, the journal says ${found}`,
        );
      }
    },

    async collect(network, isValid) {
      const stale = ipam.allocations().filter(({ owner }) => owner.network === network && !isValid(owner));
      const results = await Promise.allSettled(stale.map(({ owner }) => ipam.release(owner)));
      const failures = results.flatMap((result) => (result.status === 'rejected' ? [result.reason] : []));
      if (failures.length > 0) {
        const reason = failures.map(messageOf).join('; ');
        throw new Error(`Cannot release ${failures.length} of ${stale.length} allocations: ${reason}`);
      }
    },

    async status() {
      // A full node that may grow is not an unready one: the ADD that finds it full waits for the segment.
      if (ipam.available() || (ipam.segments().length > 0 && supply.mayGrow())) return;
      throw new CniError(CODE.notAvailable, 'Cannot attach pods: no address is free on this node');
    },
  };
}

async function holdClaim(
  ipam: Ipam,
  supply: Supply,
  {
    owner,
    pod,
    terms,
    onLink = false,
  }: Omit<ClaimRequest, 'draw' | 'onLink'> & { readonly onLink?: boolean | undefined },
): Promise<Reservation> {
  const draw = async (request: Request) => {
    const { allocation, durable } = await reservePatiently(ipam, supply, request);
    await durable;
    return allocation;
  };
  const allocation = await supply.claims.hold({ owner, pod, terms, onLink, draw });
  return { allocation, durable: Promise.resolve() };
}

/** Where the operator has no further block for the node, another node may lend an address of its own. */
async function reserveOrBorrow(
  ipam: Ipam,
  supply: Supply,
  request: Request,
  loan: (Omit<LoanRequest, 'onLink'> & { readonly onLink?: boolean | undefined }) | undefined,
): Promise<Reservation> {
  try {
    return await reservePatiently(ipam, supply, request, loan !== undefined);
  } catch (error) {
    if (!(error instanceof Refusal) || !error.short || !loan || request.addresses.length > 0) throw error;
    try {
      const allocation = await supply.loans.borrow({ ...loan, onLink: loan.onLink ?? false }, error.short);
      return { allocation, durable: Promise.resolve() };
    } catch (refusal) {
      const { code, message } = refused(error, supply);
      throw new CniError(code, `${message}; and ${messageOf(refusal)}`);
    }
  }
}

/**
 * A node that ran dry says so at once, and waits for the segment that the operator gives it. One that has nothing left but
 * addresses that rest does the same, for a shorter time; unless the operator has said already that there is no segment.
 */
async function reservePatiently(
  ipam: Ipam,
  supply: Supply,
  request: Request,
  mayBorrow = false,
): Promise<Reservation> {
  const began = performance.now();
  const left = (patience: number) => Math.max(0, began + patience - performance.now());
  for (;;) {
    const hopeful = (request.sources ?? []).every((source) => supply.reason(source) === undefined);
    const rested = supply.mayGrow() && hopeful && left(REST_PATIENCE_MS) > 0;
    try {
      return ipam.reserve({ ...request, rested });
    } catch (error) {
      if (!(error instanceof Refusal) || !error.short || !supply.mayGrow()) throw error;
      if (mayBorrow && supply.reason(error.short) !== undefined) throw error;
      if (error.reason !== 'resting' && left(PATIENCE_MS) === 0) throw error;
      await supply.shortage.wait(
        error.short,
        left(error.reason === 'resting' ? REST_PATIENCE_MS : PATIENCE_MS),
      );
    }
  }
}

function refused({ reason, short, message }: Refusal, supply: Supply): CniError {
  if (short) supply.shortage.refused(short);
  const why = short && supply.reason(short);
  return new CniError(CODES[reason], why === undefined ? message : `${message}; the operator says: ${why}`);
}

const NO_DNS = { nameservers: [], domain: undefined, search: [], options: [] };

/** On an L2 segment with its length and gateway, on a routed one alone. */
function interfaceAddresses(ipam: Ipam, { addresses }: Allocation) {
  return addresses.map((address) => {
    const segment = ipam.segments().find(({ prefix }) => contains(prefix, address));
    const length = segment?.gateway === undefined ? bitsOf(familyOf(address)) : segment.prefix.length;
    return { address: { address, length }, gateway: segment?.gateway };
  });
}

function sameSet(a: readonly IP[], b: readonly IP[]): boolean {
  return a.length === b.length && a.every((address) => b.includes(address));
}
