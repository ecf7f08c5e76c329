import type { IP } from '../../address/ip.ts';
import { struct, u32 } from '../../ebpf/codec.ts';
import { address } from './address.ts';

/** `NETNS_…` of bpf/maps/netns.h: what serves a network namespace. */
export const NETNS_FLAGS = { socket: 1, packet: 2 } as const;

export interface Netns {
  /** Of {@link NETNS_FLAGS}. */
  readonly flags: number;
  /** The pod's or node's own; {@link NO_ADDRESS} where it has none. */
  readonly ipv4: IP;
  readonly ipv6: IP;
}

export const netns = struct<Netns>({ flags: u32, ipv4: address, ipv6: address });
