import type { IP } from '../../address/ip.ts';
import { be16, choice, struct, u8, u32 } from '../../ebpf/codec.ts';
import { address } from './address.ts';

export const BACKEND_STATES = ['none', 'active', 'draining'] as const;
export type BackendState = (typeof BACKEND_STATES)[number];

export interface Backend {
  readonly address: IP;
  readonly port: number;
  readonly protocol: number;
  readonly state: BackendState;
  /** The one service number it belongs to. */
  readonly service: number;
}

export const backend = struct<Backend>({
  address,
  port: be16,
  protocol: u8,
  state: choice(u8, BACKEND_STATES),
  service: u32,
});
