import type { IP } from '../../address/ip.ts';
import { be16, choice, padding, raw, struct, u8, u32 } from '../../ebpf/codec.ts';
import { address } from './address.ts';

export const FLOW_DIRECTIONS = ['forward', 'reply'] as const;

export interface FlowKey {
  readonly source: IP;
  readonly destination: IP;
  readonly source_port: number;
  readonly destination_port: number;
  readonly protocol: number;
  readonly direction: (typeof FLOW_DIRECTIONS)[number];
}

export const flowKey = struct<FlowKey>({
  source: address,
  destination: address,
  source_port: be16,
  destination_port: be16,
  protocol: u8,
  direction: choice(u8, FLOW_DIRECTIONS),
  zero: padding(2),
});

export const FLOW_STATES = ['new', 'open', 'closing', 'reset'] as const;

/** `FLOW_…` flags of bpf/maps/flows.h. */
export const FLOW_FLAGS = {
  direct: 1,
  self: 2,
  clientFin: 4,
  serverFin: 8,
  lingers: 16,
} as const;

/** One direction of a flow; times are seconds of CLOCK_MONOTONIC. */
export interface Flow {
  /** Forward: the new destination; reply: the new source. */
  readonly address: IP;
  readonly port: number;
  readonly client_port: number;
  readonly service: number;
  readonly backend: number;
  readonly seen: number;
  readonly since: number;
  readonly state: (typeof FLOW_STATES)[number];
  /** Of {@link FLOW_FLAGS}. */
  readonly flags: number;
  readonly next_hop: Buffer;
}

export const flow = struct<Flow>({
  address,
  port: be16,
  client_port: be16,
  service: u32,
  backend: u32,
  seen: u32,
  since: u32,
  state: choice(u8, FLOW_STATES),
  flags: u8,
  next_hop: raw(6),
});
