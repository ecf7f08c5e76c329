import type { Attribute } from './attribute.ts';
import type { AfiSafi } from './family.ts';
import type { UnicastNlri } from './nlri.ts';

/** RFC 4271 §4.3, as it is on the wire: other families than IPv4 unicast stand in the MP attributes. */
export interface Update {
  readonly type: 'UPDATE';
  readonly withdrawn: readonly UnicastNlri[];
  readonly attributes: readonly Attribute[];
  readonly nlri: readonly UnicastNlri[];
}

/** What reading and writing an UPDATE depends on: what the two OPENs agreed upon. */
export interface UpdateContext {
  readonly session: 'ebgp' | 'ibgp';
  /** AS numbers of four octets in AS_PATH and AGGREGATOR (RFC 6793). */
  readonly asn4: boolean;
  /** Families whose routes carry a path identifier in this direction (RFC 7911). */
  readonly addPath: ReadonlySet<AfiSafi>;
  /** Families whose next hop may be an IPv6 address (RFC 8950). */
  readonly extendedNextHop: ReadonlySet<AfiSafi>;
}

/** From the weakest to the strongest (RFC 7606 §2). */
export const ACTIONS = [
  'attribute-discard',
  'treat-as-withdraw',
  'afi-safi-disable',
  'session-reset',
] as const;
export type Action = (typeof ACTIONS)[number];
