import { formatIP, type IP } from '../address/ip.ts';
import { addressOf, type BackendView, type PortInput } from './backendSet.ts';
import type { ProtocolName } from './maps/endpoint.ts';
import type { EndpointSliceObject, SliceEndpoint } from './serviceObjects.ts';

/** An endpoint that may become a backend. */
export interface Candidate {
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
export function candidatesOf(input: PortInput): Candidate[] {
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
function targetPortsOf(slice: EndpointSliceObject, { port, protocol, problems }: PortInput): number[] {
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
  { service, node, problems }: PortInput,
): Candidate | undefined {
  // More than one address means as many names of one endpoint; kube-proxy takes the first as well.
  const address = addressOf(addresses[0] ?? '', 'address of an endpoint', problems);
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
export function backendsOf(candidates: readonly Candidate[], protocol: ProtocolName): BackendView[] {
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
