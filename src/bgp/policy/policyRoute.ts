/** What a filter may ask of a route. Prefixes as words, so that a million of them make no garbage. */
export interface PolicyRoute {
  readonly family: 4 | 6;
  /** The prefix's address, most significant word first; IPv4 has one. */
  readonly words: ArrayLike<number>;
  readonly length: number;
  /** Learned from a BGP peer, as opposed to the node's own. */
  readonly learned: boolean;
  /** The device that packets would leave by, where known. */
  readonly interface: string | undefined;
  readonly attributes: PolicyAttributes;
}

export interface PolicyAttributes {
  hasCommunity(community: number): boolean;
  hasLargeCommunity(community: LargeCommunity): boolean;
  pathBeginsWith(asns: readonly number[]): boolean;
  /** As the kernel's metric: the lower the better. */
  readonly priority: number;
}

/** RFC 8092: global administrator and two values of its own. */
export type LargeCommunity = readonly [number, number, number];

/** What a filter may change. */
export type Operation =
  | { readonly kind: 'addCommunity'; readonly community: number }
  | { readonly kind: 'addLargeCommunity'; readonly community: LargeCommunity }
  | { readonly kind: 'prependASPath'; readonly asns: readonly number[] }
  | { readonly kind: 'setPriority'; readonly priority: number };

/** What became of a route, and which line said so. One object per line, so that verdicts compare by identity. */
export interface Verdict {
  readonly accept: boolean;
  readonly operations: readonly Operation[];
  /** `filter leaf-out, exportV4 rule 2`, or `no rule matched`. */
  readonly line: string;
}
