import { commit, version } from '../version.ts';
import type { Metric } from './metrics.ts';
import type { StatusParts } from './statusReport.ts';

/** What Prometheus is told of the agent itself. */
export function agentMetrics({
  node,
  store,
  stalls,
  records,
  cluster,
}: Pick<StatusParts, 'node' | 'store' | 'stalls' | 'records' | 'cluster'>): Metric[] {
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
    gauge(
      'node_addresses_missing',
      'Addresses that nodeIP says and no device of the node has.',
      node.missing.length,
    ),
    gauge(
      'node_problems',
      'What configuration or store say of the node that is not so: see tombolo status.',
      node.missing.length + cluster.problems().length,
    ),
    gauge('services', 'Services in the store.', services),
    gauge('endpoint_slices', 'Endpoint slices in the store.', slices),
    gauge('endpoints', 'Pods attached to this node.', records.list().records.length),
    gauge('event_loop_stall_seconds', 'How long the event loop was held up at most, lately.', latest),
    gauge('event_loop_longest_stall_seconds', 'How long the event loop was held up at most, ever.', longest),
    gauge('process_resident_bytes', 'Memory of the agent.', process.memoryUsage.rss()),
  ];
}
