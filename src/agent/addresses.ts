import type { AddressOwner, AddressSource } from '../../cni/addresses.ts';
import { CniError, CODE } from '../../cni/protocol/error.ts';
import { bitsOf, familyOf, formatIP, type IP } from '../address/ip.ts';
import { contains } from '../address/prefix.ts';
import { messageOf } from '../errors.ts';
import { type Allocation, Refusal, type RefusalReason } from '../ipam/allocator.ts';
import type { Ipam } from '../ipam/ipam.ts';

/** What clears up by itself, when a pod goes or a segment comes, and what only another request can mend. */
const CODES: Record<RefusalReason, number> = {
  'no segment': CODE.tryAgainLater,
  exhausted: CODE.tryAgainLater,
  taken: CODE.tryAgainLater,
  outside: CODE.invalidConfiguration,
  reserved: CODE.invalidConfiguration,
  held: CODE.failed,
};

/** The node's own IPAM, as the CNI verbs see it. */
export function addressesOf(ipam: Ipam): AddressSource {
  return {
    async allocate({ owner, pod, ips, onLink }) {
      try {
        const allocation = await ipam.allocate({ owner, pod, addresses: ips, onLink });
        return { ips: interfaceAddresses(ipam, allocation), routes: [], dns: NO_DNS };
      } catch (error) {
        if (error instanceof Refusal) throw new CniError(CODES[error.reason], error.message);
        throw error;
      }
    },

    async release(owner) {
      await ipam.release(owner);
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

    async collect(network, valid) {
      const kept = new Set(valid.map(keyOf));
      const stale = ipam
        .allocations()
        .filter(({ owner }) => owner.network === network && !kept.has(keyOf(owner)));
      const results = await Promise.allSettled(stale.map(({ owner }) => ipam.release(owner)));
      const failures = results.flatMap((result) => (result.status === 'rejected' ? [result.reason] : []));
      if (failures.length > 0) {
        const reason = failures.map(messageOf).join('; ');
        throw new Error(`Cannot release ${failures.length} of ${stale.length} allocations: ${reason}`);
      }
    },

    async status() {
      if (ipam.available()) return;
      throw new CniError(CODE.notAvailable, 'Cannot attach pods: no address is free on this node');
    },
  };
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

function keyOf({ containerID, ifName }: Pick<AddressOwner, 'containerID' | 'ifName'>): string {
  return `${containerID}/${ifName}`;
}

function sameSet(a: readonly IP[], b: readonly IP[]): boolean {
  return a.length === b.length && a.every((address) => b.includes(address));
}
