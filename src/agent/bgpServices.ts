import { formatIP, type IP, isIPv4, parseIP } from '../address/ip.ts';
import {
  comparePrefixes,
  contains,
  formatPrefix,
  hostPrefix,
  type Prefix,
  parsePrefix,
  prefixSize,
} from '../address/prefix.ts';
import type { ServiceAddress } from '../datapath/backendSet.ts';
import { isLocal } from '../datapath/outsideSets.ts';
import type { BGPConfiguration } from '../store/kinds/bgpConfiguration.ts';
import { clusterIPs, type Service } from '../store/kinds/service.ts';
import type { ServiceFeed, ServiceInput } from './serviceFeed.ts';

/** The lists of a BGPConfiguration that say which service addresses are for the outside. */
export interface ServiceRanges {
  readonly clusterIPs: readonly Prefix[];
  readonly externalIPs: readonly Prefix[];
  readonly loadBalancerIPs: readonly Prefix[];
  /** Load balancers' ranges are announced as a whole. */
  readonly aggregated: boolean;
}

/** @param specs The node's own settings before those of the cluster. */
export function serviceRangesOf(specs: readonly BGPConfiguration['spec'][]): ServiceRanges {
  const setting = <K extends keyof BGPConfiguration['spec']>(key: K) =>
    specs.find((spec) => spec[key] !== undefined)?.[key];
  const ranges = (key: 'serviceClusterIPs' | 'serviceExternalIPs' | 'serviceLoadBalancerIPs') =>
    (setting(key) ?? []).map(({ cidr }) => parsePrefix(cidr));
  return {
    clusterIPs: ranges('serviceClusterIPs'),
    externalIPs: ranges('serviceExternalIPs'),
    loadBalancerIPs: ranges('serviceLoadBalancerIPs'),
    aggregated: setting('serviceLoadBalancerAggregation') !== 'Disabled',
  };
}

/** The lists in force on a node: its own settings, and those of the cluster for what these leave open. */
export function serviceRangesOn(node: string, configurations: readonly BGPConfiguration[]): ServiceRanges {
  const named = (name: string) =>
    configurations.filter(({ metadata }) => metadata.name === name).map(({ spec }) => spec);
  return serviceRangesOf([...named(`node.${node}`), ...named('default')]);
}

/** Ranges that every node announces, since every node serves what lies in them; a range of one address is a service's. */
export function aggregatesOf({
  clusterIPs,
  externalIPs,
  loadBalancerIPs,
  aggregated,
}: ServiceRanges): Prefix[] {
  const balanced = aggregated ? loadBalancerIPs : [];
  return [...clusterIPs, ...externalIPs, ...balanced].filter((range) => prefixSize(range) > 1n);
}

/**
 * The addresses of a service that this node announces by themselves: where clients outside stay on the node that they come to, while a
 * ready endpoint is here; otherwise while there is one anywhere, and no range announces the address anyway.
 */
export function announcedAddresses(input: ServiceInput, ranges: ServiceRanges, node: string): IP[] {
  const { service } = input;
  if (service === undefined) return [];
  const aggregates = aggregatesOf(ranges);
  return publicAddresses(service, ranges)
    .filter(({ address, kind }) =>
      isLocal(service, kind)
        ? hasReadyEndpoint(input, isIPv4(address), node)
        : !aggregates.some((range) => contains(range, address)) && hasReadyEndpoint(input, isIPv4(address)),
    )
    .map(({ address }) => address);
}

function publicAddresses(service: Service, ranges: ServiceRanges): ServiceAddress[] {
  const { spec, status } = service;
  const balanced = (status?.loadBalancer?.ingress ?? [])
    .filter(({ ipMode }) => ipMode !== 'Proxy')
    .flatMap(({ ip }) => ip ?? []);
  const within = (addresses: readonly string[], allowed: readonly Prefix[], kind: ServiceAddress['kind']) =>
    addresses
      .map(parseIP)
      .filter((address) => allowed.some((range) => contains(range, address)))
      .map((address) => ({ address, kind }));
  return [
    ...within(clusterIPs(service), ranges.clusterIPs, 'cluster'),
    ...within(spec.externalIPs ?? [], ranges.externalIPs, 'external'),
    ...within(spec.type === 'LoadBalancer' ? balanced : [], ranges.loadBalancerIPs, 'load-balancer'),
  ];
}

function hasReadyEndpoint({ slices }: ServiceInput, ipv4: boolean, node?: string): boolean {
  return slices
    .filter(({ addressType }) => addressType === (ipv4 ? 'IPv4' : 'IPv6'))
    .flatMap(({ endpoints = [] }) => endpoints)
    .some(
      ({ conditions, nodeName }) => conditions?.ready !== false && (node === undefined || nodeName === node),
    );
}

/** Follows services, and knows which of their addresses this node announces. */
export class ServiceAnnouncements {
  readonly #feed: ServiceFeed;
  readonly #node: string;
  readonly #announced = new Map<string, readonly IP[]>();
  #ranges: ServiceRanges = serviceRangesOf([]);

  constructor(feed: ServiceFeed, node: string) {
    this.#feed = feed;
    this.#node = node;
  }

  /** Takes what has changed in the feed. @returns Whether other addresses are announced now. */
  refresh(): boolean {
    return this.#feed.take().filter((input) => this.#judge(input)).length > 0;
  }

  /** What a node announces that may serve the outside: whole ranges, and addresses by themselves. */
  prefixes(ranges: ServiceRanges): Prefix[] {
    if (describe(ranges) !== describe(this.#ranges)) {
      this.#ranges = ranges;
      for (const input of this.#feed.all()) this.#judge(input);
    }
    const hosts = [...this.#announced.values()].flat().map(hostPrefix);
    const all = [...aggregatesOf(ranges), ...hosts].map((prefix) => [formatPrefix(prefix), prefix] as const);
    return [...new Map(all).values()].sort(comparePrefixes);
  }

  #judge(input: ServiceInput): boolean {
    const before = this.#announced.get(input.key) ?? [];
    const addresses = announcedAddresses(input, this.#ranges, this.#node);
    if (addresses.length > 0) this.#announced.set(input.key, addresses);
    else this.#announced.delete(input.key);
    return before.map(formatIP).join() !== addresses.map(formatIP).join();
  }
}

function describe({ clusterIPs, externalIPs, loadBalancerIPs, aggregated }: ServiceRanges): string {
  const lists = [clusterIPs, externalIPs, loadBalancerIPs].map((list) => list.map(formatPrefix));
  return JSON.stringify([lists, aggregated]);
}
