import { parseInterfaceAddress, parsePrefix } from '../address/prefix.ts';
import type { RecordStore } from '../attach/record.ts';
import { check, type Finding } from '../ipam/check.ts';
import type { Ipam } from '../ipam/ipam.ts';
import type { Store } from '../store/store.ts';
import type { Cluster } from './cluster.ts';
import { NODE_ITSELF } from './overlayAddresses.ts';

/** Whether journal, attachments, segments, pools and the other nodes agree about the addresses of this node. */
export async function checkReport(parts: {
  readonly ipam: Ipam;
  readonly records: RecordStore;
  readonly cluster: Pick<Cluster, 'bindings'>;
  readonly store: Store;
  readonly node: string;
}): Promise<Finding[]> {
  const { ipam, records, cluster, store, node } = parts;
  const { items } = await store.list('NodeNetwork');
  const others = items
    .filter(({ metadata }) => metadata.name !== node)
    .flatMap(({ metadata, spec }) =>
      (spec.segments ?? []).map(({ cidr }) => ({ node: metadata.name, cidr: parsePrefix(cidr) })),
    );
  const attachments = records
    .list()
    .records.filter(({ spec }) => spec.ipam.kind === 'agent')
    .map(({ spec }) => ({
      containerID: spec.containerId,
      ifName: spec.ifName,
      addresses: spec.addresses.map(({ address }) => parseInterfaceAddress(address).address),
    }));
  const own = ipam.heldBy(NODE_ITSELF);
  if (own) attachments.push({ ...NODE_ITSELF, addresses: [...own.addresses] });
  return check({
    segments: ipam.segments(),
    allocations: ipam.allocations(),
    attachments,
    pools: cluster.bindings.rules(),
    others,
    now: Date.now(),
  });
}
