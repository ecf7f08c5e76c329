import type { IP } from '../../address/ip.ts';
import { be16, choice, padding, struct, u8, u32 } from '../../ebpf/codec.ts';
import { address } from './address.ts';
import { FLOW_STATES } from './flows.ts';

/** A packet at the uplink before translation; an ICMP echo has its identifier for the port of who asks. */
export interface NatKey {
  readonly source: IP;
  readonly destination: IP;
  readonly source_port: number;
  readonly destination_port: number;
  readonly protocol: number;
}

export const natKey = struct<NatKey>({
  source: address,
  destination: address,
  source_port: be16,
  destination_port: be16,
  protocol: u8,
  zero: padding(3),
});

/** What becomes of it; times are seconds of CLOCK_MONOTONIC. */
export interface Nat {
  readonly source: IP;
  readonly destination: IP;
  readonly source_port: number;
  readonly destination_port: number;
  readonly service: number;
  readonly backend: number;
  readonly seen: number;
  readonly since: number;
  readonly state: (typeof FLOW_STATES)[number];
  /** Of {@link FLOW_FLAGS}, and {@link NAT_FLAGS}. */
  readonly flags: number;
}

/** `NAT_…` of bpf/maps/nat.h. */
export const NAT_FLAGS = { reply: 128, direct: 64 } as const;

export const nat = struct<Nat>({
  source: address,
  destination: address,
  source_port: be16,
  destination_port: be16,
  service: u32,
  backend: u32,
  seen: u32,
  since: u32,
  state: choice(u8, FLOW_STATES),
  flags: u8,
  zero: padding(2),
});
