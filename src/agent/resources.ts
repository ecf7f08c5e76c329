import { parseIP } from '../address/ip.ts';
import { listFlows } from '../datapath/flows.ts';
import { check } from '../ipam/check.ts';
import type { History } from '../ipam/history.ts';
import { readNeighbourTables } from '../netlink/neighbourTable.ts';
import type { Netlink } from '../netlink/socket.ts';
import { eventMetric } from './addressEvents.ts';
import { addressReport } from './addressReport.ts';
import { agentMetrics } from './agentMetrics.ts';
import type { Resources } from './api.ts';
import { datapathMetrics, neighbourMetrics } from './datapathMetrics.ts';
import { endpointReports } from './endpointReport.ts';
import { explainReport } from './explainReport.ts';
import { flowReport } from './flowReport.ts';
import { booksOf } from './ipamBooks.ts';
import { ipamMetrics, ipamReport } from './ipamReport.ts';
import type { Metric } from './metrics.ts';
import { poolReport } from './poolReport.ts';
import { repairBooks } from './repair.ts';
import type { FlowReport } from './reports.ts';
import { serviceReports } from './serviceReport.ts';
import { type StatusParts, statusReport } from './statusReport.ts';
import { tunnelReport } from './tunnelReport.ts';
import type { Verbs } from './verbs.ts';

export interface ReportParts extends StatusParts {
  readonly netlink: Netlink;
  readonly history: History;
  readonly verbs: Verbs;
}

/** Flows are many: so many are told unless the caller asks for another number. */
const FLOWS_TOLD = 1000;

export interface Reports {
  readonly resources: Resources;
  readonly actions: Resources;
  metrics(): Promise<Metric[]>;
}

/** What the agent tells about itself, by `GET /v1/<resource>` and to Prometheus. */
export function reportsOf(parts: ReportParts): Reports {
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
