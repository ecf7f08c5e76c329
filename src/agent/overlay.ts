import { isDeepStrictEqual } from 'node:util';
import { type IP, isIPv4 } from '../address/ip.ts';
import { contains, hostPrefix, parsePrefix, samePrefix } from '../address/prefix.ts';
import { isHandedOver } from '../datapath/outsideSets.ts';
import {
  ensureOverlayDevice,
  OVERLAY_DEVICE,
  OVERLAY_OVERHEAD,
  removeOverlayDevice,
} from '../datapath/overlayDevice.ts';
import { OVERLAY_PRIORITY, writeOverlayRoutes } from '../datapath/overlayRoutes.ts';
import { planTunnels, type Routing, type TunnelPlan } from '../datapath/tunnelPlan.ts';
import { writeTunnels } from '../datapath/tunnels.ts';
import { changeThisNode } from '../datapath/uplink.ts';
import type { Ipam } from '../ipam/ipam.ts';
import type { Log } from '../log.ts';
import { type KernelEvent, monitor } from '../netlink/monitor.ts';
import type { Netlink } from '../netlink/socket.ts';
import type { Change } from '../store/follow.ts';
import type { BGPConfiguration } from '../store/kinds/bgpConfiguration.ts';
import type { IPPool } from '../store/kinds/ipPool.ts';
import type { NodeNetwork } from '../store/kinds/nodeNetwork.ts';
import type { Service } from '../store/kinds/service.ts';
import { keyOf, keyText } from '../store/store.ts';
import { AnnouncedClusterIPs } from './announcedClusterIPs.ts';
import { serviceRangesOn } from './bgpServices.ts';
import type { AgentConfig } from './config.ts';
import type { NodeFacts } from './detect.ts';
import { Inventory } from './inventory.ts';
import { awaitsCluster, startMasquerade } from './masquerade.ts';
import { freeOverlayAddresses, holdOverlayAddresses } from './overlayAddresses.ts';
import { settling } from './settling.ts';
import type { StoreState } from './storeState.ts';

/** Changes that come within this time are one. */
const SETTLE_MS = 20;

/** What the kernel has refused is tried again after this. */
const RETRY_MS = 5_000;

const HELD_BACK =
  'what pods send out of the node is held back: nodes, pools and service ranges have not been read from the store yet';

