import type { IP } from '../../address/ip.ts';
import { be16, type Codec, choice, struct, u8 } from '../../ebpf/codec.ts';
import { address } from './address.ts';

/** IP protocol numbers that services may have. */
export const PROTOCOLS = { TCP: 6, UDP: 17, SCTP: 132 } as const;

export type ProtocolName = keyof typeof PROTOCOLS;

/**
 * By which policy a frontend is served: for pods and the node itself, for clients in the network outside, or for packets of
 * such clients that another node has handed over.
 */
export const SCOPES = ['inside', 'outside', 'handedOver'] as const;
export type Scope = (typeof SCOPES)[number];

/** An address and port of one protocol. Port 0 and protocol 0 stand for the address as such. */
export interface Endpoint {
  readonly address: IP;
  readonly port: number;
  readonly protocol: number;
  /** Of a frontend; absent: inside. */
  readonly scope?: Scope | undefined;
}

const scope: Codec<Scope | undefined> = choice(u8, SCOPES) as Codec<Scope | undefined>;

export const endpoint = struct<Endpoint>({
  address,
  port: be16,
  protocol: u8,
  scope: {
    ...scope,
    write: (bytes, offset, value) => scope.write(bytes, offset, value ?? 'inside'),
  },
});
