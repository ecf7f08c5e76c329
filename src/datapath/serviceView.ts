import { familyOf, formatIP, type IP, parseIP } from '../address/ip.ts';
import { networkOf, type Prefix, parseInterfaceAddress } from '../address/prefix.ts';
import { messageOf } from '../errors.ts';
import { PROTOCOLS, type ProtocolName, type Scope } from './layout.ts';

/** What of a Kubernetes `Service` the datapath looks at. */
export interface ServiceObject {
  readonly metadata: {
    readonly namespace?: string | undefined;
    readonly name: string;
    readonly labels?: Readonly<Record<string, string>> | undefined;
    readonly annotations?: Readonly<Record<string, string>> | undefined;
  };
  readonly spec: {
    readonly type?: string | undefined;
    readonly clusterIP?: string | undefined;
    readonly clusterIPs?: readonly string[] | undefined;
    readonly externalIPs?: readonly string[] | undefined;
    readonly ports?: readonly ServicePort[] | undefined;
    readonly sessionAffinity?: string | undefined;
    readonly sessionAffinityConfig?:
      | { readonly clientIP?: { readonly timeoutSeconds?: number | undefined } | undefined }
      | undefined;
    readonly internalTrafficPolicy?: string | undefined;
    readonly externalTrafficPolicy?: string | undefined;
    readonly loadBalancerSourceRanges?: readonly string[] | undefined;
    readonly publishNotReadyAddresses?: boolean | undefined;
  };
  readonly status?:
    | {
        readonly loadBalancer?:
          | {
              readonly ingress?:
                | readonly { readonly ip?: string | undefined; readonly ipMode?: string | undefined }[]
                | undefined;
            }
          | undefined;
      }
    | undefined;
}

export interface ServicePort {
  readonly name?: string | undefined;
  readonly protocol?: string | undefined;
  readonly port: number;
  readonly nodePort?: number | undefined;
}

/** What of a Kubernetes `EndpointSlice` the datapath looks at. */
export interface EndpointSliceObject {
  readonly metadata: { readonly name: string };
  readonly addressType: string;
  readonly ports?:
    | readonly {
        readonly name?: string | undefined;
        readonly protocol?: string | undefined;
        readonly port?: number | undefined;
      }[]
    | null
    | undefined;
  readonly endpoints?: readonly SliceEndpoint[] | null | undefined;
}

export interface SliceEndpoint {
  readonly addresses: readonly string[];
  readonly conditions?:
    | {
        readonly ready?: boolean | null | undefined;
        readonly serving?: boolean | null | undefined;
        readonly terminating?: boolean | null | undefined;
      }
    | undefined;
  readonly nodeName?: string | null | undefined;
}

export interface BackendView {
  readonly address: IP;
  readonly port: number;
  /** `draining` backends keep the flows they have and get no new ones. */
  readonly state: 'active' | 'draining';
}

export interface FrontendView {
  readonly address: IP;
  /** Whether the address may serve others as well, so that its unknown ports are none of our business. */
  readonly shared: boolean;
}

/** One port of a service in one family: frontends that share a set of backends. */
export interface BackendSetView {
  /**
   * Unique and stable: `namespace/name:80/TCP/4`, with `/external` behind where policy tells them apart, `/node-port`
   * for the node's own addresses, and `/outside` for clients in the network.
   */
  readonly key: string;
  /** Absent: inside. */
  readonly scope?: Scope;
  /** The clients it is open to; absent or none: everybody. */
  readonly ranges?: readonly Prefix[];
  readonly protocol: ProtocolName;
  readonly port: number;
  readonly frontends: readonly FrontendView[];
  readonly backends: readonly BackendView[];
  /** Seconds a client keeps its backend; 0: no affinity. */
  readonly affinitySeconds: number;
  readonly balance: 'random' | 'maglev';
}

/** A service as the datapath is to serve it. */
export interface ServiceView {
  /** `namespace/name`. */
  readonly key: string;
  readonly sets: readonly BackendSetView[];
  /** What in the objects cannot be served, for a person: one sentence each. */
  readonly problems: readonly string[];
}

