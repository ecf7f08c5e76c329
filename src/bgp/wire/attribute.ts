import type { IP, IPv4, IPv6 } from '../../address/ip.ts';
import type { AfiSafi } from './family.ts';
import type { Nlri } from './nlri.ts';

export type Origin = 'IGP' | 'EGP' | 'INCOMPLETE';

export interface Segment {
  readonly type: 'AS_SET' | 'AS_SEQUENCE' | 'AS_CONFED_SEQUENCE' | 'AS_CONFED_SET';
  readonly asns: readonly number[];
}

export interface LargeCommunity {
  readonly globalAdministrator: number;
  readonly localData1: number;
  readonly localData2: number;
}

/** The next hop of a family known here; an RD in front of it is always zero and not kept. */
export interface NextHop {
  readonly address: IP;
  /** Beside a global IPv6 address (RFC 2545 §3). */
  readonly linkLocal?: IPv6;
}

/** Of optional transitive attributes only: somebody on the way did not understand it (RFC 4271 §4.3). */
export interface MaybePartial {
  readonly partial?: true;
}

export interface AsPath extends MaybePartial {
  readonly type: 'AS_PATH';
  readonly segments: readonly Segment[];
}

/** RFC 6793: the path behind a two-octet speaker. */
export interface As4Path extends MaybePartial {
  readonly type: 'AS4_PATH';
  readonly segments: readonly Segment[];
}

export interface Aggregator extends MaybePartial {
  readonly type: 'AGGREGATOR';
  readonly asn: number;
  readonly address: IPv4;
}

export interface As4Aggregator extends MaybePartial {
  readonly type: 'AS4_AGGREGATOR';
  readonly asn: number;
  readonly address: IPv4;
}

/** RFC 4760 §3. */
export interface MpReach {
  readonly type: 'MP_REACH_NLRI';
  readonly family: AfiSafi;
  /** Raw bytes where the family is not known here. */
  readonly nextHop: NextHop | Buffer;
  readonly nlri: readonly Nlri[];
}

/** RFC 4760 §4; without routes it is the family's End-of-RIB (RFC 4724 §2). */
export interface MpUnreach {
  readonly type: 'MP_UNREACH_NLRI';
  readonly family: AfiSafi;
  readonly nlri: readonly Nlri[];
}

/** RFC 6514 §5, as EVPN type 3 uses it. */
export interface PmsiTunnel extends MaybePartial {
  readonly type: 'PMSI_TUNNEL';
  readonly flags: number;
  /** 6 is ingress replication, whose identifier is an address. */
  readonly tunnelType: number;
  /** 24 bits: a VNI as it is, or an MPLS label in the upper 20 bits. */
  readonly label: number;
  readonly identifier: Buffer;
}

/** An attribute not known here. */
export interface UnknownAttribute {
  readonly type: 'UNKNOWN';
  readonly code: number;
  /** All eight flag bits as received. */
  readonly flags: number;
  readonly value: Buffer;
}

/** One path attribute, named by its RFC. Order, flags and length bytes are the encoder's business. */
export type Attribute =
  | { readonly type: 'ORIGIN'; readonly origin: Origin }
  | AsPath
  | As4Path
  | { readonly type: 'NEXT_HOP'; readonly address: IPv4 }
  | { readonly type: 'MULTI_EXIT_DISC'; readonly value: number }
  | { readonly type: 'LOCAL_PREF'; readonly value: number }
  | { readonly type: 'ATOMIC_AGGREGATE' }
  | Aggregator
  | As4Aggregator
  /** RFC 1997: 32 bits each. */
  | ({ readonly type: 'COMMUNITIES'; readonly communities: readonly number[] } & MaybePartial)
  | { readonly type: 'ORIGINATOR_ID'; readonly identifier: IPv4 }
  | { readonly type: 'CLUSTER_LIST'; readonly clusters: readonly IPv4[] }
  | MpReach
  | MpUnreach
  /** RFC 4360: 64 bits each. */
  | ({ readonly type: 'EXTENDED_COMMUNITIES'; readonly communities: readonly bigint[] } & MaybePartial)
  | PmsiTunnel
  /** RFC 8092. */
  | ({ readonly type: 'LARGE_COMMUNITIES'; readonly communities: readonly LargeCommunity[] } & MaybePartial)
  | UnknownAttribute;

export type AttributeType = Attribute['type'];
export type AttributeOf<T extends AttributeType> = Extract<Attribute, { readonly type: T }>;

export function findAttribute<T extends AttributeType>(
  attributes: readonly Attribute[],
  type: T,
): AttributeOf<T> | undefined {
  return attributes.find((attribute): attribute is AttributeOf<T> => attribute.type === type);
}
