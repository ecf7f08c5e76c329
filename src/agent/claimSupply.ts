import type { IP } from '../address/ip.ts';
import { hostPrefix } from '../address/prefix.ts';
import { systemClock } from '../clock.ts';
import type { Ipam } from '../ipam/ipam.ts';
import type { Log } from '../log.ts';
import type { Netlink } from '../netlink/socket.ts';
import type { EventRecorder } from '../store/events.ts';
import type { Store } from '../store/store.ts';
import type { Bgp } from './bgp.ts';
import type { Bindings } from './binding.ts';
import { BlockRoutes, type Passage } from './blockRoutes.ts';
import { blockOwners, borrowingOf, living } from './borrowing.ts';
import { ClaimedAddresses } from './claimedAddresses.ts';
import { ClaimHolders } from './claimHolders.ts';
import { Claims } from './claims.ts';
import type { AgentConfig } from './config.ts';
import { Loans } from './loans.ts';
import type { Overlay } from './overlay.ts';

export interface ClaimSupplyParts {
  readonly config: AgentConfig;
  /** This node's name. */
  readonly node: string;
  readonly netlink: Netlink;
  readonly ipam: Ipam;
  readonly store: Store;
  readonly bindings: Bindings;
  readonly events: Pick<EventRecorder, 'record'>;
  readonly bgp: Pick<Bgp, 'isWithdrawn'>;
  readonly overlay: Pick<Overlay, 'blockRouting' | 'leadsTo' | 'networks'>;
  readonly borrowedChanged: () => void;
  readonly log: Log;
}

/** Where pods have addresses from that are not simply drawn: claims, the blocks of other nodes, and passages to those. */
export function claimSupply(parts: ClaimSupplyParts) {
  const { config, node, netlink, ipam, store, bindings, events, bgp, overlay, log } = parts;
  const blocks = new BlockRoutes(netlink, store, config.bgp === undefined);
  const borrowing = borrowingOf({ config, node, bindings, blockRouting: overlay.blockRouting });
  const claims = new Claims(systemClock);
  const common = { claims, store, node, ipam, log };
  // Tunnels follow what the borrowers say of themselves, and go before black holes.
  const letThroughTunnels = (passages: readonly Passage[]): Set<IP> => {
    const open = passages.filter((passage) => overlay.leadsTo(passage.address, passage.node));
    return new Set(open.map(({ address }) => address));
  };
  const claimed = new ClaimedAddresses({
    ...common,
    letThrough: async (passages) =>
      config.routing === 'underlay' ? blocks.letThrough(passages) : letThroughTunnels(passages),
  });
  const holders = new ClaimHolders({
    ...common,
    rules: () => bindings.rules(),
    reasonNotToBorrow: borrowing.reasonAgainst,
    blockOwners: (addresses) => blockOwners(store, addresses),
    borrowedChanged: parts.borrowedChanged,
    isWithdrawn: (address) => bgp.isWithdrawn(hostPrefix(address)),
    tell: (pod, happening) => events.record({ kind: 'Pod', ...pod }, happening),
    clock: systemClock,
  });
  const loans = new Loans({
    ...common,
    holders,
    rules: () => bindings.rules(),
    routing: config.routing,
    reasonNotToBorrow: borrowing.reasonAgainstPool,
    // Followed for the ways to them anyhow: a list of thousands for each ADD that starves would be a burden for the server.
    networks: async () => overlay.networks() ?? (await store.list('NodeNetwork')).items,
    living: (nodes) => living(store, nodes),
    clock: systemClock,
  });
  return {
    blocks,
    borrowing,
    claims,
    claimed,
    holders,
    loans,
    async reconcileClaims(): Promise<void> {
      await holders.reconcile();
      await claimed.reconcile();
    },
  };
}