export const BALANCE_ANNOTATION = 'network.tombolo.dev/balance';
/** Services with this label belong to another proxy. */
export const PROXY_NAME_LABEL = 'service.kubernetes.io/service-proxy-name';

/** Of `service.spec.sessionAffinityConfig`, as the API server fills it in. */
const DEFAULT_AFFINITY_SECONDS = 10800;

type Family = 4 | 6;
type Policy = 'internal' | 'external';

/** The name under which a service is known. */
export function serviceKey(metadata: ServiceObject['metadata']): string {
  return `${metadata.namespace ?? 'default'}/${metadata.name}`;
}

/** The node that serves. */
export interface ServingNode {
  readonly name: string;
  /** Where its node ports are. */
  readonly addresses: readonly IP[];
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
  const addresses = frontendsOf(service, problems);
  const sets: BackendSetView[] = [];
  for (const port of service.spec.ports ?? []) {
    const protocol = (port.protocol ?? 'TCP') as ProtocolName;
    if (!(protocol in PROTOCOLS)) {
      problems.push(`port ${port.port}: protocol ${protocol} is not served`);
      continue;
    }
    for (const family of [4, 6] as const) {
      const input = { key, service, port, protocol, family, addresses, slices, node, problems };
      sets.push(...setsOf(input), ...nodePortSets(input), ...announcedSets(input));
    }
  }
  return { key, sets, problems: [...new Set(problems)] };
}

function isOurs({ metadata, spec }: ServiceObject): boolean {
  if (metadata.labels?.[PROXY_NAME_LABEL] !== undefined) return false;
  return spec.type !== 'ExternalName' && spec.clusterIP !== 'None' && !spec.clusterIPs?.includes('None');
}

interface ScopedFrontend extends FrontendView {
  readonly policy: Policy;
}

/**
 * Cluster IPs, and the addresses that lead to the service from outside: a pod that calls one of those is
 * served on the spot, by the policy of the cluster, unless a load balancer insists on seeing the traffic
 * (`ipMode: Proxy`, KEP-1860).
 */
function frontendsOf({ spec, status }: ServiceObject, problems: string[]): ScopedFrontend[] {
  const cluster = spec.clusterIPs ?? (spec.clusterIP ? [spec.clusterIP] : []);
  const balancers = balancerIPs({ status });
  const frontends = new Map<IP, ScopedFrontend>();
  const add = (text: string, policy: Policy) => {
    if (text === '') return;
    const address = parsed(text, 'address of the service', problems);
    if (address === undefined || frontends.has(address)) return;
    frontends.set(address, { address, policy, shared: policy === 'external' });
  };
  for (const text of cluster) add(text, 'internal');
  for (const text of [...(spec.externalIPs ?? []), ...balancers]) add(text, 'external');
  return [...frontends.values()];
}

interface SetInput {
  readonly key: string;
  readonly service: ServiceObject;
  readonly port: ServicePort;
  readonly protocol: ProtocolName;
  readonly family: Family;
  readonly addresses: readonly ScopedFrontend[];
  readonly slices: readonly EndpointSliceObject[];
  readonly node: ServingNode;
  readonly problems: string[];
}

/** One set for all frontends of a family, or two if traffic inside the cluster is to stay on the node. */
function setsOf(input: SetInput): BackendSetView[] {
  const { service, port, protocol, family, addresses } = input;
  const frontends = addresses.filter(({ address }) => familyOf(address) === family);
  if (frontends.length === 0) return [];
  const candidates = candidatesOf(input);
  const local = service.spec.internalTrafficPolicy === 'Local';
  const set = (policy: Policy, members: readonly ScopedFrontend[]): BackendSetView => ({
    key: `${input.key}:${port.port}/${protocol}/${family}${policy === 'external' ? '/external' : ''}`,
    protocol,
    port: port.port,
    frontends: members.map(({ address, shared }) => ({ address, shared })),
    backends: backendsOf(
      local && policy === 'internal' ? candidates.filter((candidate) => candidate.local) : candidates,
      protocol,
    ),
    affinitySeconds: affinityOf(service),
    balance: balanceOf(service, input.problems),
  });
  if (!local) return [set('internal', frontends)];
  return (['internal', 'external'] as const)
    .map((policy) =>
      set(
        policy,
        frontends.filter((frontend) => frontend.policy === policy),
      ),
    )
    .filter((set) => set.frontends.length > 0);
}

