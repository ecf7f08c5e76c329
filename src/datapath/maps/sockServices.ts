import { padding, raw, struct, u64 } from '../../ebpf/codec.ts';

/** The service that a connected TCP socket believes its peer to be. */
export interface TcpService {
  /** The socket's; 0: the place is free. */
  readonly cookie: bigint;
  readonly known: Buffer;
}

export const tcpService = struct<TcpService>({ cookie: u64, known: raw(36), lock: padding(4) });
