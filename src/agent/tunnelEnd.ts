import { isIPv4 } from '../address/ip.ts';
import {
  ensureOverlayDevice,
  OVERLAY_OVERHEAD,
  overlayIsServed,
  removeOverlayDevice,
} from '../datapath/overlayDevice.ts';
import { writeOverlayRoutes } from '../datapath/overlayRoutes.ts';
import type { TunnelPlan } from '../datapath/tunnelPlan.ts';
import { writeTunnels } from '../datapath/tunnels.ts';
import { changeThisNode } from '../datapath/uplink.ts';
import type { Ipam } from '../ipam/ipam.ts';
import type { Netlink } from '../netlink/socket.ts';
import type { AgentConfig } from './config.ts';
import type { NodeFacts } from './detect.ts';
import { freeOverlayAddresses, holdOverlayAddresses } from './overlayAddresses.ts';

/** Where there is no uplink to ask. */
const ETHERNET_MTU = 1500;

export interface TunnelEndParts {
  readonly config: Pick<AgentConfig, 'bpfDir' | 'vxlanPort'>;
  readonly node: Pick<NodeFacts, 'ips' | 'uplinks'>;
  readonly ipam: Ipam;
  readonly netlink: Netlink;
}

/** This node's end of the tunnels: device, maps, routes and the node's own addresses in the overlay. */
export class TunnelEnd {
  readonly #parts: TunnelEndParts;
  #uplinkMtu = ETHERNET_MTU;
  #device: { readonly index: number; readonly takesOver: boolean } | undefined;

  constructor(parts: TunnelEndParts) {
    this.#parts = parts;
  }

  /**
   * Makes it what the plan says, or takes it away where that has no use for one.
   *
   * @throws {SystemError} If the kernel refuses some of it; to be tried again as a whole.
   */
  async follow(plan: TunnelPlan): Promise<void> {
    await (plan.overlay || plan.handover ? this.#join(plan) : this.#leave(plan));
  }

  /** Whether this is the device of the tunnels, and somebody has taken programs off it. */
  isStripped(index: number): boolean {
    const device = this.#device;
    return device?.index === index && !overlayIsServed(this.#parts.netlink, index, device.takesOver);
  }

  async #join(plan: TunnelPlan): Promise<void> {
    const { config, ipam, netlink } = this.#parts;
    const { bpfDir, vxlanPort: port } = config;
    const address = this.#address;
    if (address === undefined) return;
    // Where no pod is reached through tunnels, the node needs no address to reach them from.
    const addresses = plan.overlay ? await holdOverlayAddresses(ipam) : [];
    if (!plan.overlay) await freeOverlayAddresses(ipam);
    const mtu = this.#mtu();
    const device = { address, port, mtu, addresses, takesOver: plan.handover };
    const vxlan = ensureOverlayDevice(bpfDir, netlink, device);
    this.#device = { index: vxlan, takesOver: plan.handover };
    writeTunnels(bpfDir, plan.prefixes);
    changeThisNode(bpfDir, { vxlan, address, overlay_mtu: mtu, tunnel_port: port });
    const tunnelled = plan.prefixes.filter(({ endpoint, of }) => endpoint !== undefined && of === 'pods');
    writeOverlayRoutes(
      netlink,
      vxlan,
      tunnelled.map(({ prefix }) => prefix),
      addresses,
    );
  }

  async #leave(plan: TunnelPlan): Promise<void> {
    const { config, ipam, netlink } = this.#parts;
    writeTunnels(config.bpfDir, plan.prefixes);
    changeThisNode(config.bpfDir, { vxlan: 0, address: this.#address, overlay_mtu: this.#mtu() });
    removeOverlayDevice(netlink);
    this.#device = undefined;
    await freeOverlayAddresses(ipam);
  }

  get #address() {
    return this.#parts.node.ips.find(isIPv4);
  }

  /** Of the narrowest uplink; while there is none, as before. */
  #mtu(): number {
    const { uplinks } = this.#parts.node;
    if (uplinks.length > 0) this.#uplinkMtu = Math.min(...uplinks.map(({ mtu }) => mtu));
    return this.#uplinkMtu - OVERLAY_OVERHEAD;
  }
}
