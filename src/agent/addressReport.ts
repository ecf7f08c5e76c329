import { formatIP, type IP } from '../address/ip.ts';
import { contains, formatPrefix, parsePrefix } from '../address/prefix.ts';
import { describeHolder } from '../ipam/allocator.ts';
import { boundAddresses, claimKey, unboundAddresses, viewOf } from '../ipam/claimObject.ts';
import type { History } from '../ipam/history.ts';
import type { Ipam } from '../ipam/ipam.ts';
import type { Store } from '../store/store.ts';
import type { Cluster } from './cluster.ts';
import type { AddressReport } from './reports.ts';

/** Everything that is known of one address here: whose it is, whose it was. */
export async function addressReport(
  address: IP,
  parts: {
    readonly ipam: Ipam;
    readonly history: Pick<History, 'of'>;
    readonly cluster: Pick<Cluster, 'bindings'>;
    readonly store: Store;
    readonly node: string;
  },
): Promise<AddressReport> {
  const { ipam, history, cluster, store, node } = parts;
  const [networks, claims] = await Promise.all([store.list('NodeNetwork'), store.list('IPClaim')]);
  const holder = ipam.allocations().find(({ addresses }) => addresses.includes(address));
  const block = networks.items
    .flatMap(({ metadata, spec }) => (spec.segments ?? []).map((one) => ({ ...one, node: metadata.name })))
    .find(({ cidr }) => contains(parsePrefix(cidr), address));
  const own = ipam.segments().find(({ prefix }) => contains(prefix, address));
  const claim = claims.items.find((one) =>
    [...boundAddresses(one), ...unboundAddresses(one)].includes(address),
  );
  const pool = cluster.bindings.rules().find(({ cidr }) => contains(cidr, address));
  const resting = ipam.restingUntil(address);
  return {
    address: formatIP(address),
    node,
    pool: pool?.name,
    segment: block?.cidr ?? (own && formatPrefix(own.prefix)),
    segmentNode: block?.node ?? (own && node),
    holder: holder && describeHolder(holder),
    since: holder && new Date(holder.at).toISOString(),
    claim: claim && claimKey(claim),
    claimHolder: claim && viewOf(claim).holder?.node,
    restingUntil: resting === undefined ? undefined : new Date(resting).toISOString(),
    history: history.of(address),
  };
}
