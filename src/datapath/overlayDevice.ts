import { type IP, type IPv4, parseIPv4 } from '../address/ip.ts';
import { type Mac, macFromBytes } from '../address/mac.ts';
import { hostPrefix } from '../address/prefix.ts';
import { LINK_GATEWAY, NOBODYS_MAC } from '../attach/plan.ts';
import { setSysctl } from '../attach/sysctl.ts';
import { deleteAddress, listAddresses, replaceAddress } from '../netlink/address.ts';
import { deleteLink, findLink, type Link, setLink } from '../netlink/link.ts';
import { replaceNeighbour } from '../netlink/neighbour.ts';
import type { Netlink } from '../netlink/socket.ts';
import { addVxlan } from '../netlink/vxlan.ts';
import { pinDirectory } from './directory.ts';
import { attachFilters, detachFilter, type FilterHook, programOfFilter } from './filters.ts';
import { withPrograms } from './pinnedPrograms.ts';

/** One device for all tunnels: the programs tell it with each packet where to. */
export const OVERLAY_DEVICE = 'tbvxlan';

/**
 * Nobody is called or calls by it. Where `net.ipv4.conf.all.rp_filter` is 2, which no device can undo for itself, a device takes
 * packets from anywhere if it has an address of its own, and none if it has none (fib_validate_source of the kernel).
 */
const FOR_LOOSE_FILTERING = hostPrefix(parseIPv4('169.254.1.2'));

/** Bytes of Ethernet, VXLAN, UDP and IPv4 headers around an IP packet (RFC 7348 §5). */
export const OVERLAY_OVERHEAD = 14 + 8 + 8 + 20;

/** RFC 7348 §5, and what the programs use for the same flows: `FIRST_TUNNEL_PORT` in bpf/encapsulation.h. */
const DYNAMIC_PORTS = [49152, 65535] as const;

export interface OverlayDevice {
  /** This end of the tunnels. */
  readonly address: IPv4;
  readonly port: number;
  readonly mtu: number;
  /** The node's own addresses in the overlay. */
  readonly addresses: readonly IP[];
  /** Whether other nodes hand packets of clients outside over to this one. */
  readonly takesOver: boolean;
}

/** The same on every node, so that nobody asks for it: `mac_of_node` in bpf/tunnel.h. */
function overlayMac(address: IPv4): Mac {
  const bytes = Buffer.from([0x02, 0x74, 0, 0, 0, 0]);
  bytes.writeUInt32BE(address, 2);
  return macFromBytes(bytes);
}

/**
 * Makes the device be as wanted, in place where that is possible. The thread stands in the node's namespace.
 *
 * @returns Its index.
 */
export function ensureOverlayDevice(bpfDir: string, node: Netlink, wanted: OverlayDevice): number {
  const link = findSuitable(node, wanted) ?? makeDevice(node, wanted);
  const mac = overlayMac(wanted.address);
  if (link.mac !== mac || link.mtu !== wanted.mtu || !link.up) {
    setLink(node, link.index, { mac, mtu: wanted.mtu, up: true });
  }
  const takeover = takeoverHook(link.index);
  const hooks = [...hooksOf(link.index), ...(wanted.takesOver ? [takeover] : [])];
  withPrograms(pinDirectory(bpfDir), (programs) => attachFilters(node, hooks, programs));
  if (!wanted.takesOver) detachFilter(node, takeover);
  // The next hop of every route by this device, so that the neighbour table holds two entries for the whole overlay.
  for (const address of Object.values(LINK_GATEWAY)) {
    replaceNeighbour(node, { index: link.index, address, mac: NOBODYS_MAC });
  }
  giveAddresses(node, link.index, wanted.addresses);
  return link.index;
}

/** Whether the programs are where {@link ensureOverlayDevice} has put them. */
export function overlayIsServed(node: Netlink, index: number, takesOver: boolean): boolean {
  const hooks = [...hooksOf(index), ...(takesOver ? [takeoverHook(index)] : [])];
  return hooks.every((hook) => programOfFilter(node, hook) !== undefined);
}

export function removeOverlayDevice(node: Netlink): void {
  if (findLink(node, OVERLAY_DEVICE)?.kind === 'vxlan') deleteLink(node, OVERLAY_DEVICE);
}

/** The port of a device cannot be changed: it is in the alias, for us and for people. */
function aliasOf(port: number): string {
  return `Tombolo's overlay, UDP port ${port}`;
}

function findSuitable(node: Netlink, { port }: OverlayDevice): Link | undefined {
  const link = findLink(node, OVERLAY_DEVICE);
  if (link === undefined) return undefined;
  if (link.kind !== 'vxlan') {
    throw new Error(`Cannot make ${OVERLAY_DEVICE}: a ${link.kind ?? 'hardware'} device has that name`);
  }
  if (link.alias === aliasOf(port)) return link;
  deleteLink(node, link.index);
  return undefined;
}

function makeDevice(node: Netlink, { address, port, mtu }: OverlayDevice): Link {
  const identity = { name: OVERLAY_DEVICE, mtu, mac: overlayMac(address) };
  addVxlan(node, { ...identity, tunnel: { by: 'packet' }, port, sourcePorts: DYNAMIC_PORTS });
  const link = findLink(node, OVERLAY_DEVICE);
  if (link === undefined) throw new Error(`Cannot make ${OVERLAY_DEVICE}: it is gone again`);
  // Nobody speaks link-local through tunnels.
  setSysctl(`ipv6/conf/${OVERLAY_DEVICE}/addr_gen_mode`, '1');
  setSysctl(`ipv6/conf/${OVERLAY_DEVICE}/disable_ipv6`, '0');
  // Who may send what through a tunnel is the programs' to say. The filter would refuse nodes' own addresses, and clients that are
  // handed over, because their way back is the uplink.
  setSysctl(`ipv4/conf/${OVERLAY_DEVICE}/rp_filter`, '0');
  setLink(node, link.index, { alias: aliasOf(port) });
  return link;
}

function giveAddresses(node: Netlink, index: number, wanted: readonly IP[]): void {
  const all = listAddresses(node, { index });
  if (!all.some(({ address }) => address.address === FOR_LOOSE_FILTERING.address))
    replaceAddress(node, { index, address: FOR_LOOSE_FILTERING, scope: 'link' });
  const known = all.filter(({ scope }) => scope === 'global');
  for (const address of wanted) {
    if (known.some((one) => one.address.address === address)) continue;
    replaceAddress(node, { index, address: hostPrefix(address), noDad: true });
  }
  for (const { address } of known) {
    if (!wanted.includes(address.address)) deleteAddress(node, { index, address });
  }
}

function hooksOf(index: number): FilterHook[] {
  return [
    { program: 'tb_vxlan_in', index, direction: 'ingress', priority: 2 },
    { program: 'tb_vxlan_out', index, direction: 'egress' },
  ];
}

/** Before `tb_vxlan_in`, which refuses packets of clients outside. */
function takeoverHook(index: number): FilterHook {
  return { program: 'tb_takeover', index, direction: 'ingress', priority: 1 };
}
