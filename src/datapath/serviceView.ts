import { familyOf, formatIP, type IP, parseIP } from '../address/ip.ts';
import { messageOf } from '../errors.ts';
import { PROTOCOLS, type ProtocolName } from './layout.ts';

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
  /** Unique and stable: `namespace/name:80/TCP/4`, with `/external` behind where policy tells them apart. */
  readonly key: string;
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
type Scope = 'internal' | 'external';

/** The name under which a service is known. */
export function serviceKey(metadata: ServiceObject['metadata']): string {
  return `${metadata.namespace ?? 'default'}/${metadata.name}`;
}

/**
 * What is to be served for a service with these slices, on this node. Pure; a service that is not ours
 * (headless, ExternalName, another proxy's) has no sets.
 */
export function viewService(
  service: ServiceObject,
  slices: readonly EndpointSliceObject[],
  nodeName: string,
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
      sets.push(...setsOf({ key, service, port, protocol, family, addresses, slices, nodeName, problems }));
    }
  }
  return { key, sets, problems: [...new Set(problems)] };
}

function isOurs({ metadata, spec }: ServiceObject): boolean {
  if (metadata.labels?.[PROXY_NAME_LABEL] !== undefined) return false;
  return spec.type !== 'ExternalName' && spec.clusterIP !== 'None' && !spec.clusterIPs?.includes('None');
}

interface ScopedFrontend extends FrontendView {
  readonly scope: Scope;
}

/**
 * Cluster IPs, and the addresses that lead to the service from outside: a pod that calls one of those is
 * served on the spot, by the policy of the cluster, unless a load balancer insists on seeing the traffic
 * (`ipMode: Proxy`, KEP-1860).
 */
function frontendsOf({ spec, status }: ServiceObject, problems: string[]): ScopedFrontend[] {
  const cluster = spec.clusterIPs ?? (spec.clusterIP ? [spec.clusterIP] : []);
  const balancers = (status?.loadBalancer?.ingress ?? [])
    .filter(({ ip, ipMode }) => ip !== undefined && ipMode !== 'Proxy')
    .map(({ ip }) => ip ?? '');
  const frontends = new Map<IP, ScopedFrontend>();
  const add = (text: string, scope: Scope) => {
    if (text === '') return;
    const address = parsed(text, 'address of the service', problems);
    if (address === undefined || frontends.has(address)) return;
    frontends.set(address, { address, scope, shared: scope === 'external' });
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
  readonly nodeName: string;
  readonly problems: string[];
}

/** One set for all frontends of a family, or two if traffic inside the cluster is to stay on the node. */
function setsOf(input: SetInput): BackendSetView[] {
  const { service, port, protocol, family, addresses } = input;
  const frontends = addresses.filter(({ address }) => familyOf(address) === family);
  if (frontends.length === 0) return [];
  const candidates = candidatesOf(input);
  const local = service.spec.internalTrafficPolicy === 'Local';
  const set = (scope: Scope, members: readonly ScopedFrontend[]): BackendSetView => ({
    key: `${input.key}:${port.port}/${protocol}/${family}${scope === 'external' ? '/external' : ''}`,
    protocol,
    port: port.port,
    frontends: members.map(({ address, shared }) => ({ address, shared })),
    backends: backendsOf(
      local && scope === 'internal' ? candidates.filter((candidate) => candidate.local) : candidates,
      protocol,
    ),
    affinitySeconds: affinityOf(service),
    balance: balanceOf(service, input.problems),
  });
  if (!local) return [set('internal', frontends)];
  return (['internal', 'external'] as const)
    .map((scope) =>
      set(
        scope,
        frontends.filter((frontend) => frontend.scope === scope),
      ),
    )
    .filter((set) => set.frontends.length > 0);
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
  { service, nodeName: self, problems }: SetInput,
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
    local: nodeName === self,
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

function balanceOf({ metadata }: ServiceObject, problems: string[]): 'random' | 'maglev' {
  const value = metadata.annotations?.[BALANCE_ANNOTATION] ?? 'random';
  if (value === 'random' || value === 'maglev') return value;
  problems.push(`annotation ${BALANCE_ANNOTATION} must be random or maglev (value ${JSON.stringify(value)})`);
  return 'random';
}

function parsed(text: string, what: string, problems: string[]): IP | undefined {
  try {
    return parseIP(text);
  } catch (error) {
    problems.push(`${what}: ${messageOf(error)}`);
    return undefined;
  }
}