/** The node's own addresses: whoever asks here is served by the policy of the cluster, whoever asks from outside by its own. */
function nodePortSets(input: SetInput): BackendSetView[] {
  const { port, protocol, family, node } = input;
  const addresses = node.addresses.filter((address) => familyOf(address) === family);
  const has = input.addresses.some(
    ({ address, policy }) => policy === 'internal' && familyOf(address) === family,
  );
  if (!port.nodePort || !has || addresses.length === 0) return [];
  const candidates = candidatesOf(input);
  const set = {
    protocol,
    port: port.nodePort,
    frontends: addresses.map((address) => ({ address, shared: true })),
    affinitySeconds: affinityOf(input.service),
    balance: balanceOf(input.service, input.problems),
  };
  const key = `${input.key}:${port.port}/${protocol}/${family}/node-port`;
  return [
    { ...set, key, backends: backendsOf(candidates, protocol) },
    {
      ...set,
      key: `${key}/outside`,
      scope: 'outside',
      backends: backendsOf(allowedFromOutside(input, candidates), protocol),
    },
  ];
}

/**
 * Addresses that nodes announce or that a load balancer hands on unchanged. Every node finds the same backend for a client
 * (a ring, unless told otherwise), so that one that takes over another's traffic need not know its flows.
 */
function announcedSets(input: SetInput): BackendSetView[] {
  const { service, port, protocol, family, addresses, problems } = input;
  const announced = addresses.filter(
    ({ address, policy }) => policy === 'external' && familyOf(address) === family,
  );
  const balancers = new Set(balancerIPs(service));
  const external = new Set(service.spec.externalIPs ?? []);
  const backends = backendsOf(allowedFromOutside(input, candidatesOf(input)), protocol);
  const set = (kind: string, members: readonly IP[], ranges: readonly Prefix[]): BackendSetView => ({
    key: `${input.key}:${port.port}/${protocol}/${family}/${kind}/outside`,
    scope: 'outside',
    ranges,
    protocol,
    port: port.port,
    // An external address may be a node's; a balancer's is the services' alone.
    frontends: members.map((address) => ({ address, shared: kind === 'external' })),
    backends,
    affinitySeconds: affinityOf(service),
    balance: balanceOf(service, problems, 'maglev'),
  });
  const chosen = (texts: ReadonlySet<string>) =>
    announced.map(({ address }) => address).filter((address) => texts.has(formatIP(address)));
  const of = (texts: ReadonlySet<string>) => chosen(new Set([...texts].map(canonical)));
  const balanced = of(balancers).filter((address) => !of(external).includes(address));
  return [
    set('external', of(external), []),
    set('load-balancer', balanced, sourceRanges(service, family, problems)),
  ].filter(({ frontends }) => frontends.length > 0);
}

function allowedFromOutside({ service }: SetInput, candidates: readonly Candidate[]): readonly Candidate[] {
  return service.spec.externalTrafficPolicy === 'Local'
    ? candidates.filter(({ local }) => local)
    : candidates;
}

function balancerIPs({ status }: Pick<ServiceObject, 'status'>): string[] {
  return (status?.loadBalancer?.ingress ?? [])
    .filter(({ ip, ipMode }) => ip !== undefined && ipMode !== 'Proxy')
    .map(({ ip }) => ip ?? '');
}

function canonical(text: string): string {
  try {
    return formatIP(parseIP(text));
  } catch {
    return text; // reported already
  }
}