/** Where there is no uplink to ask. */
const ETHERNET_MTU = 1500;

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
  const networks = new Inventory<NodeNetwork>(waysTo);
  const pools = new Inventory<IPPool>(({ spec }) => spec);
  const configurations = new Inventory<BGPConfiguration>();
  const announced = new AnnouncedClusterIPs();
  const services = new HandedOverServices(announced);
  const ownAddress = () => node.ips.find(isIPv4);
  let uplinkMtu = ETHERNET_MTU;
  /** Of the narrowest uplink; while there is none, as before. */
  const overlayMtu = () => {
    if (node.uplinks.length > 0) uplinkMtu = Math.min(...node.uplinks.map(({ mtu }) => mtu));
    return uplinkMtu - OVERLAY_OVERHEAD;
  };
  const { bpfDir, routing, vxlanPort: port } = config;
  let current: TunnelPlan = { prefixes: [], overlay: false, handover: false, problems: [] };
  let failure: string | undefined;
  let retry: NodeJS.Timeout | undefined;
  let settled = () => {};

  const serviceRanges = () => {
    const { clusterIPs, externalIPs, loadBalancerIPs } = serviceRangesOn(node.name, configurations.all());
    return [...clusterIPs, ...externalIPs, ...loadBalancerIPs];
  };

  const join = async (plan: TunnelPlan) => {
    const address = ownAddress();
    if (address === undefined) return;
    // Where no pod is reached through tunnels, the node needs no address to reach them from.
    const addresses = plan.overlay ? await holdOverlayAddresses(ipam) : [];
    if (!plan.overlay) await freeOverlayAddresses(ipam);
    const device = { address, port, mtu: overlayMtu(), addresses, takesOver: plan.handover };
    const vxlan = ensureOverlayDevice(bpfDir, netlink, device);
    writeTunnels(bpfDir, plan.prefixes);
    changeThisNode(bpfDir, { vxlan, address, overlay_mtu: overlayMtu(), tunnel_port: port });
    const tunnelled = plan.prefixes.filter(({ endpoint, of }) => endpoint !== undefined && of === 'pods');
    writeOverlayRoutes(
      netlink,
      vxlan,
      tunnelled.map(({ prefix }) => prefix),
      addresses,
    );
  };

  const leave = async (plan: TunnelPlan) => {
    writeTunnels(bpfDir, plan.prefixes);
    changeThisNode(bpfDir, { vxlan: 0, address: ownAddress(), overlay_mtu: overlayMtu() });
    removeOverlayDevice(netlink);
    await freeOverlayAddresses(ipam);
  };

  const settle = settling(
    SETTLE_MS,
    async () => {
      if (!networks.listed || !pools.listed || !configurations.listed || !services.listed) return;
      const inputs = {
        name: node.name,
        routing,
        address: ownAddress(),
        networks: networks.all(),
        pools: pools.all(),
        services: serviceRanges(),
        exceptions: config.masqueradeExceptions,
        handedOver: services.any,
      };
      const plan = planTunnels(inputs);
      if (!isDeepStrictEqual(plan.problems, current.problems)) {
        for (const problem of plan.problems) log.warning('overlay', { problem });
      }
      await (plan.overlay || plan.handover ? join(plan) : leave(plan));
      startMasquerade(config);
      const changed = !isDeepStrictEqual(plan.prefixes, current.prefixes);
      current = plan;
      failure = undefined;
      if (changed) settled();
    },
    (error) => {
      failure = error instanceof Error ? error.message : String(error);
      log.error('the overlay cannot be brought up to date', { error });
      clearTimeout(retry);
      retry = setTimeout(() => settle.soon(), RETRY_MS);
    },
  );

  store.follow('NodeNetwork', (change) => {
    if (networks.take(change)) settle.soon();
  });
  store.follow('IPPool', (change) => {
    if (pools.take(change)) settle.soon();
  });
  store.follow('BGPConfiguration', (change) => {
    announced.take(change);
    if (configurations.take(change)) settle.soon();
  });

  store.follow('Service', (change) => {
    if (services.take(change)) settle.soon();
  });

  const watch = monitor(['link', 'route'], (event) => {
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
      const owner = networks
        .all()
        .find(({ spec }) => (spec.segments ?? []).some(({ cidr }) => contains(parsePrefix(cidr), address)));
      return owner && (owner.status?.routing ?? 'underlay');
    },
    networks: () => (networks.listed ? networks.all() : undefined),
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
      clearTimeout(retry);
    },
  };
}

/** Whether there are services whose packets nodes hand over to each other. */
class HandedOverServices {
  readonly #announced: AnnouncedClusterIPs;
  readonly #services = new Map<string, Service>();
  #listed = false;

  constructor(announced: AnnouncedClusterIPs) {
    this.#announced = announced;
  }

  get listed(): boolean {
    return this.#listed;
  }

  get any(): boolean {
    for (const service of this.#services.values()) {
      if (isHandedOver(service, this.#announced.ranges)) return true;
    }
    return false;
  }

  /** @returns Whether an answer of this one may be different now. */
  take(change: Change<Service>): boolean {
    if (change.type === 'interrupted') return false;
    if (change.type === 'replaced') {
      this.#listed = true;
      this.#services.clear();
      for (const service of change.objects) this.#services.set(keyText(keyOf(service)), service);
      return true;
    }
    const key = keyText(keyOf(change.object));
    const before = this.#services.get(key);
    if (change.type === 'applied') this.#services.set(key, change.object);
    else this.#services.delete(key);
    const counts = (service: Service | undefined) =>
      service !== undefined && isHandedOver(service, this.#announced.ranges);
    return counts(before) !== counts(this.#services.get(key));
  }
}

/** Of all that nodes say of themselves, what decides on the ways to them: not how many addresses are in use. */
function waysTo({ spec, status }: NodeNetwork): unknown {
  const reported = status?.segments?.map(({ cidr, gateway }) => [cidr, gateway]);
  return [spec.segments, status?.nodeIPs, status?.routing, status?.borrowed, reported];
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
