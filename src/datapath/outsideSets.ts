import { familyOf, type IP, parseIP } from '../address/ip.ts';
import { contains, networkOf, type Prefix, parseInterfaceAddress } from '../address/prefix.ts';
import { messageOf } from '../errors.ts';
import {
  affinityOf,
  type BackendSetView,
  balanceOf,
  type PortInput,
  type ServiceAddress,
} from './backendSet.ts';
import { backendsOf, type Candidate, candidatesOf } from './endpointCandidates.ts';
import { clusterIPsOf, type ServiceObject } from './serviceObjects.ts';

/** The node's own addresses: whoever asks here is served by the policy of the cluster, whoever asks from outside by its own. */
export function nodePortSets(input: PortInput): BackendSetView[] {
  const { service, port, protocol, family, node, problems } = input;
  const addresses = node.addresses.filter((address) => familyOf(address) === family);
  const inFamily = input.addresses.some(({ kind }) => kind === 'cluster');
  if (!port.nodePort || !inFamily || addresses.length === 0) return [];
  const candidates = candidatesOf(input);
  const key = `${input.key}:${port.port}/${protocol}/${family}/node-port`;
  const set = {
    protocol,
    port: port.nodePort,
    frontends: addresses.map((address) => ({ address, shared: true })),
    affinitySeconds: affinityOf(service),
    balance: balanceOf(service, problems),
  };
  const outside = backendsOf(isLocal(service, 'node') ? here(candidates) : candidates, protocol);
  return [
    { ...set, key, backends: backendsOf(candidates, protocol) },
    { ...set, key: `${key}/outside`, scope: 'outside', backends: outside },
  ];
}

/** What a client outside may ask: an address of the service, or one of the node. */
type Asked = ServiceAddress['kind'] | 'node';

/**
 * Whether clients outside are kept on the node that they come to. Where a service is to stay on the node inside the cluster, its
 * cluster IPs do so for everybody.
 */
export function isLocal({ spec }: Pick<ServiceObject, 'spec'>, asked: Asked): boolean {
  return (
    spec.externalTrafficPolicy === 'Local' || (asked === 'cluster' && spec.internalTrafficPolicy === 'Local')
  );
}

/**
 * Whether nodes hand packets of clients outside over to each other for this service: it has an address that leads to it from
 * outside, and backends anywhere.
 */
export function isHandedOver(service: ServiceObject, announcedClusterIPs: readonly Prefix[]): boolean {
  const { spec, status } = service;
  const ingress = status?.loadBalancer?.ingress ?? [];
  const balanced = ingress.some(({ ip, ipMode }) => ip !== undefined && ipMode !== 'Proxy');
  if ((balanced || (spec.externalIPs ?? []).length > 0) && !isLocal(service, 'external')) return true;
  if (announcedClusterIPs.length === 0 || isLocal(service, 'cluster')) return false;
  return clusterIPsOf(service).some((text) => isWithin(parseIP(text), announcedClusterIPs));
}

/**
 * Addresses that nodes announce or that a load balancer hands on unchanged. Every node finds the same backend for a client:
 * by a ring, unless told otherwise. A set of backends here alone takes what other nodes hand over.
 */
export function announcedSets(input: PortInput): BackendSetView[] {
  const candidates = candidatesOf(input);
  return (['cluster', 'external', 'load-balancer'] as const).flatMap((kind) =>
    setsOf(input, kind, candidates),
  );
}

function setsOf(
  input: PortInput,
  kind: ServiceAddress['kind'],
  candidates: readonly Candidate[],
): BackendSetView[] {
  const { service, port, protocol, family, node, problems } = input;
  const addresses = publicAddresses(input, kind);
  if (addresses.length === 0) return [];
  const key = `${input.key}:${port.port}/${protocol}/${family}/${kind}`;
  const set = {
    ranges: kind === 'load-balancer' ? sourceRanges(input) : [],
    protocol,
    port: port.port,
    // An external address may be a node's, and some load balancers name nodes; all others are the services' alone.
    frontends: addresses.map((address) => ({
      address,
      shared: kind === 'external' || node.addresses.includes(address),
    })),
    affinitySeconds: affinityOf(service),
  };
  const direct = !isLocal(service, kind);
  const outside: BackendSetView = {
    ...set,
    key: `${key}/outside`,
    scope: 'outside',
    backends: backendsOf(direct ? candidates : here(candidates), protocol),
    balance: balanceOf(service, problems, kind === 'cluster' ? 'maglev-if-room' : 'maglev'),
    direct,
  };
  const handedOver: BackendSetView = {
    ...set,
    key: `${key}/handed-over`,
    scope: 'handedOver',
    backends: backendsOf(here(candidates), protocol),
    balance: 'random',
  };
  return direct ? [outside, handedOver] : [outside];
}

/** Of the service's addresses of this kind, those that clients outside may ask. */
function publicAddresses({ addresses, node }: PortInput, wanted: ServiceAddress['kind']): IP[] {
  return addresses
    .filter(({ kind }) => kind === wanted)
    .map(({ address }) => address)
    .filter((address) => wanted !== 'cluster' || isWithin(address, node.announcedClusterIPs));
}

function isWithin(address: IP, ranges: readonly Prefix[]): boolean {
  return ranges.some((range) => contains(range, address));
}

function here(candidates: readonly Candidate[]): readonly Candidate[] {
  return candidates.filter(({ local }) => local);
}

function sourceRanges({ service, family, problems }: PortInput): Prefix[] {
  return (service.spec.loadBalancerSourceRanges ?? [])
    .flatMap((text) => {
      try {
        return [networkOf(parseInterfaceAddress(text.trim()))];
      } catch (error) {
        problems.push(`loadBalancerSourceRanges: ${messageOf(error)}`);
        return [];
      }
    })
    .filter(({ address }) => familyOf(address) === family);
}
