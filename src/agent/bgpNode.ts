import type { IP } from '../address/ip.ts';
import {
  contains,
  covers,
  formatPrefix,
  hostPrefix,
  overlaps,
  type Prefix,
  parsePrefix,
} from '../address/prefix.ts';
import type { NodeView } from '../bgp/config/clusterView.ts';
import type { KernelConfig } from '../bgp/config/router.ts';
import type { LocalRoute } from '../bgp/rib/localRoute.ts';
import type { SegmentUsage } from '../ipam/ipam.ts';
import type { IPPool } from '../store/kinds/ipPool.ts';
import type { Node } from '../store/kinds/node.ts';
import type { NodeNetwork } from '../store/kinds/nodeNetwork.ts';
import type { AgentConfig } from './config.ts';

/** What the node knows of itself and its cluster, as far as routes depend on it. */
export interface NodeInputs {
  readonly config: Pick<AgentConfig, 'bgp' | 'routing' | 'segments'>;
  readonly self: Node | undefined;
  /** The node's own addresses. */
  readonly addresses: readonly IP[];
  readonly gateways: readonly IP[];
  readonly usage: readonly SegmentUsage[];
  /** Every address that a pod of this node holds. */
  readonly held: readonly IP[];
  readonly pools: readonly IPPool[];
  readonly networks: readonly NodeNetwork[];
  /** Service addresses that this node can serve. */
  readonly services: readonly LocalRoute[];
}

/** The annotation by which traffic is moved off a node before it is worked on (RFC 8326). */
const DRAIN_ANNOTATION = 'network.tombolo.dev/drain';
/** KEP-3836: the autoscaler is about to remove the node, and load balancers shall let go of it. */
const AUTOSCALER_TAINT = 'ToBeDeletedByClusterAutoscaler';

/** Kubernetes' own label for nodes that load balancers shall leave alone. */
const EXCLUDED_LABEL = 'node.kubernetes.io/exclude-from-external-load-balancers';

/** Whether traffic for services may come from outside by way of this node. */
export function servesOutside({ metadata }: Node): boolean {
  return metadata.labels?.[EXCLUDED_LABEL] === undefined;
}

export function nodeViewOf(inputs: NodeInputs): { view: NodeView; problems: string[] } {
  const { config, self, gateways, pools, services } = inputs;
  const segments = config.routing === 'underlay' ? routedSegments(inputs) : [];
  const exported = exportRanges(pools, config.segments);
  const visible = segments.filter((segment) => !poolOf(segment, pools)?.spec.disableBGPExport);
  const [announced, astray] = divide(visible, (segment) => exported.some((range) => covers(range, segment)));
  return {
    view: {
      listen: config.bgp,
      gateways,
      originate: [...announced.map((prefix) => ({ prefix })), ...services],
      exportRanges: exported,
      kernel: kernelConfig(inputs, routedSegments(inputs)),
      draining: isDraining(self),
    },
    problems: astray.map(
      (segment) =>
        `${formatPrefix(segment)} is not announced: it lies in no IPPool and no configured segment`,
    ),
  };
}

/**
 * Segments that packets find by way of this node, and addresses in use outside all of them. One with a gateway is its
 * router's; one that is being given back ends with its last address.
 */
export function routedSegments({ usage, held }: Pick<NodeInputs, 'usage' | 'held'>): Prefix[] {
  const inUse = usage
    .filter(({ segment }) => segment.gateway === undefined)
    .filter(({ segment, used, resting }) => segment.state === 'active' || used + resting > 0)
    .map(({ segment }) => segment.prefix);
  const strays = held.filter((address) => !usage.some(({ segment }) => contains(segment.prefix, address)));
  return [...inUse, ...strays.map(hostPrefix)];
}

/** Segments that are asked back, and that nobody uses or has used lately. */
export function emptiedSegments({ usage }: Pick<NodeInputs, 'usage'>): Prefix[] {
  return usage
    .filter(({ segment, used, resting }) => segment.state === 'releasing' && used + resting === 0)
    .map(({ segment }) => segment.prefix);
}

/** The narrowest pool that a segment lies in. */
function poolOf(segment: Prefix, pools: readonly IPPool[]): IPPool | undefined {
  return pools
    .map((pool) => ({ pool, range: parsePrefix(pool.spec.cidr) }))
    .filter(({ range }) => covers(range, segment))
    .sort((a, b) => b.range.length - a.range.length)[0]?.pool;
}

/** Nothing outside of these leaves the node, apart from service ranges. */
function exportRanges(pools: readonly IPPool[], configured: AgentConfig['segments']): Prefix[] {
  const open = pools.filter(({ spec }) => !spec.disableBGPExport).map(({ spec }) => parsePrefix(spec.cidr));
  return [...open, ...configured.map(({ prefix }) => prefix)];
}

/** Pod ranges of the cluster, and the default route: whatever else a leaf says is not for the host's table. */
function kernelConfig(
  { config, addresses, gateways, pools, networks }: NodeInputs,
  segments: readonly Prefix[],
): KernelConfig {
  const podPools = pools
    .filter(({ spec }) => (spec.allowedUses ?? ['Workload']).some((use) => use !== 'LoadBalancer'))
    .map(({ spec }) => parsePrefix(spec.cidr));
  const all = pools.map(({ spec }) => parsePrefix(spec.cidr));
  // Where nobody keeps pools, nodes say themselves which segments they have.
  const told = networks
    .flatMap(({ spec, status }) => [...(spec.segments ?? []), ...(status?.segments ?? [])])
    .map(({ cidr }) => parsePrefix(cidr))
    .filter((segment) => !all.some((pool) => overlaps(pool, segment)));
  return {
    ranges: config.routing === 'underlay' ? distinct([...podPools, ...told]) : [],
    defaultRoute: true,
    segments,
    guarded: [...addresses, ...gateways],
  };
}

function isDraining(self: Node | undefined): boolean {
  const annotated = self?.metadata.annotations?.[DRAIN_ANNOTATION];
  const doomed = self?.spec?.taints?.some(({ key }) => key === AUTOSCALER_TAINT) ?? false;
  return doomed || (annotated !== undefined && annotated !== 'false');
}

function distinct(prefixes: readonly Prefix[]): Prefix[] {
  return [...new Map(prefixes.map((prefix) => [formatPrefix(prefix), prefix])).values()];
}

function divide<T>(all: readonly T[], test: (one: T) => boolean): [T[], T[]] {
  return [all.filter(test), all.filter((one) => !test(one))];
}
