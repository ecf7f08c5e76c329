import type { IP, IPv4 } from '../../address/ip.ts';
import { be16, padding, struct, u16, u32, upTo } from '../../ebpf/codec.ts';
import { address, ipv4OrNone } from './address.ts';

/** Devices towards leaves that a node may have. */
export const UPLINKS = 4;

/** What the programs know of this node. */
export interface ThisNode {
  /** ifindexes of the devices towards the leaves, at most {@link UPLINKS}. */
  readonly uplinks: readonly number[];
  /** ifindex of tbvxlan; 0: there is no overlay. */
  readonly vxlan: number;
  readonly address: IPv4 | undefined;
  readonly overlay_mtu: number;
  /** Of {@link NODE_FLAGS}. */
  readonly flags: number;
  /** Ports of translated flows, none of which the node's sockets are given. */
  readonly first_port: number;
  readonly ports: number;
  /** UDP port of the overlay, at every node; 0: tbvxlan alone tunnels. */
  readonly tunnel_port: number;
  /** {@link NO_ADDRESS} where it has none. */
  readonly ipv6: IP;
}

/** `NODE_…` of bpf/maps/node.h. */
export const NODE_FLAGS = { masquerades: 1, awaitsCluster: 2 } as const;

export const thisNode = struct<ThisNode>({
  uplinks: upTo(UPLINKS, u32),
  vxlan: u32,
  address: ipv4OrNone,
  overlay_mtu: u32,
  flags: u32,
  first_port: u16,
  ports: u16,
  tunnel_port: be16,
  zero: padding(2),
  ipv6: address,
});
