import type { IP } from '../../address/ip.ts';
import { choice, padding, struct, u8, u32 } from '../../ebpf/codec.ts';
import { address } from './address.ts';
import { FLOW_STATES } from './flows.ts';

/** A flow of a client outside whose packets go to the node of its backend; times are seconds of CLOCK_MONOTONIC. */
export interface Handover {
  /** The backend's. */
  readonly address: IP;
  readonly service: number;
  readonly backend: number;
  readonly seen: number;
  readonly since: number;
  readonly state: (typeof FLOW_STATES)[number];
}

export const handover = struct<Handover>({
  address,
  service: u32,
  backend: u32,
  seen: u32,
  since: u32,
  state: choice(u8, FLOW_STATES),
  zero: padding(3),
});
