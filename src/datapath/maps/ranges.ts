import type { IP } from '../../address/ip.ts';
import { struct, u32 } from '../../ebpf/codec.ts';
import { address } from './address.ts';

/** Clients that a service is open to. The length counts the 32 bits of the service; of IPv4 it is 96 more than written. */
export interface RangeKey {
  readonly length: number;
  readonly service: number;
  readonly address: IP;
}

export const rangeKey = struct<RangeKey>({ length: u32, service: u32, address });
