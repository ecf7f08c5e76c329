import { struct, u32 } from '../../ebpf/codec.ts';

/** `SERVICE_…` of bpf/maps/services.h. */
export const SERVICE_FLAGS = { affinity: 1, maglev: 2, sharedAddress: 4, ranges: 8, direct: 16 } as const;

export interface Service {
  /** Names the backend set; 0 in the entry of an address as such. */
  readonly number: number;
  readonly generation: number;
  /** Slots of this generation; none: connections are refused. */
  readonly count: number;
  /** Of {@link SERVICE_FLAGS}. */
  readonly flags: number;
  readonly affinity_seconds: number;
}

export const service = struct<Service>({
  number: u32,
  generation: u32,
  count: u32,
  flags: u32,
  affinity_seconds: u32,
});

export interface Slot {
  readonly service: number;
  readonly generation: number;
  readonly index: number;
}

export const slot = struct<Slot>({ service: u32, generation: u32, index: u32 });
