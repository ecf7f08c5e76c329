import { type IP, parseIP } from '../address/ip.ts';
import { specialOf } from '../address/nobodys.ts';
import type { Prefix } from '../address/prefix.ts';
import { messageOf } from '../errors.ts';
import type { ProtocolName, Scope } from './maps/endpoint.ts';
import type { EndpointSliceObject, ServiceObject, ServicePort } from './serviceObjects.ts';

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

/**
 * Whom a new flow goes to: anybody, or whom the ring of Maglev says, which is the same one on every node. A ring takes 64 KiB, and
 * there are only so many: where they are not asked for by name, half of them stay for others.
 */
export type Balance = 'random' | 'maglev' | 'maglev-if-room';

/** One port of a service in one family: frontends that share a set of backends. */
export interface BackendSetView {
  /**
   * Unique and stable: `namespace/name:80/TCP/4`, with `/external` behind where policy tells them apart, `/node-port`
   * for the node's own addresses, and `/outside` for clients in the network, `/handed-over` for those by way of other nodes.
   */
  readonly key: string;
  /** Absent: inside. */
  readonly scope?: Scope;
  /** The clients it is open to; absent or none: everybody. */
  readonly ranges?: readonly Prefix[];
  /** Whether packets for backends elsewhere are handed over to their nodes, which answer themselves. */
  readonly direct?: boolean;
  readonly protocol: ProtocolName;
  readonly port: number;
  readonly frontends: readonly FrontendView[];
  readonly backends: readonly BackendView[];
  /** Seconds a client keeps its backend; 0: no affinity. */
  readonly affinitySeconds: number;
  readonly balance: Balance;
}

/** The node that serves. */
export interface ServingNode {
  readonly name: string;
  /** Where its node ports are. */
  readonly addresses: readonly IP[];
  /** Cluster IPs in these ranges are announced: clients outside may ask them, too. */
  readonly announcedClusterIPs: readonly Prefix[];
}

/** An address of a service: of the cluster, or one that leads to it from outside. */
export interface ServiceAddress {
  readonly address: IP;
  readonly kind: 'cluster' | 'external' | 'load-balancer';
}

/** One port of a service in one family, and all that its sets depend on. */
export interface PortInput {
  /** `namespace/name`. */
  readonly key: string;
  readonly service: ServiceObject;
  readonly port: ServicePort;
  readonly protocol: ProtocolName;
  readonly family: 4 | 6;
  /** Of this family. */
  readonly addresses: readonly ServiceAddress[];
  readonly slices: readonly EndpointSliceObject[];
  readonly node: ServingNode;
  /** Where what cannot be served is put down. */
  readonly problems: string[];
}

const BALANCE_ANNOTATION = 'network.tombolo.dev/balance';

/** Of `service.spec.sessionAffinityConfig`, as the API server fills it in. */
const DEFAULT_AFFINITY_SECONDS = 10800;

export function affinityOf({ spec }: ServiceObject): number {
  if (spec.sessionAffinity !== 'ClientIP') return 0;
  return spec.sessionAffinityConfig?.clientIP?.timeoutSeconds ?? DEFAULT_AFFINITY_SECONDS;
}

export function balanceOf(
  { metadata }: ServiceObject,
  problems: string[],
  otherwise: Balance = 'random',
): Balance {
  const value = metadata.annotations?.[BALANCE_ANNOTATION];
  if (value === undefined) return otherwise;
  if (value === 'random' || value === 'maglev') return value;
  problems.push(`annotation ${BALANCE_ANNOTATION} must be random or maglev (value ${JSON.stringify(value)})`);
  return otherwise;
}

/** Undefined for what is no address, or stands for more than one host (a service must not get loopback of every node): that is put down. */
export function addressOf(text: string, what: string, problems: string[]): IP | undefined {
  try {
    const address = parseIP(text);
    const special = specialOf(address);
    if (special === undefined) return address;
    problems.push(`${what}: ${text} is ${special}`);
  } catch (error) {
    problems.push(`${what}: ${messageOf(error)}`);
  }
  return undefined;
}
