import { formatIP } from '../address/ip.ts';
import { networkOf, parseInterfaceAddress, parsePrefix } from '../address/prefix.ts';
import type { RecordStore } from '../attach/record.ts';
import { OVERLAY_DEVICE } from '../datapath/overlayDevice.ts';
import type { Books } from '../ipam/check.ts';
import { boundAddresses, claimKey, unboundAddresses, viewOf } from '../ipam/claimObject.ts';
import type { Ipam } from '../ipam/ipam.ts';
import { listAddresses } from '../netlink/address.ts';
import { listLinks } from '../netlink/link.ts';
import { listRoutes, MAIN_TABLE, TOMBOLO } from '../netlink/route.ts';
import type { Netlink } from '../netlink/socket.ts';
import type { Store } from '../store/store.ts';
import { listPassages } from './blockRoutes.ts';
import type { Cluster } from './cluster.ts';
import type { NodeFacts } from './detect.ts';
import { NODE_ITSELF } from './overlayAddresses.ts';

export interface BookParts {
  readonly ipam: Ipam;
  readonly records: RecordStore;
  readonly netlink: Netlink;
  readonly cluster: Pick<Cluster, 'bindings'>;
  readonly store: Store;
  readonly node: NodeFacts;
}

/** Everything that says who has which address on this node, read now: from the journal, the kernel and the store. */
export async function booksOf({ ipam, records, netlink, cluster, store, node }: BookParts): Promise<Books> {
  const [networks, claims] = await Promise.all([store.list('NodeNetwork'), store.list('IPClaim')]);
  const others = networks.items
    .filter(({ metadata }) => metadata.name !== node.name)
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
  return {
    segments: ipam.segments(),
    allocations: ipam.allocations(),
    attachments,
    pools: cluster.bindings.rules(),
    others,
    node: node.name,
    claims: claims.items.map((claim) => ({
      key: claimKey(claim),
      addresses: [...boundAddresses(claim), ...unboundAddresses(claim)],
      holder: viewOf(claim).holder,
      passed: claim.status?.passedTo !== undefined && claim.status.passedTo === claim.status.container,
    })),
    kept: ipam.kept(),
    blackholes: listRoutes(netlink, { table: MAIN_TABLE, protocol: TOMBOLO, type: 'blackhole' }).map(
      ({ prefix }) => prefix,
    ),
    passages: listPassages(netlink),
    links: strangersNetworks(netlink, node),
    now: Date.now(),
  };
}

/** Loopback, and the node's ends of pods. */
const OURS = /^(lo$|tbo|tombolo)/;

/** Networks on links that are neither ours nor the way out: `docker0` and its like. */
function strangersNetworks(netlink: Netlink, { uplinks, ips }: NodeFacts): Books['links'] {
  const own = ips.map(formatIP);
  return listLinks(netlink)
    .filter(
      ({ name, index }) =>
        !OURS.test(name) && name !== OVERLAY_DEVICE && !uplinks.some((uplink) => uplink.index === index),
    )
    .flatMap(({ name, index }) =>
      listAddresses(netlink, { index })
        .filter(({ scope, address }) => scope === 'global' && !own.includes(formatIP(address.address)))
        .map(({ address }) => ({ name, network: networkOf(address) })),
    );
}
