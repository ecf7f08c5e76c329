import { formatIP } from '../address/ip.ts';
import type { RecordStore } from '../attach/record.ts';
import type { Ipam } from '../ipam/ipam.ts';
import { commit, version } from '../version.ts';
import type { Bgp } from './bgp.ts';
import type { Cluster } from './cluster.ts';
import type { AgentConfig } from './config.ts';
import type { Datapath } from './datapath.ts';
import { missingAddress, type NodeFacts, uplinkNames } from './detect.ts';
import { segmentReports } from './ipamReport.ts';
import type { Overlay } from './overlay.ts';
import type { StatusReport } from './reports.ts';
import type { watchStalls } from './stall.ts';
import type { StoreState } from './storeState.ts';

export interface StatusParts {
  readonly config: AgentConfig;
  readonly node: NodeFacts;
  readonly ipam: Ipam;
  readonly records: RecordStore;
  readonly datapath: Datapath;
  readonly bgp: Bgp;
  readonly overlay: Overlay;
  readonly cluster: Cluster;
  readonly store: StoreState;
  readonly stalls: ReturnType<typeof watchStalls>;
  readonly startedAt: string;
}

/** How the agent is. */
export function statusReport(parts: StatusParts): StatusReport {
  const { config, node, ipam, records, datapath, cluster, store, stalls, startedAt } = parts;
  const { socket, packet } = config.services;
  return {
    node: node.name,
    nodeIPs: node.ips.map(formatIP),
    problems: [...node.missing.map(missingAddress), ...cluster.problems()],
    uplink: uplinkNames(node),
    version,
    commit,
    pid: process.pid,
    startedAt,
    store: {
      location: store.store.location,
      synced: store.synced,
      interrupted: store.interrupted,
      problems: store.store.problems(),
    },
    datapath: {
      hooks: [
        ...(socket && node.cgroup !== undefined ? (['socket'] as const) : []),
        ...(packet ? (['packet'] as const) : []),
      ],
      cgroup: node.cgroup,
      problems: [...datapath.services.problems(), ...parts.overlay.problems()],
    },
    bgp: { problems: parts.bgp.problems() },
    services: cluster.feed.sizes.services,
    endpoints: records.list().records.length,
    segments: segmentReports(ipam),
    stall: stalls.measured(),
  };
}
