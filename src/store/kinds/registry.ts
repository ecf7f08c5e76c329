import { formatProblem, isRecord, type Of, type Problem, withoutEmpty } from '../schema.ts';
import { bgpConfiguration } from './bgpConfiguration.ts';
import { bgpFilter } from './bgpFilter.ts';
import { bgpPeer } from './bgpPeer.ts';
import { endpointSlice } from './endpointSlice.ts';
import { event } from './event.ts';
import { ipamConfiguration } from './ipamConfiguration.ts';
import { ipClaim } from './ipClaim.ts';
import { ipPool } from './ipPool.ts';
import { type KindDefinition, problemsOf, type StoredObject } from './kind.ts';
import { lease } from './lease.ts';
import { namespace } from './namespace.ts';
import { networkPolicy } from './networkPolicy.ts';
import { node } from './node.ts';
import { nodeNetwork } from './nodeNetwork.ts';
import { pod } from './pod.ts';
import { secret } from './secret.ts';
import { service } from './service.ts';
import { statefulSet } from './statefulSet.ts';

export const KINDS = {
  Node: node,
  Namespace: namespace,
  Pod: pod,
  Service: service,
  EndpointSlice: endpointSlice,
  NetworkPolicy: networkPolicy,
  IPPool: ipPool,
  IPAMConfiguration: ipamConfiguration,
  BGPConfiguration: bgpConfiguration,
  BGPPeer: bgpPeer,
  BGPFilter: bgpFilter,
  NodeNetwork: nodeNetwork,
  IPClaim: ipClaim,
  Lease: lease,
  Secret: secret,
  StatefulSet: statefulSet,
  Event: event,
} as const;

export type Kind = keyof typeof KINDS;

/** The objects of a kind. */
export type ObjectOf<K extends Kind> = StoredObject & Of<(typeof KINDS)[K]['body']>;

export const KIND_NAMES = Object.keys(KINDS) as Kind[];

/** A definition whose type says only what all kinds share, for code that treats them alike. */
export function definitionOf(kind: Kind): KindDefinition<Kind, unknown> {
  return KINDS[kind] as unknown as KindDefinition<Kind, unknown>;
}

export function isKind(name: unknown): name is Kind {
  return typeof name === 'string' && Object.hasOwn(KINDS, name);
}

/** `service`, `Services`, `svc`: whatever people call a kind. */
export function kindNamed(name: string): Kind | undefined {
  const wanted = name.toLowerCase();
  return KIND_NAMES.find((kind) => {
    const { plural, shortNames = [] } = definitionOf(kind);
    return [kind.toLowerCase(), plural, ...shortNames].includes(wanted);
  });
}

/** An object that is not what its kind says; one line names the object, each field, and its value. */
export class InvalidObject extends Error {
  override readonly name = 'InvalidObject';
  readonly problems: readonly Problem[];

  constructor(what: string, problems: readonly Problem[]) {
    super(`Cannot accept ${what}: ${problems.map(formatProblem).join('; ')}`);
    this.problems = problems;
  }
}

/**
 * An object of a known kind out of parsed YAML or JSON; a version it is also accepted in becomes the stored one.
 *
 * @throws {InvalidObject} If it is not one.
 */
export function parseObject(written: unknown): ObjectOf<Kind> {
  const value = withoutEmpty(written);
  if (!isRecord(value)) {
    throw new InvalidObject('object', [{ path: '', reason: 'expected an object with kind', value }]);
  }
  if (!isKind(value.kind)) {
    const reason = `expected one of ${KIND_NAMES.join(', ')}`;
    throw new InvalidObject(describe(value), [{ path: 'kind', reason, value: value.kind }]);
  }
  const definition = definitionOf(value.kind);
  const problems = problemsOf(definition, value);
  if (problems.length > 0) throw new InvalidObject(describe(value), problems);
  return { ...value, apiVersion: definition.apiVersion } as unknown as ObjectOf<Kind>;
}

/** `Service default/web`, of whatever is there to name it by. */
export function describe(value: unknown): string {
  if (!isRecord(value)) return 'object';
  const metadata = isRecord(value.metadata) ? value.metadata : {};
  const name = [metadata.namespace, metadata.name].filter((part) => typeof part === 'string').join('/');
  return `${typeof value.kind === 'string' ? value.kind : 'object'} ${name || '(without a name)'}`;
}
