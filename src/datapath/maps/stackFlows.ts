import type { IP } from '../../address/ip.ts';
import { be16, padding, struct, u8 } from '../../ebpf/codec.ts';
import { address } from './address.ts';

/** A flow that came to a pod by the node's stack. */
export interface StackFlow {
  readonly pod: IP;
  readonly peer: IP;
  readonly pod_port: number;
  readonly peer_port: number;
  readonly protocol: number;
}

export const stackFlow = struct<StackFlow>({
  pod: address,
  peer: address,
  pod_port: be16,
  peer_port: be16,
  protocol: u8,
  zero: padding(3),
});
