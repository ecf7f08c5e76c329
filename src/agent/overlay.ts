import { isDeepStrictEqual } from 'node:util';
import { type IP, isIPv4 } from '../address/ip.ts';
import { contains, hostPrefix, parsePrefix, samePrefix } from '../address/prefix.ts';
import { OVERLAY_DEVICE, OVERLAY_OVERHEAD } from '../datapath/overlayDevice.ts';
import { OVERLAY_PRIORITY } from '../datapath/overlayRoutes.ts';
import { planTunnels, type Routing, type TunnelPlan } from '../datapath/tunnelPlan.ts';
import { messageOf } from '../errors.ts';
import type { Ipam } from '../ipam/ipam.ts';
import type { Log } from '../log.ts';
import { type KernelEvent, monitor } from '../netlink/monitor.ts';
import type { Netlink } from '../netlink/socket.ts';
import type { NodeNetwork } from '../store/kinds/nodeNetwork.ts';
import type { AgentConfig } from './config.ts';
import type { NodeFacts } from './detect.ts';
import { awaitsCluster, startMasquerade } from './masquerade.ts';
import { followOverlayInputs } from './overlayInputs.ts';
import { settling } from './settling.ts';
import type { StoreState } from './storeState.ts';
import { TunnelEnd } from './tunnelEnd.ts';

/** Changes that come within this time are one. */
const SETTLE_MS = 20;

/** What the kernel has refused is tried again after this. */
const RETRY_MS = 5_000;

const HELD_BACK =
  'what pods send out of the node is held back: nodes, pools and service ranges have not been read from the store yet';

export interface OverlayParts {
  readonly config: AgentConfig;
  readonly node: NodeFacts;
  readonly ipam: Ipam;
  readonly netlink: Netlink;
  readonly store: StoreState;
  readonly log: Log;
}

/** The ways to the other nodes of the cluster and their pods. */
export interface Overlay {
  /** To be called when the node's segments have changed. */
  changed(): void;
  /** Bytes that pods' packets leave free for headers of tunnels. */
  readonly podRoom: number;
  plan(): TunnelPlan;
  /** Whether packets for this one address go to that node by a tunnel. */
  leadsTo(address: IP, node: string): boolean;
  /** How the node is reached that has a block with this address. */
  blockRouting(address: IP): Routing | undefined;
  /** Every node's network as the store had it last; undefined before all have been seen. */
  networks(): readonly NodeNetwork[] | undefined;
  /** `listener` is called whenever the ways have changed. */
  onSettled(listener: () => void): void;
  problems(): readonly string[];
  stop(): Promise<void>;
}

/** Keeps maps, device and routes as nodes and pools in the store say. Until those are known, an earlier run's serve on. */
export function joinOverlay({ config, node, ipam, netlink, store, log }: OverlayParts): Overlay {
  const { routing } = config;
  const end = new TunnelEnd({ config, node, ipam, netlink });
  let current: TunnelPlan = { prefixes: [], overlay: false, handover: false, problems: [] };
  let failure: string | undefined;
  let settled = () => {};

  const planned = () =>
    planTunnels({
      name: node.name,
      routing,
      address: node.ips.find(isIPv4),
      networks: inputs.networks.all(),
      pools: inputs.pools.all(),
      services: inputs.serviceRanges(),
      exceptions: config.masqueradeExceptions,
      handedOver: inputs.handsOver(),
    });
  const settle = settling(
    SETTLE_MS,
    async () => {
      if (!inputs.isComplete()) return;
      const plan = planned();
      if (!isDeepStrictEqual(plan.problems, current.problems)) {
        for (const problem of plan.problems) log.warning('overlay', { problem });
      }
      await end.follow(plan);
      startMasquerade(config);
      const changed = !isDeepStrictEqual(plan.prefixes, current.prefixes);
      current = plan;
      failure = undefined;
      if (changed) settled();
    },
    (error) => {
      failure = messageOf(error);
      log.error('the overlay cannot be brought up to date', { error });
      settle.later(RETRY_MS);
    },
  );

  const inputs = followOverlayInputs(store, node.name, settle.soon);
  const watch = monitor(['link', 'route', 'filter'], (event) => {
    if (event.kind === 'filter' && end.isStripped(event.index)) {
      log.warning('programs were taken off tbvxlan, and are put back');
      settle.soon();
    }
    if ((current.overlay || current.handover) && isLoss(event)) settle.soon();
  });

  return {
    changed: settle.soon,
    podRoom: routing === 'overlay' ? OVERLAY_OVERHEAD : 0,
    plan: () => current,
    leadsTo: (address, to) =>
      current.prefixes.some(
        ({ prefix, endpoint, node }) =>
          node === to && endpoint !== undefined && samePrefix(prefix, hostPrefix(address)),
      ),
    blockRouting(address) {
      const owner = inputs.networks
        .all()
        .find(({ spec }) => (spec.segments ?? []).some(({ cidr }) => contains(parsePrefix(cidr), address)));
      return owner && (owner.status?.routing ?? 'underlay');
    },
    networks: () => (inputs.networks.listed ? inputs.networks.all() : undefined),
    onSettled(listener) {
      settled = listener;
    },
    problems: () => [
      ...(awaitsCluster(config) ? [HELD_BACK] : []),
      ...current.problems,
      ...(failure === undefined ? [] : [failure]),
    ],
    async stop() {
      watch.close();
      await settle.stop();
    },
  };
}

/** Whether somebody may have taken away what is ours: network managers tidy up what they do not know. */
function isLoss(event: KernelEvent): boolean {
  switch (event.kind) {
    case 'overrun':
      return true;
    case 'link':
      return event.change === 'deleted' && event.link.name === OVERLAY_DEVICE;
    case 'route':
      return event.change === 'deleted' && event.route.priority === OVERLAY_PRIORITY;
    default:
      return false;
  }
}
