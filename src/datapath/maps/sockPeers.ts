import type { IP } from '../../address/ip.ts';
import { be16, choice, padding, struct, u8, u32, u64 } from '../../ebpf/codec.ts';
import { address } from './address.ts';

export const PEER_SIDES = ['service', 'backend'] as const;

export const sockPeerKey = struct<{
  cookie: bigint;
  address: IP;
  port: number;
  side: (typeof PEER_SIDES)[number];
}>({ cookie: u64, address, port: be16, side: choice(u8, PEER_SIDES), zero: padding(5) });

export const sockPeer = struct<{ address: IP; port: number; backend: number }>({
  address,
  port: be16,
  zero: padding(2),
  backend: u32,
});
