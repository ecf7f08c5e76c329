import type { IP } from '../../address/ip.ts';
import type { Prefix } from '../../address/prefix.ts';
import type { BGPConfiguration } from '../../store/kinds/bgpConfiguration.ts';
import type { BGPFilter } from '../../store/kinds/bgpFilter.ts';
import type { BGPPeer } from '../../store/kinds/bgpPeer.ts';
import type { Node } from '../../store/kinds/node.ts';
import type { LocalRoute } from '../rib/localRoute.ts';
import type { KernelConfig, RouterConfig } from './router.ts';

/** What the store says that concerns BGP. */
export interface ClusterView {
  readonly nodeName: string;
  readonly nodes: readonly Node[];
  readonly configurations: readonly BGPConfiguration[];
  readonly peers: readonly BGPPeer[];
  readonly filters: readonly BGPFilter[];
  /** A value of a Secret, if it is there. */
  secret(name: string, key: string): string | undefined;
}

/** What this node itself adds. */
export interface NodeView {
  /** Where the agent was told to listen; `undefined` where BGP is to dial only. */
  readonly listen: { readonly address: IP; readonly port: number | undefined } | undefined;
  /** The default gateways, one of each family at most: the leaf of a node that names none. */
  readonly gateways: readonly IP[];
  /** Segments, and service addresses with an endpoint here. */
  readonly originate: readonly LocalRoute[];
  /** Pools: nothing else leaves, apart from the service ranges that the BGPConfiguration names. */
  readonly exportRanges: readonly Prefix[];
  readonly kernel: KernelConfig | undefined;
  readonly draining: boolean;
}

export interface Translation {
  readonly config: RouterConfig;
  /** What could not be done, one sentence each, for the log and for conditions. */
  readonly problems: readonly string[];
}
