import { struct, u32 } from '../../ebpf/codec.ts';

/** How many flows a client has. */
export interface ClientFlows {
  readonly flows: number;
  /** 1: it has its share of the table, and is given no more. */
  readonly full: number;
}

export const clientFlows = struct<ClientFlows>({ flows: u32, full: u32 });
