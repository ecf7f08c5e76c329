import type { Explanation } from '../ipam/explain.ts';
import type { Chapter } from '../ipam/history.ts';
import type { PoolUse } from '../operator/poolUse.ts';

/** What `GET /v1/<resource>` answers: the words between agent and CLI, and of anybody who scripts against them. */

/** `/v1/status` */
export interface StatusReport {
  readonly node: string;
  readonly nodeIPs: readonly string[];
  /** What configuration or store say of the node that is not so. */
  readonly problems: readonly string[];
  readonly uplink: string | undefined;
  readonly version: string;
  readonly commit: string;
  readonly pid: number;
  /** RFC 3339. */
  readonly startedAt: string;
  readonly store: {
    readonly location: string;
    /** Whether everything has been listed at least once. */
    readonly synced: boolean;
    /** The latest reason why the store could not be reached, while that lasts. */
    readonly interrupted: string | undefined;
    readonly problems: readonly string[];
  };
  readonly datapath: {
    readonly hooks: readonly ('socket' | 'packet')[];
    readonly cgroup: string | undefined;
    /** Services that cannot be served as they are, and why. */
    readonly problems: readonly string[];
  };
  readonly bgp: {
    /** What of its configuration could not be done, or why it does not run. */
    readonly problems: readonly string[];
  };
  readonly services: number;
  readonly endpoints: number;
  readonly segments: readonly SegmentReport[];
  /** Seconds for which the event loop was held up at most: lately, and ever. */
  readonly stall: { readonly latest: number; readonly longest: number };
}

export interface SegmentReport {
  readonly cidr: string;
  readonly gateway: string | undefined;
  readonly state: 'active' | 'releasing';
  readonly generation: number;
  readonly pool: string | undefined;
  /** In decimal: IPv6 segments are larger than JSON's numbers. */
  readonly capacity: string;
  readonly used: number;
  /** Released, and not to be given out yet. */
  readonly resting: number;
  /** Never given out; not in {@link capacity}. */
  readonly reserved: string;
}

/** `/v1/endpoints`: the pods attached to this node. */
export interface EndpointReport {
  readonly id: string;
  readonly containerID: string;
  readonly ifName: string;
  readonly network: string;
  readonly pod: string | undefined;
  readonly kind: string;
  readonly addresses: readonly string[];
  readonly hostLink: string | undefined;
  /** `fast`, or `stack` and why; none for pods whose packets do not cross the node. */
  readonly forwarding: string | undefined;
  readonly netns: string;
  readonly state: string;
}

/** `/v1/services`: what the datapath serves. */
export interface ServiceReport {
  readonly namespace: string;
  readonly name: string;
  readonly port: number;
  readonly protocol: string;
  readonly frontends: readonly string[];
  readonly backends: readonly { readonly address: string; readonly port: number; readonly state: string }[];
  /** Seconds; 0: none. */
  readonly affinity: number;
  /** Whom it is served to: pods and the node itself, or clients in the network outside. */
  readonly scope: 'inside' | 'outside' | 'handedOver';
}

/** `/v1/tunnels`: the ways to the other nodes and their pods. */
export interface TunnelReport {
  readonly prefix: string;
  readonly of: 'node' | 'pods' | 'services';
  readonly node: string | undefined;
  readonly path: 'underlay' | 'overlay';
  /** The other end of the tunnel. */
  readonly endpoint: string | undefined;
}

/** `/v1/ipam` */
export interface IpamReport {
  readonly segments: readonly SegmentReport[];
  readonly allocations: readonly AllocationReport[];
  /** The cluster's pools; empty while the store is out of reach. */
  readonly pools: readonly PoolUse[];
  /** Addresses of this node's segments that belong to claims, held or not. */
  readonly kept: readonly { readonly address: string; readonly claim: string }[];
}

export interface AllocationReport {
  readonly addresses: readonly string[];
  readonly containerID: string;
  readonly ifName: string;
  readonly network: string;
  readonly pod: string | undefined;
  /** The claim whose addresses these are, `namespace/name`. */
  readonly claim: string | undefined;
  /** Whether one of them is of another node's segment. */
  readonly borrowed: boolean;
  /** RFC 3339. */
  readonly since: string;
}

/** `/v1/ipam/address?address=10.0.0.5`; `undefined` where there is nothing to say. */
export interface AddressReport {
  readonly address: string;
  /** The node that says this. */
  readonly node: string;
  readonly pool: string | undefined;
  readonly segment: string | undefined;
  /** The node whose segment it is. */
  readonly segmentNode: string | undefined;
  /** Who holds it on this node. */
  readonly holder: string | undefined;
  readonly since: string | undefined;
  readonly claim: string | undefined;
  readonly claimHolder: string | undefined;
  readonly restingUntil: string | undefined;
  /** What has happened to it on this node, the oldest first. */
  readonly history: readonly Chapter[];
}

/** `/v1/ipam/explain?namespace=shop&name=web` */
export interface ExplainReport extends Explanation {
  readonly pod: string;
  readonly node: string;
  /** Its claim, if it has one or asks for one, and what that means for it here. */
  readonly claim:
    | { readonly policy: string; readonly addresses: readonly string[]; readonly outlook: string }
    | undefined;
  /** How full the pools are that it may draw from. */
  readonly use: readonly PoolUse[];
  /** What somebody can do, if it has no address. */
  readonly advice: readonly string[];
}

/** `/v1/flows?limit=1000` */
export interface FlowReport {
  readonly protocol: string;
  /** `10.0.0.1:40000` */
  readonly client: string;
  readonly service: string;
  readonly backend: string;
  readonly state: string;
  /** Since it began. */
  readonly seconds: number;
}
