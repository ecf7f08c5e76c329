import { raw, struct, u32 } from '../../ebpf/codec.ts';

/** `POD_…` of bpf/maps/pods.h. */
export const POD_FLAGS = { stack: 1, keepsAddress: 2, answersStack: 4 } as const;

/** A veth pod of this node, as its host end knows it. */
export interface Pod {
  /** Of the host end. */
  readonly ifindex: number;
  /** Of {@link POD_FLAGS}. */
  readonly flags: number;
  /** Of the pod's end. */
  readonly mac: Buffer;
  /** MAC address of the host end. */
  readonly gateway: Buffer;
}

export const pod = struct<Pod>({ ifindex: u32, flags: u32, mac: raw(6), gateway: raw(6) });
