import { familyOf, type IP } from '../address/ip.ts';
import {
  addressOf,
  affinityOf,
  type BackendSetView,
  balanceOf,
  type PortInput,
  type ServiceAddress,
  type ServingNode,
} from './backendSet.ts';
import { backendsOf, candidatesOf } from './endpointCandidates.ts';
import { PROTOCOLS, type ProtocolName } from './maps/endpoint.ts';
import { announcedSets, nodePortSets } from './outsideSets.ts';
import { clusterIPsOf, type EndpointSliceObject, type ServiceObject } from './serviceObjects.ts';

/** A service as the datapath is to serve it. */
export interface ServiceView {
  /** `namespace/name`. */
  readonly key: string;
  readonly sets: readonly BackendSetView[];
  /** What in the objects cannot be served, for a person: one sentence each. */
  readonly problems: readonly string[];
}

/** Services with this label belong to another proxy. */
const PROXY_NAME_LABEL = 'service.kubernetes.io/service-proxy-name';

/** The name under which a service is known. */
function serviceKey(metadata: ServiceObject['metadata']): string {
  return `${metadata.namespace ?? 'default'}/${metadata.name}`;
}

/**
 * What is to be served for a service with these slices, on this node. Pure; a service that is not ours
 * (headless, ExternalName, another proxy's) has no sets.
 */
export function viewService(
  service: ServiceObject,
  slices: readonly EndpointSliceObject[],
  node: ServingNode,
): ServiceView {
  const key = serviceKey(service.metadata);
  const problems: string[] = [];
  if (!isOurs(service)) return { key, sets: [], problems };
  const all = addressesOf(service, problems);
  const sets: BackendSetView[] = [];
  for (const port of service.spec.ports ?? []) {
    const protocol = (port.protocol ?? 'TCP') as ProtocolName;
    if (!(protocol in PROTOCOLS)) {
      problems.push(`port ${port.port}: protocol ${protocol} is not served`);
      continue;
    }
    for (const family of [4, 6] as const) {
      const addresses = all.filter(({ address }) => familyOf(address) === family);
      const input = { key, service, port, protocol, family, addresses, slices, node, problems };
      sets.push(...insideSets(input), ...nodePortSets(input), ...announcedSets(input));
    }
  }
  return { key, sets, problems: [...new Set(problems)] };
}

function isOurs({ metadata, spec }: ServiceObject): boolean {
  if (metadata.labels?.[PROXY_NAME_LABEL] !== undefined) return false;
  return spec.type !== 'ExternalName' && spec.clusterIP !== 'None' && !spec.clusterIPs?.includes('None');
}

/** Each once, as what it is first: of the cluster, external, a load balancer's. */
function addressesOf({ spec, status }: ServiceObject, problems: string[]): ServiceAddress[] {
  const addresses = new Map<IP, ServiceAddress>();
  const add = (text: string, kind: ServiceAddress['kind']) => {
    const address = addressOf(text, 'address of the service', problems);
    if (address !== undefined && !addresses.has(address)) addresses.set(address, { address, kind });
  };
  for (const text of clusterIPsOf({ spec })) add(text, 'cluster');
  for (const text of spec.externalIPs ?? []) add(text, 'external');
  for (const { ip, ipMode } of status?.loadBalancer?.ingress ?? []) {
    // A balancer that insists on seeing the traffic (KEP-1860) hands it on to node ports.
    if (ip !== undefined && ipMode !== 'Proxy') add(ip, 'load-balancer');
  }
  return [...addresses.values()];
}

/**
 * For pods and the node's own processes. A pod that calls an address that leads to the service from outside is served on the
 * spot, by the policy of the cluster. One set for all addresses, or two if traffic inside the cluster is to stay on the node.
 */
function insideSets(input: PortInput): BackendSetView[] {
  const { service, port, protocol, family, addresses, problems } = input;
  if (addresses.length === 0) return [];
  const candidates = candidatesOf(input);
  const set = (members: readonly ServiceAddress[], from: typeof candidates, suffix = ''): BackendSetView => ({
    key: `${input.key}:${port.port}/${protocol}/${family}${suffix}`,
    protocol,
    port: port.port,
    frontends: members.map(({ address, kind }) => ({ address, shared: kind !== 'cluster' })),
    backends: backendsOf(from, protocol),
    affinitySeconds: affinityOf(service),
    balance: balanceOf(service, problems),
  });
  if (service.spec.internalTrafficPolicy !== 'Local') return [set(addresses, candidates)];
  const local = candidates.filter((candidate) => candidate.local);
  return [
    set(
      addresses.filter(({ kind }) => kind === 'cluster'),
      local,
    ),
    set(
      addresses.filter(({ kind }) => kind !== 'cluster'),
      candidates,
      '/external',
    ),
  ].filter(({ frontends }) => frontends.length > 0);
}
