import { formatIP } from '../address/ip.ts';
import { formatPrefix } from '../address/prefix.ts';
import type { Ipam } from '../ipam/ipam.ts';
import type { Metric } from './metrics.ts';
import type { IpamReport, SegmentReport } from './reports.ts';

export function segmentReports(ipam: Ipam): SegmentReport[] {
  return ipam.usage().map(({ segment, capacity, used, resting, reserved }) => ({
    cidr: formatPrefix(segment.prefix),
    gateway: segment.gateway === undefined ? undefined : formatIP(segment.gateway),
    state: segment.state,
    generation: segment.generation,
    pool: segment.pool,
    capacity: String(capacity),
    used,
    resting,
    reserved: String(reserved),
  }));
}

export function ipamReport(ipam: Ipam, pools: IpamReport['pools']): IpamReport {
  const borrowed = ipam.borrowed();
  return {
    pools,
    segments: segmentReports(ipam),
    kept: [...ipam.kept()].map(([address, claim]) => ({ address: formatIP(address), claim })),
    allocations: ipam.allocations().map(({ owner, pod, addresses, claim, at }) => ({
      addresses: addresses.map(formatIP),
      containerID: owner.containerID,
      ifName: owner.ifName,
      network: owner.network,
      pod: pod && `${pod.namespace}/${pod.name}`,
      claim,
      borrowed: addresses.some((address) => borrowed.includes(address)),
      since: new Date(at).toISOString(),
    })),
  };
}

export function ipamMetrics(ipam: Ipam): Metric[] {
  const { counters } = ipam;
  const gauge = (name: string, help: string, value: number): Metric => ({
    name: `tombolo_ipam_${name}`,
    help,
    type: 'gauge',
    samples: [{ value }],
  });
  const addresses = ipam.usage().flatMap(({ segment, capacity, used, resting, reserved }) => {
    const cidr = formatPrefix(segment.prefix);
    return [
      { labels: { segment: cidr, state: 'used' }, value: used },
      { labels: { segment: cidr, state: 'resting' }, value: resting },
      { labels: { segment: cidr, state: 'reserved' }, value: Number(reserved) },
      { labels: { segment: cidr, state: 'capacity' }, value: Number(capacity) },
    ];
  });
  const counter = (name: string, help: string, value: number): Metric => ({
    name: `tombolo_ipam_${name}_total`,
    help,
    type: 'counter',
    samples: [{ value }],
  });
  return [
    {
      name: 'tombolo_ipam_addresses',
      help: 'Addresses of the segments of this node.',
      type: 'gauge',
      samples: addresses,
    },
    gauge('kept_addresses', 'Addresses of this node that are set aside for claims.', ipam.kept().size),
    gauge('borrowed_addresses', "Addresses of other nodes' segments held here.", ipam.borrowed().length),
    counter('allocations', 'Attachments that were given addresses.', counters.allocations),
    counter('releases', 'Attachments whose addresses were taken back.', counters.releases),
    counter('exhausted', 'Requests that found no free address.', counters.exhausted),
    counter('hot', 'Addresses given out before they had rested, because no other was left.', counters.hot),
  ];
}
