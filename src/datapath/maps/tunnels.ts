import type { IP, IPv4 } from '../../address/ip.ts';
import { struct, u32 } from '../../ebpf/codec.ts';
import { address, ipv4OrNone } from './address.ts';

/** A key of the longest-prefix map: of IPv4 the length is 96 more than written. */
export interface TunnelKey {
  readonly length: number;
  readonly address: IP;
}

export const tunnelKey = struct<TunnelKey>({ length: u32, address });

export interface Tunnel {
  /** The node to tunnel to; none where the network itself knows the way. */
  readonly endpoint: IPv4 | undefined;
  /** Of {@link TUNNEL_FLAGS}. */
  readonly flags: number;
  /** The node that takes packets over for what is there. */
  readonly holder: IPv4 | undefined;
}

/** `TUNNEL_…` of bpf/maps/tunnels.h. */
export const TUNNEL_FLAGS = { ofPods: 1, ofServices: 2 } as const;

export const tunnel = struct<Tunnel>({ endpoint: ipv4OrNone, flags: u32, holder: ipv4OrNone });
