import type { IP } from '../address/ip.ts';
import { hostPrefix, type Prefix } from '../address/prefix.ts';
import { systemClock } from '../clock.ts';
import type { Ipam } from '../ipam/ipam.ts';
import type { Log } from '../log.ts';
import type { Netlink } from '../netlink/socket.ts';
import type { EventRecorder } from '../store/events.ts';
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
import { settling } from './settling.ts';
import type { StoreState } from './storeState.ts';

/** Changes that come within this time are one. */
const SETTLE_MS = 20;

/** What could not be brought together, or is still to be let go of, is looked at again after this. */
const RETRY_MS = 5_000;

export interface ClaimSupplyParts {
  readonly config: AgentConfig;
  /** This node's name. */
  readonly node: string;
  readonly netlink: Netlink;
  readonly ipam: Ipam;
  readonly store: StoreState;
  readonly bindings: Bindings;
  readonly events: Pick<EventRecorder, 'record'>;
  readonly bgp: Pick<Bgp, 'isWithdrawn' | 'onLeaving'>;
  readonly overlay: Pick<Overlay, 'blockRouting' | 'leadsTo' | 'networks' | 'onSettled'>;
  readonly borrowedChanged: () => void;
  readonly log: Log;
}

export interface ClaimSupply {
  readonly holders: ClaimHolders;
  readonly loans: Loans;
  /** To be called before the node is assigned further blocks: what of them is claimed is given to no other pod. */
  prepare(blocks: readonly Prefix[]): Promise<void>;
  /** To be called when the node's blocks are others than before. */
  blocksChanged(): void;
  /** To be called when addresses have come or gone. */
  changed(): void;
  /** Brings claims, journal and the routes of this node's blocks together now, whatever was found to be right before. */
  reconcile(): Promise<void>;
  stop(): Promise<void>;
}

/** Where pods have addresses from that are not simply drawn: claims, the blocks of other nodes, and passages to those. */
export function claimSupply(parts: ClaimSupplyParts): ClaimSupply {
  const { config, node, netlink, ipam, bindings, events, bgp, overlay, log } = parts;
  const { store } = parts.store;
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
  const bringTogether = async () => {
    await holders.reconcile();
    await claimed.reconcile();
  };
  const reconcile = settling(
    SETTLE_MS,
    async () => {
      await bringTogether();
      if (holders.leaving().length > 0) reconcile.later(RETRY_MS);
    },
    (error) => {
      log.warning('claims and journal cannot be brought together; it is tried again', { error });
      reconcile.later(RETRY_MS);
    },
  );

  bgp.onLeaving(() => holders.leaving().map(hostPrefix));
  overlay.onSettled(() => {
    if (config.routing === 'overlay') reconcile.soon();
  });
  parts.store.follow('IPAMConfiguration', borrowing.onConfiguration);
  parts.store.follow('IPClaim', (change) => {
    claims.onClaim(change);
    reconcile.soon();
  });
  return {
    holders,
    loans,
    prepare: (prefixes) => claimed.prepare(prefixes),
    blocksChanged() {
      blocks.drop(ipam.segments());
      reconcile.soon();
    },
    changed: reconcile.soon,
    async reconcile() {
      blocks.compareAgain();
      blocks.drop(ipam.segments());
      await bringTogether();
    },
    stop: reconcile.stop,
  };
}
