import type { Prefix } from '../../address/prefix.ts';

/** Calico's `BGPFilter`, checked and with its prefixes parsed (projectcalico.org/v3, bgpfilter.go). */
export interface Filter {
  readonly name: string;
  readonly exportV4?: readonly FilterRule[];
  readonly importV4?: readonly FilterRule[];
  readonly exportV6?: readonly FilterRule[];
  readonly importV6?: readonly FilterRule[];
}

/** A rule matches where every condition it names holds; without any it matches everything. */
export interface FilterRule {
  readonly action: 'Accept' | 'Reject';
  /** With `matchOperator`. */
  readonly cidr?: Prefix;
  readonly matchOperator?: 'Equal' | 'NotEqual' | 'In' | 'NotIn';
  /** Part of the comparison with `cidr`, and negated with it; from the CIDR's own length to that of an address. */
  readonly prefixLength?: { readonly min?: number; readonly max?: number };
  /** Routes learned from BGP peers, as opposed to the node's own. */
  readonly source?: 'RemotePeers';
  /** Device of the route; `*` stands for any run of characters, `?` for one. */
  readonly interface?: string;
  readonly peerType?: 'eBGP' | 'iBGP';
  /** `65001:100` or `65001:1:100`; all must be present. */
  readonly communities?: { readonly values: readonly string[] };
  /** The AS_PATH begins with these. */
  readonly asPathPrefix?: readonly number[];
  /** The route's priority: the kernel's metric, which `LOCAL_PREF` carries as 2147483647 minus itself. */
  readonly priority?: number;
  /** Only with `Accept`. */
  readonly operations?: readonly FilterOperation[];
}

/** Exactly one of them. */
export interface FilterOperation {
  readonly addCommunity?: { readonly value: string };
  /** The first of them ends up first in the path. */
  readonly prependASPath?: { readonly prefix: readonly number[] };
  readonly setPriority?: { readonly value: number };
}
