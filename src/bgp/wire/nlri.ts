import type { IP } from '../../address/ip.ts';
import type { Mac } from '../../address/mac.ts';
import type { Prefix } from '../../address/prefix.ts';
import type { RouteDistinguisher } from './distinguisher.ts';

/** What every route may carry where add-path is in use (RFC 7911 §3). */
export interface PathIdentified {
  /** Absent where the session has no add-path for the family. */
  readonly pathId?: number;
}

/** IPv4 or IPv6 unicast. */
export interface UnicastNlri extends PathIdentified {
  readonly kind: 'prefix';
  readonly prefix: Prefix;
}

/** Labelled VPN-IPv4 or VPN-IPv6 (RFC 4364, RFC 4659, RFC 8277). */
export interface VpnNlri extends PathIdentified {
  readonly kind: 'vpn';
  /** 20 bits each, top of the stack first; none in a withdrawal, where labels mean nothing (RFC 8277 §2.4). */
  readonly labels: readonly number[];
  readonly distinguisher: RouteDistinguisher;
  readonly prefix: Prefix;
}

/** Ethernet Segment Identifier: ten bytes as hex with colons; all zeros means single-homed. */
export type EthernetSegment = string;

/** EVPN type 2 (RFC 7432 §7.2). */
export interface MacIpNlri extends PathIdentified {
  readonly kind: 'evpn-mac-ip';
  readonly distinguisher: RouteDistinguisher;
  readonly segment: EthernetSegment;
  readonly tag: number;
  readonly mac: Mac;
  readonly ip?: IP;
  /** One or two values of 24 bits: a VNI as it is, or an MPLS label in the upper 20 bits. */
  readonly labels: readonly number[];
}

/** EVPN type 3 (RFC 7432 §7.3). */
export interface InclusiveMulticastNlri extends PathIdentified {
  readonly kind: 'evpn-multicast';
  readonly distinguisher: RouteDistinguisher;
  readonly tag: number;
  readonly originator: IP;
}

/** EVPN type 5 (RFC 9136 §3.1). */
export interface IpPrefixNlri extends PathIdentified {
  readonly kind: 'evpn-prefix';
  readonly distinguisher: RouteDistinguisher;
  readonly segment: EthernetSegment;
  readonly tag: number;
  readonly prefix: Prefix;
  readonly gateway: IP;
  /** 24 bits, as in type 2. */
  readonly label: number;
}

/** EVPN of any other type, kept byte for byte. */
export interface OtherEvpnNlri extends PathIdentified {
  readonly kind: 'evpn-other';
  readonly routeType: number;
  readonly value: Buffer;
}

/** Route target membership (RFC 4684 §4). */
export interface RouteTargetNlri extends PathIdentified {
  readonly kind: 'route-target';
  /** 0, or 32 to 96: how many bits of origin AS and target count. */
  readonly length: number;
  readonly originAs: number;
  /** The target as an extended community; bits beyond `length` are zero. */
  readonly target: bigint;
}

/** All routes of a family not known here, in one piece, byte for byte. */
export interface OpaqueNlri {
  readonly kind: 'opaque';
  readonly value: Buffer;
}

export type EvpnNlri = MacIpNlri | InclusiveMulticastNlri | IpPrefixNlri | OtherEvpnNlri;
export type Nlri = UnicastNlri | VpnNlri | EvpnNlri | RouteTargetNlri | OpaqueNlri;
