import { formatIP, parseIP } from '../address/ip.ts';
import type { RecordStore } from '../attach/record.ts';
import { listFlows } from '../datapath/flows.ts';
import { check } from '../ipam/check.ts';
import type { History } from '../ipam/history.ts';
import type { Ipam } from '../ipam/ipam.ts';
import { readNeighbourTables } from '../netlink/neighbourTable.ts';
import type { Netlink } from '../netlink/socket.ts';
import { commit, version } from '../version.ts';
import { eventMetric } from './addressEvents.ts';
import { addressReport } from './addressReport.ts';
import type { Resources } from './api.ts';
import type { Bgp } from './bgp.ts';
import type { Cluster } from './cluster.ts';
import type { AgentConfig } from './config.ts';
import type { Datapath } from './datapath.ts';
import { datapathMetrics, neighbourMetrics } from './datapathMetrics.ts';
import { type NodeFacts, uplinkNames } from './detect.ts';
import { endpointReports } from './endpointReport.ts';
import { explainReport } from './explainReport.ts';
import { flowReport } from './flowReport.ts';
import { booksOf } from './ipamBooks.ts';
import { ipamMetrics, ipamReport, segmentReports } from './ipamReport.ts';
import type { Metric } from './metrics.ts';
import type { Overlay } from './overlay.ts';
import { poolReport } from './poolReport.ts';
import { repairBooks } from './repair.ts';
import type { FlowReport, StatusReport } from './reports.ts';
import { serviceReports } from './serviceReport.ts';
import type { watchStalls } from './stall.ts';
import type { StoreState } from './storeState.ts';
import { tunnelReport } from './tunnelReport.ts';
import type { Verbs } from './verbs.ts';

export interface ReportParts {
  readonly config: AgentConfig;
  readonly node: NodeFacts;
  readonly netlink: Netlink;
  readonly ipam: Ipam;
  readonly history: History;
  readonly records: RecordStore;
  readonly datapath: Datapath;
  readonly bgp: Bgp;
  readonly overlay: Overlay;
  readonly cluster: Cluster;
  readonly store: StoreState;
  readonly stalls: ReturnType<typeof watchStalls>;
  readonly verbs: Verbs;
  readonly startedAt: string;
}

/** Flows are many: so many are told unless the caller asks for another number. */
const FLOWS_TOLD = 1000;

/** What the agent tells about itself, by `GET /v1/<resource>` and to Prometheus. */
export function reportsOf(parts: ReportParts): {
  resources: Resources;
  actions: Resources;
  metrics: () => Promise<Metric[]>;
} {
  const { config, ipam, records, datapath, cluster } = parts;
  const store = parts.store.store;
  const books = { ...parts, store };
  return {
    resources: {
      status: () => statusReport(parts),
      endpoints: () => endpointReports(records.list().records, ipam, { way: config.forwarding }),
      services: () => serviceReports(datapath.services.sets()),
      tunnels: () => parts.overlay.plan().prefixes.map(tunnelReport),
      ipam: async () => ipamReport(ipam, await poolReport(store).catch(() => [])),
      'ipam/address': (query) =>
        addressReport(parseIP(query.get('address') ?? ''), { ...books, node: parts.node.name }),
      'ipam/check': async () => check(await booksOf(books)),
      'ipam/explain': (query) =>
        explainReport(ipam, cluster, store, {
          namespace: query.get('namespace') ?? 'default',
          name: query.get('name') ?? '',
        }),
      flows: (query) => {
        const limit = Number(query.get('limit') ?? FLOWS_TOLD);
        const reports: FlowReport[] = [];
        for (const flow of listFlows(config.bpfDir)) {
          if (reports.push(flowReport(flow)) >= limit) break;
        }
        return reports;
      },
    },
    actions: {
      'ipam/repair': () =>
        repairBooks({ ...books, bpfDir: config.bpfDir, reconcile: () => cluster.reconcile() }),
    },
    metrics: async () => [
      ...agentMetrics(parts),
      ...parts.verbs.metrics(),
      ...ipamMetrics(ipam),
      eventMetric(cluster.events),
      ...datapathMetrics(config.bpfDir, datapath),
      ...neighbourMetrics(readNeighbourTables()),
      ...(await parts.bgp.metrics()),
    ],
  };
}

function statusReport(parts: ReportParts): StatusReport {
  const { config, node, ipam, records, datapath, cluster, store, stalls, startedAt } = parts;
  const { socket, packet } = config.services;
  return {
    node: node.name,
    nodeIPs: node.ips.map(formatIP),
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

function agentMetrics({ store, stalls, records, cluster }: ReportParts): Metric[] {
  const gauge = (name: string, help: string, value: number): Metric => ({
    name: `tombolo_${name}`,
    help,
    type: 'gauge',
    samples: [{ value }],
  });
  const { latest, longest } = stalls.measured();
  const { services, slices } = cluster.feed.sizes;
  return [
    {
      name: 'tombolo_build_info',
      help: 'What runs.',
      type: 'gauge',
      samples: [{ labels: { version, commit, node: process.versions.node }, value: 1 }],
    },
    gauge('store_synced', 'Whether everything has been listed once.', store.synced ? 1 : 0),
    gauge('store_reachable', 'Whether the store can be reached.', store.interrupted === undefined ? 1 : 0),
    gauge('store_problems', 'Objects in the store that cannot be accepted.', store.store.problems().length),
    gauge('services', 'Services in the store.', services),
    gauge('endpoint_slices', 'Endpoint slices in the store.', slices),
    gauge('endpoints', 'Pods attached to this node.', records.list().records.length),
    gauge('event_loop_stall_seconds', 'How long the event loop was held up at most, lately.', latest),
    gauge('event_loop_longest_stall_seconds', 'How long the event loop was held up at most, ever.', longest),
    gauge('process_resident_bytes', 'Memory of the agent.', process.memoryUsage.rss()),
  ];
}
