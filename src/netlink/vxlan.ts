import { type IP, isIPv4 } from '../address/ip.ts';
import { type Attribute, attribute, ip, port, u8, u32 } from './attribute.ts';
import { addLink, type NewLink } from './link.ts';
import type { Sink } from './socket.ts';

const IFLA_VXLAN = {
  ID: 1,
  GROUP: 2,
  LINK: 3,
  LOCAL: 4,
  TTL: 5,
  LEARNING: 7,
  PORT_RANGE: 10,
  PORT: 15,
  GROUP6: 16,
  LOCAL6: 17,
  UDP_CSUM: 18,
  UDP_ZERO_CSUM6_TX: 19,
  UDP_ZERO_CSUM6_RX: 20,
  COLLECT_METADATA: 25,
} as const;

export interface NewVxlan extends NewLink {
  /** One network of its own, or whichever the eBPF program (or route) names with each packet. */
  readonly tunnel: { readonly by: 'vni'; readonly vni: number } | { readonly by: 'packet' };
  /** UDP port of both ends. @default 4789 (RFC 7348) */
  readonly port?: number;
  /** UDP ports to send from, the flow deciding which. @default those of the node's own sockets */
  readonly sourcePorts?: readonly [first: number, last: number];
  readonly local?: IP | undefined;
  /** Where a frame goes that no FDB entry knows. */
  readonly remote?: IP | undefined;
  /** Index of the device the tunnel leaves by. */
  readonly parent?: number | undefined;
  /** Whether addresses seen in arriving frames enter the FDB. @default false */
  readonly learning?: boolean;
  /** UDP checksums over IPv4. @default true */
  readonly checksum?: boolean;
}

/** Makes a VXLAN tunnel device (RFC 7348). */
export function addVxlan(sink: Sink, vxlan: NewVxlan): void {
  const { tunnel, port: udpPort = 4789, local, remote, parent, learning = false, checksum = true } = vxlan;
  addLink(sink, 'vxlan', vxlan, [
    tunnel.by === 'vni' ? u32(IFLA_VXLAN.ID, tunnel.vni) : u8(IFLA_VXLAN.COLLECT_METADATA, 1),
    port(IFLA_VXLAN.PORT, udpPort),
    vxlan.sourcePorts && ports(IFLA_VXLAN.PORT_RANGE, vxlan.sourcePorts),
    local !== undefined ? ip(isIPv4(local) ? IFLA_VXLAN.LOCAL : IFLA_VXLAN.LOCAL6, local) : undefined,
    remote !== undefined ? ip(isIPv4(remote) ? IFLA_VXLAN.GROUP : IFLA_VXLAN.GROUP6, remote) : undefined,
    parent !== undefined ? u32(IFLA_VXLAN.LINK, parent) : undefined,
    u8(IFLA_VXLAN.LEARNING, Number(learning)),
    u8(IFLA_VXLAN.UDP_CSUM, Number(checksum)),
  ] satisfies Attribute[]);
}

/** `struct ifla_vxlan_port_range`: two ports in network order. */
function ports(type: number, [first, last]: readonly [number, number]): Buffer {
  const bytes = Buffer.allocUnsafe(4);
  bytes.writeUInt16BE(first);
  bytes.writeUInt16BE(last, 2);
  return attribute(type, bytes);
}
