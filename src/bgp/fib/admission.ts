import { formatIP, type IP } from '../../address/ip.ts';
import { covers, formatPrefix, type Prefix } from '../../address/prefix.ts';
import { type Resolver, wouldCapture } from './resolver.ts';

/** What BGP may write into the host's routing table. Whatever is not allowed here stays out (after RFC 8212). */
export interface Admission {
  /** Pools and whatever else of the cluster other nodes announce. A prefix must lie in one of them. */
  readonly ranges: readonly Prefix[];
  /** A default route may be learned. */
  readonly defaultRoute: boolean;
  /** This node's own segments: nobody else may attract part of their traffic. */
  readonly ownSegments: readonly Prefix[];
  /** Addresses that must stay reachable the way they are: leaves, route reflectors, the node itself. */
  readonly guarded: readonly IP[];
}

/** Why a route must not enter, or `undefined` if it may. */
export function refusalOf(
  prefix: Prefix,
  nextHops: readonly IP[],
  admission: Admission,
  resolver: Resolver,
): string | undefined {
  const { ranges, defaultRoute, ownSegments, guarded } = admission;
  const isDefault = prefix.length === 0 && defaultRoute;
  if (!isDefault && !ranges.some((range) => covers(range, prefix))) return 'outside all ranges to import';
  const own = ownSegments.find((segment) => covers(segment, prefix));
  if (own) return `inside this node's own segment ${formatPrefix(own)}`;
  // A default route takes over only where nothing else leads, and whoever has no way now cannot lose it.
  const atRisk = prefix.length === 0 ? nextHops : [...guarded, ...nextHops];
  const captured = atRisk.find((address) => wouldCapture(prefix, address, resolver));
  return captured === undefined ? undefined : `it would capture the way to ${formatIP(captured)}`;
}