function sourceRanges(service: ServiceObject, family: Family, problems: string[]): Prefix[] {
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

interface Candidate {
  readonly address: IP;
  readonly port: number;
  readonly ready: boolean;
  readonly serving: boolean;
  readonly terminating: boolean;
  readonly local: boolean;
}

/**
 * The endpoints of one port in one family. An endpoint that stands in two slices, as it does while one takes over
 * from the other, counts once, by its better half.
 */
function candidatesOf(input: SetInput): Candidate[] {
  const found = new Map<string, Candidate>();
  for (const slice of input.slices) {
    if (slice.addressType !== `IPv${input.family}`) continue;
    for (const port of targetPortsOf(slice, input)) {
      for (const endpoint of slice.endpoints ?? []) {
        const candidate = candidateOf(endpoint, port, input);
        if (candidate === undefined) continue;
        const id = `${formatIP(candidate.address)} ${candidate.port}`;
        found.set(id, better(found.get(id), candidate));
      }
    }
  }
  return [...found.values()];
}

/** A slice carries the port of its endpoints under the name of the service's port, named target ports resolved. */
function targetPortsOf(slice: EndpointSliceObject, { port, protocol, problems }: SetInput): number[] {
  const targets = (slice.ports ?? [])
    .filter(({ name, protocol: its }) => (name ?? '') === (port.name ?? '') && (its ?? 'TCP') === protocol)
    .map((target) => target.port)
    .filter((target) => target !== undefined);
  if (protocol !== 'SCTP') return targets;
  const unequal = targets.find((target) => target !== port.port);
  if (unequal !== undefined) {
    problems.push(
      `port ${port.port}/SCTP: the target port must be the same, for SCTP's checksum cannot be mended (value ${unequal})`,
    );
  }
  return targets.filter((target) => target === port.port);
}

/** Conditions that are not given mean: ready, serving if ready, not terminating (discovery/v1). */
function candidateOf(
  { addresses, conditions, nodeName }: SliceEndpoint,
  port: number,
  { service, node, problems }: SetInput,
): Candidate | undefined {
  // More than one address means as many names of one endpoint; kube-proxy takes the first as well.
  const address = parsed(addresses[0] ?? '', 'address of an endpoint', problems);
  if (address === undefined) return undefined;
  const ready = service.spec.publishNotReadyAddresses === true || (conditions?.ready ?? true);
  return {
    address,
    port,
    ready,
    serving: conditions?.serving ?? ready,
    terminating: conditions?.terminating ?? false,
    local: nodeName === node.name,
  };
}

function better(a: Candidate | undefined, b: Candidate): Candidate {
  if (a === undefined) return b;
  if (a.ready !== b.ready) return a.ready ? a : b;
  return a.serving ? a : b;
}

/**
 * New flows go to the ready; if nobody is, to those that still serve while they end (KEP-1669). Of the rest, a
 * TCP connection is left to its ends; a UDP flow has none, and stays only where somebody serves.
 */
function backendsOf(candidates: readonly Candidate[], protocol: ProtocolName): BackendView[] {
  const anyReady = candidates.some(({ ready }) => ready);
  return candidates
    .map((candidate): BackendView | undefined => {
      const { address, port, ready, serving, terminating } = candidate;
      const active = anyReady ? ready : serving && terminating;
      if (active) return { address, port, state: 'active' };
      return protocol !== 'UDP' || serving ? { address, port, state: 'draining' } : undefined;
    })
    .filter((backend) => backend !== undefined);
}

function affinityOf({ spec }: ServiceObject): number {
  if (spec.sessionAffinity !== 'ClientIP') return 0;
  return spec.sessionAffinityConfig?.clientIP?.timeoutSeconds ?? DEFAULT_AFFINITY_SECONDS;
}

function balanceOf(
  { metadata }: ServiceObject,
  problems: string[],
  otherwise: 'random' | 'maglev' = 'random',
): 'random' | 'maglev' {
  const value = metadata.annotations?.[BALANCE_ANNOTATION] ?? otherwise;
  if (value === 'random' || value === 'maglev') return value;
  problems.push(`annotation ${BALANCE_ANNOTATION} must be random or maglev (value ${JSON.stringify(value)})`);
  return otherwise;
}

function parsed(text: string, what: string, problems: string[]): IP | undefined {
  try {
    return parseIP(text);
  } catch (error) {
    problems.push(`${what}: ${messageOf(error)}`);
    return undefined;
  }
}
