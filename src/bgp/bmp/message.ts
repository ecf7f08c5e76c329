import type { IP } from '../../address/ip.ts';
import type { AfiSafi } from '../wire/family.ts';
import type { PeerHeader } from './peerHeader.ts';

/** RFC 7854 §4.4: text about the router or the session. */
export interface Information {
  readonly type: number;
  readonly value: Buffer;
}

/** Types of information in Initiation and Peer Up. */
export const INFORMATION = { text: 0, systemDescription: 1, systemName: 2, tableName: 3 } as const;

export interface Initiation {
  readonly type: 'initiation';
  readonly information: readonly Information[];
}

/** Why the router ends the connection to the station (RFC 7854 §4.5). */
export const TERMINATION_REASONS = [
  'administratively closed',
  'unspecified',
  'out of resources',
  'redundant connection',
  'permanently administratively closed',
] as const;

export interface Termination {
  readonly type: 'termination';
  /** An index of {@link TERMINATION_REASONS}. */
  readonly reason: number;
  readonly text?: string;
}

/** RFC 7854 §4.10. Both OPENs are whole messages as they were on the wire. */
export interface PeerUp {
  readonly type: 'peer-up';
  readonly peer: PeerHeader;
  /** The router's own end of the session; absent for Loc-RIB. */
  readonly localAddress?: IP;
  readonly localPort: number;
  readonly remotePort: number;
  readonly sentOpen: Buffer;
  readonly receivedOpen: Buffer;
  readonly information: readonly Information[];
}

/** RFC 7854 §4.9 and RFC 9069 §4.5. */
export type PeerDownReason =
  /** The router sent `notification`, a whole message. */
  | { readonly kind: 'local-notification'; readonly notification: Buffer }
  /** The router closed without one; the FSM event of RFC 4271 §8.1 says why, 0 if none does. */
  | { readonly kind: 'local-close'; readonly event: number }
  | { readonly kind: 'remote-notification'; readonly notification: Buffer }
  | { readonly kind: 'remote-close' }
  /** The peer goes on, only the station hears no more of it. */
  | { readonly kind: 'deconfigured' }
  /** Loc-RIB only. */
  | { readonly kind: 'table-closed'; readonly information: readonly Information[] }
  | { readonly kind: 'unknown'; readonly code: number; readonly data: Buffer };

export interface PeerDown {
  readonly type: 'peer-down';
  readonly peer: PeerHeader;
  readonly reason: PeerDownReason;
}

/** RFC 7854 §4.6: one whole UPDATE, encoded as on the session it belongs to. */
export interface RouteMonitoring {
  readonly type: 'route-monitoring';
  readonly peer: PeerHeader;
  readonly update: Buffer;
}

/** RFC 7854 §4.8, RFC 8671 §6.2: 32-bit counters up to 6 and from 11 to 13, else 64-bit gauges. */
export const STATISTIC = {
  rejectedPrefixes: 0,
  duplicatePrefixes: 1,
  duplicateWithdrawals: 2,
  clusterListLoops: 3,
  asPathLoops: 4,
  originatorLoops: 5,
  confederationLoops: 6,
  adjRibIn: 7,
  locRib: 8,
  familyAdjRibIn: 9,
  familyLocRib: 10,
  updatesTreatedAsWithdraw: 11,
  prefixesTreatedAsWithdraw: 12,
  duplicateUpdates: 13,
  adjRibOutPrePolicy: 14,
  adjRibOutPostPolicy: 15,
  familyAdjRibOutPrePolicy: 16,
  familyAdjRibOutPostPolicy: 17,
} as const;

export interface Statistic {
  readonly type: number;
  readonly value: bigint;
  /** Of the types that count per family. */
  readonly family?: AfiSafi;
}

/** A statistic of a type, or of a length, not known here. */
export interface UnknownStatistic {
  readonly type: number;
  readonly data: Buffer;
}

export interface StatisticsReport {
  readonly type: 'statistics';
  readonly peer: PeerHeader;
  readonly statistics: readonly (Statistic | UnknownStatistic)[];
}

/** Route mirroring and whatever comes after it; a station skips it. */
export interface UnknownMessage {
  readonly type: 'unknown';
  readonly code: number;
  readonly body: Buffer;
}

export type BmpMessage =
  | RouteMonitoring
  | StatisticsReport
  | PeerDown
  | PeerUp
  | Initiation
  | Termination
  | UnknownMessage;

/** By type code (RFC 7854 §4.1). */
export const BMP_TYPES = [
  'route-monitoring',
  'statistics',
  'peer-down',
  'peer-up',
  'initiation',
  'termination',
] as const satisfies readonly BmpMessage['type'][];

export const BMP_VERSION = 3;
/** Version, length, type. */
export const COMMON_HEADER = 6;

/** How the value of a statistic is encoded; `undefined` for a type not known here. */
export function statisticShape(type: number): 'counter' | 'gauge' | 'family-gauge' | undefined {
  if (type <= 6 || (type >= 11 && type <= 13)) return 'counter';
  if (type === 7 || type === 8 || type === 14 || type === 15) return 'gauge';
  if (type === 9 || type === 10 || type === 16 || type === 17) return 'family-gauge';
  return undefined;
}
