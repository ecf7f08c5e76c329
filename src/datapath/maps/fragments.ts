import type { IP } from '../../address/ip.ts';
import { be16, choice, padding, raw, struct, u8, u32 } from '../../ebpf/codec.ts';
import { address } from './address.ts';
import { FLOW_DIRECTIONS } from './flows.ts';

interface FragmentKey {
  readonly source: IP;
  readonly destination: IP;
  readonly identification: Buffer;
  readonly protocol: number;
  readonly direction: (typeof FLOW_DIRECTIONS)[number];
}

export const fragmentKey = struct<FragmentKey>({
  source: address,
  destination: address,
  identification: raw(4),
  protocol: u8,
  direction: choice(u8, FLOW_DIRECTIONS),
  zero: padding(2),
});

export const fragment = struct<{
  source_port: number;
  destination_port: number;
  seen: number;
  protocol: number;
}>({
  source_port: be16,
  destination_port: be16,
  seen: u32,
  protocol: u32,
});

export const heldKey = struct<{ packet: FragmentKey; index: number }>({ packet: fragmentKey, index: u32 });

export const held = struct<{ length: number; seen: number; bytes: Buffer }>({
  length: u32,
  seen: u32,
  bytes: raw(9216),
});
