import { familyOf } from '../address/ip.ts';
import { networkOf, type Prefix, parseInterfaceAddress } from '../address/prefix.ts';
import { messageOf } from '../errors.ts';
import { affinityOf, type BackendSetView, balanceOf, type PortInput } from './backendSet.ts';
import { backendsOf, type Candidate, candidatesOf } from './endpointCandidates.ts';
import type { ServiceObject } from './serviceObjects.ts';

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
  const outside = backendsOf(allowedFromOutside(input, candidates), protocol);
  return [
    { ...set, key, backends: backendsOf(candidates, protocol) },
    { ...set, key: `${key}/outside`, scope: 'outside', backends: outside },
  ];
}

/**
 * Whether nodes hand packets of clients outside over to each other for this service: it has an address that leads to it from
 * outside, and backends anywhere.
 */
export function isHandedOver({ spec, status }: ServiceObject): boolean {
  const ingress = status?.loadBalancer?.ingress ?? [];
  const announced = ingress.some(({ ip, ipMode }) => ip !== undefined && ipMode !== 'Proxy');
  return spec.externalTrafficPolicy !== 'Local' && (announced || (spec.externalIPs ?? []).length > 0);
}

/**
 * Addresses that nodes announce or that a load balancer hands on unchanged. Every node finds the same backend for a client:
 * by a ring, unless told otherwise. A set of backends here alone takes what other nodes hand over.
 */
export function announcedSets(input: PortInput): BackendSetView[] {
  const { service, port, protocol, family, addresses, problems } = input;
  const kinds = (['external', 'load-balancer'] as const).filter((kind) =>
    addresses.some((address) => address.kind === kind),
  );
  if (kinds.length === 0) return [];
  const candidates = allowedFromOutside(input, candidatesOf(input));
  const direct = service.spec.externalTrafficPolicy !== 'Local';
  return kinds.flatMap((kind): BackendSetView[] => {
    const key = `${input.key}:${port.port}/${protocol}/${family}/${kind}`;
    const set = {
      ranges: kind === 'load-balancer' ? sourceRanges(input) : [],
      protocol,
      port: port.port,
      // An external address may be a node's; a balancer's is the services' alone.
      frontends: addresses
        .filter((address) => address.kind === kind)
        .map(({ address }) => ({ address, shared: kind === 'external' })),
      affinitySeconds: affinityOf(service),
    };
    const balance = balanceOf(service, problems, 'maglev');
    const backends = backendsOf(candidates, protocol);
    const outside = { ...set, key: `${key}/outside`, scope: 'outside', backends, balance, direct } as const;
    if (!direct) return [outside];
    const here = backendsOf(
      candidates.filter(({ local }) => local),
      protocol,
    );
    const handedOver = { ...set, key: `${key}/handed-over`, scope: 'handedOver', backends: here } as const;
    return [outside, { ...handedOver, balance: 'random' }];
  });
}

function allowedFromOutside({ service }: PortInput, candidates: readonly Candidate[]): readonly Candidate[] {
  return service.spec.externalTrafficPolicy === 'Local'
    ? candidates.filter(({ local }) => local)
    : candidates;
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
