import { formatIP, type IP, isIPv4 } from '../address/ip.ts';
import type { Prefix } from '../address/prefix.ts';
import type { FrontendView } from './backendSet.ts';
import type { Endpoint, Scope } from './maps/endpoint.ts';
import type { RangeKey } from './maps/ranges.ts';
import { SERVICE_FLAGS, type Service } from './maps/services.ts';
import type { Ring } from './servicePlan.ts';

/** A backend set as it is programmed. */
export interface ProgrammedSet {
  /** Of the `BackendSetView`; of a set that was found in the maps and not asked for yet, `#` and its number. */
  readonly key: string;
  readonly number: number;
  readonly generation: number;
  readonly protocol: number;
  readonly port: number;
  readonly frontends: readonly FrontendView[];
  /** By number. */
  readonly backends: readonly ProgrammedBackend[];
  /** Numbers of the active backends, as `tb_slots` has them under this generation. */
  readonly slots: readonly number[];
  readonly affinitySeconds: number;
  readonly maglev: boolean;
  readonly scope: Scope;
  /** The clients it is open to; none: everybody. */
  readonly ranges: readonly Prefix[];
  /** Whether packets for backends elsewhere are handed over to their nodes. */
  readonly direct: boolean;
}

export interface ProgrammedBackend {
  readonly number: number;
  readonly address: IP;
  readonly port: number;
  readonly state: 'active' | 'draining';
}

/** The entry of each of a set's frontends. */
export function entryOf(set: ProgrammedSet): Service {
  return {
    number: set.number,
    generation: set.generation,
    count: set.slots.length,
    flags:
      (set.affinitySeconds > 0 ? SERVICE_FLAGS.affinity : 0) |
      (set.maglev ? SERVICE_FLAGS.maglev : 0) |
      (set.ranges.length > 0 ? SERVICE_FLAGS.ranges : 0) |
      (set.direct ? SERVICE_FLAGS.direct : 0),
    affinity_seconds: set.affinitySeconds,
  };
}

export function sameEntry(a: Service, b: Service): boolean {
  return (
    a.number === b.number &&
    a.generation === b.generation &&
    a.count === b.count &&
    a.flags === b.flags &&
    a.affinity_seconds === b.affinity_seconds
  );
}

/** How many frontends there are at an address, and how many of them share it with others. */
export interface AddressUse {
  readonly all: number;
  readonly shared: number;
}

/** The entry of an address as such: it is the services' alone unless all frontends there share it. */
export function wildcardOf({ all, shared }: AddressUse): Service | undefined {
  if (all === 0) return undefined;
  const flags = shared === all ? SERVICE_FLAGS.sharedAddress : 0;
  return { number: 0, generation: 0, count: 0, flags, affinity_seconds: 0 };
}

/** The Maglev ring of a set that wants one. */
export function ringOf(set: ProgrammedSet): Ring | undefined {
  if (!set.maglev || set.slots.length === 0) return undefined;
  return set.backends
    .filter(({ state }) => state === 'active')
    .map((backend) => ({ number: backend.number, name: nameOf(backend) }));
}

export function sameNumbers(a: readonly number[], b: readonly number[]): boolean {
  return a.length === b.length && a.every((number, index) => number === b[index]);
}

/** A backend's name, alike on every node, so that all build the same ring. */
export function nameOf({ address, port }: { readonly address: IP; readonly port: number }): string {
  return `${formatIP(address)} ${port}`;
}

/** An endpoint as the key of a JavaScript map. */
export function placeOf({ address, port, protocol, scope }: Endpoint): string {
  return `${typeof address === 'number' ? '' : ':'}${address} ${port} ${protocol}${scope === undefined || scope === 'inside' ? '' : ` ${scope}`}`;
}

/** A prefix of clients, as the key of `tb_ranges`: the service's 32 bits first, and addresses of 128 bits. */
export function rangeKeyOf(service: number, { address, length }: Prefix): RangeKey {
  return { length: lengthBefore(address) + length, service, address };
}

/** The prefix of such a key. */
export function rangeOf({ length, address }: RangeKey): Prefix {
  return { address, length: length - lengthBefore(address) };
}

function lengthBefore(address: IP): number {
  return 32 + (isIPv4(address) ? 96 : 0);
}
