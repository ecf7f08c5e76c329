import { formatIP } from '../address/ip.ts';
import { readFill, readReasons } from '../datapath/metrics.ts';
import type { NeighbourTable } from '../netlink/neighbourTable.ts';
import type { Datapath } from './datapath.ts';
import type { Metric } from './metrics.ts';

/** How near the kernel is to refusing neighbours: every node on the link is one, and every pod of this one. */
export function neighbourMetrics(tables: readonly NeighbourTable[]): Metric[] {
  const samples = (number: (table: NeighbourTable) => number | undefined) =>
    tables.flatMap((table) => {
      const value = number(table);
      return value === undefined ? [] : [{ labels: { family: `ipv${table.family}` }, value }];
    });
  return [
    {
      name: 'tombolo_neighbour_entries',
      help: 'Entries of the neighbour table, of all network namespaces, permanent ones included.',
      type: 'gauge',
      samples: samples(({ entries }) => entries),
    },
    {
      name: 'tombolo_neighbour_max_entries',
      help: 'What the neighbour table has room for (gc_thresh3); shown in the first network namespace alone.',
      type: 'gauge',
      samples: samples(({ limit }) => limit),
    },
    {
      name: 'tombolo_neighbour_overflows_total',
      help: 'Neighbours that were refused since the table was full.',
      type: 'counter',
      samples: samples(({ overflows }) => overflows),
    },
  ];
}

/** What the programs have counted, and how full their maps are. */
export function datapathMetrics(bpfDir: string, { services, flows }: Datapath): Metric[] {
  const fill = readFill(bpfDir);
  const { expired: _, lonely: __, direct: ___, ...states } = flows.counts;
  return [
    {
      name: 'tombolo_datapath_events_total',
      help: 'Packets and socket calls that met a reason: drop, deny or event.',
      type: 'counter',
      samples: readReasons(bpfDir).map(({ reason, kind, count }) => ({
        labels: { reason, kind },
        value: Number(count),
      })),
    },
    {
      name: 'tombolo_map_entries',
      help: 'Entries of eBPF maps.',
      type: 'gauge',
      samples: fill.map(({ map, entries }) => ({ labels: { map }, value: entries })),
    },
    {
      name: 'tombolo_map_max_entries',
      help: 'What eBPF maps have room for.',
      type: 'gauge',
      samples: fill.map(({ map, maxEntries }) => ({ labels: { map }, value: maxEntries })),
    },
    {
      name: 'tombolo_flows',
      help: 'Tracked flows by state, when they were last counted.',
      type: 'gauge',
      samples: Object.entries(states).map(([state, value]) => ({ labels: { state }, value })),
    },
    {
      name: 'tombolo_client_flows',
      help: 'Tracked flows of the ten clients with most of them, when they were last counted. One has at most half of the table.',
      type: 'gauge',
      samples: [...flows.byClient]
        .sort(([, a], [, b]) => b - a)
        .slice(0, 10)
        .map(([client, value]) => ({ labels: { client: formatIP(client) }, value })),
    },
    {
      name: 'tombolo_nat_flows',
      help: 'Flows between the cluster and the outside, when they were last counted: of pods hidden behind the node, of clients outside, and those of them that other nodes translate.',
      type: 'gauge',
      samples: [
        { labels: { kind: 'hidden' }, value: flows.translations.hidden },
        { labels: { kind: 'outside' }, value: flows.translations.outside },
        { labels: { kind: 'handed-over' }, value: flows.translations.handedOver },
      ],
    },
    {
      name: 'tombolo_backend_sets',
      help: 'Service ports that are programmed, by family.',
      type: 'gauge',
      samples: [{ value: [...services.sets()].length }],
    },
    {
      name: 'tombolo_service_problems',
      help: 'Reasons why services are not served as they are written.',
      type: 'gauge',
      samples: [{ value: services.problems().length }],
    },
  ];
}
