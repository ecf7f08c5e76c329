import type { Prefix } from '../../address/prefix.ts';

/** Calico's `BGPFilter`, checked and with its prefixes parsed (projectcalico.org/v3, bgpfilter.go). */
export interface Filter {
  readonly name: string;
  readonly exportV4: readonly FilterRule[];
  readonly importV4: readonly FilterRule[];
  readonly exportV6: readonly FilterRule[];
  readonly importV6: readonly FilterRule[];
}

/** A rule matches where every condition it names holds; without any it matches everything. */
export interface FilterRule {
  readonly action: 'Accept' | 'Reject';
  readonly cidr?: Prefix;
  readonly matchOperator?: 'Equal' | 'NotEqual' | 'In' | 'NotIn';
  readonly prefixLength?: { readonly min?: number; readonly max?: number };
  /** Routes learned from BGP peers, as opposed to the node's own. */
  readonly source?: 'RemotePeers';
  /** Device of the route; `*` stands for any run of characters. */
  readonly interface?: string;
  readonly peerType?: 'eBGP' | 'iBGP';
  /** `65001:100` or `65001:1:100`; all must be present. */
  readonly communities?: readonly string[];
  /** The AS_PATH begins with these. */
  readonly asPathPrefix?: readonly number[];
  /** The route's priority (metric in the kernel). */
  readonly priority?: number;
  /** Only with `Accept`. */
  readonly operations?: readonly FilterOperation[];
}

export type FilterOperation =
  | { readonly kind: 'addCommunity'; readonly value: string }
  | { readonly kind: 'prependASPath'; readonly prefix: readonly number[] }
  | { readonly kind: 'setPriority'; readonly value: number };
