import type { IP } from '../../address/ip.ts';
import { padding, struct, u32, u64 } from '../../ebpf/codec.ts';
import { address } from './address.ts';

export const affinityKey = struct<{ client: IP; service: number }>({ client: address, service: u32 });

export const affinity = struct<{ used_ns: bigint; backend: number }>({
  used_ns: u64,
  backend: u32,
  zero: padding(4),
});
