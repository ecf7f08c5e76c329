import type { IP } from '../address/ip.ts';
import type { Prefix } from '../address/prefix.ts';
import type { Backend } from './maps/backends.ts';
import type { Endpoint } from './maps/endpoint.ts';
import type { RangeKey } from './maps/ranges.ts';
import { SERVICE_FLAGS, type Service, type Slot } from './maps/services.ts';
import { wildcardKey } from './places.ts';
import { each, type Portions } from './portions.ts';
import {
  type ProgrammedBackend,
  type ProgrammedSet,
  placeOf,
  rangeOf,
  ringOf,
  sameEntry,
} from './programmedSet.ts';
import type { Change, Changes } from './servicePlan.ts';

/** What the service maps hold. Gone through several times, and never held in memory: it may be millions. */
export interface Programmed {
  readonly services: Iterable<readonly [Endpoint, Service]>;
  readonly slots: Iterable<readonly [Slot, number]>;
  /** Without entries that were never used. */
  readonly backends: Iterable<readonly [number, Backend]>;
  readonly endpoints: Iterable<readonly [Endpoint, number]>;
  /** The service numbers in `tb_maglev`. */
  readonly rings: Iterable<number>;
  readonly ranges: Iterable<RangeKey>;
}

const ADOPTED = '#';

/** Whether a set was found in the maps and no service has asked for it yet. */
export function isAdopted(key: string): boolean {
  return key.startsWith(ADOPTED);
}

/** Entries to a portion: reading one takes a microsecond. */
const ENTRIES = 1024;
const SETS = 256;

export interface Adoption {
  /** The sets that the service entries speak of, each with all its frontends. */
  readonly sets: readonly ProgrammedSet[];
  /** The highest number that was ever given out to a service or a backend, as far as the maps can tell. */
  readonly highest: { readonly service: number; readonly backend: number };
  /** The service numbers in `tb_maglev`. */
  readonly rings: readonly number[];
}

/** Goes once through services, slots and backends; what belongs to no set any more is put down for removal. */
export function* readSets(
  { services, slots, backends, rings, ranges }: Programmed,
  strays: Changes,
): Portions<Adoption> {
  const highest = { service: 0, backend: 0 };
  const met = (service: number) => {
    highest.service = Math.max(highest.service, service);
  };
  const found = new Map<number, Found>();
  const shared = new Set<string>();
  yield* each(services, ENTRIES, ([endpoint, service]) => {
    met(service.number);
    if (endpoint.port !== 0) enter(found, endpoint, service);
    else if ((service.flags & SERVICE_FLAGS.sharedAddress) !== 0) shared.add(placeOf(endpoint));
  });
  yield* each(slots, ENTRIES, ([key, was]) => {
    met(key.service);
    const set = found.get(key.service);
    const used = set?.service.generation === key.generation && key.index < set.service.count;
    if (!used) {
      strays.slot({ key, value: undefined, was });
      return;
    }
    // One that is missing stays 0, like no backend: the next plan sees a difference there, and mends it.
    set.slots ??= new Array<number>(set.service.count).fill(0);
    set.slots[key.index] = was;
  });
  yield* each(backends, ENTRIES, ([number, was]) => {
    met(was.service);
    highest.backend = Math.max(highest.backend, number);
    if (was.state === 'none') return;
    const set = found.get(was.service);
    if (set) set.backends.push({ number, address: was.address, port: was.port, state: was.state });
    else strays.backend({ key: number, value: { ...was, state: 'none' }, was });
  });
  yield* each(ranges, ENTRIES, (key) => {
    met(key.service);
    const set = found.get(key.service);
    if (set && (set.service.flags & SERVICE_FLAGS.ranges) !== 0) set.ranges.push(rangeOf(key));
    else strays.range({ key, value: undefined, was: 1 });
  });
  const known = [...rings];
  known.forEach(met);
  const sets: ProgrammedSet[] = [];
  yield* each(found.values(), SETS, (set) => sets.push(adopted(set, shared)));
  return { sets, highest, rings: known };
}

interface Found {
  readonly endpoint: Endpoint;
  service: Service;
  readonly addresses: IP[];
  slots?: number[];
  readonly backends: ProgrammedBackend[];
  readonly ranges: Prefix[];
}

function enter(found: Map<number, Found>, endpoint: Endpoint, service: Service): void {
  const known = found.get(service.number);
  if (known === undefined) {
    found.set(service.number, { endpoint, service, addresses: [endpoint.address], backends: [], ranges: [] });
    return;
  }
  // A run cut short while a set went from one port to another leaves it on both. It has one: the other goes, as nobody's.
  if (endpoint.port === known.endpoint.port) known.addresses.push(endpoint.address);
  // A run cut short between two frontends of a set leaves one behind; the slots of both are there.
  if (((service.generation - known.service.generation) | 0) > 0) known.service = service;
}

function adopted(
  { endpoint, service, addresses, slots, backends, ranges }: Found,
  shared: ReadonlySet<string>,
): ProgrammedSet {
  return {
    key: `${ADOPTED}${service.number}`,
    number: service.number,
    generation: service.generation,
    protocol: endpoint.protocol,
    port: endpoint.port,
    frontends: addresses.map((address) => ({
      address,
      shared: shared.has(placeOf(wildcardKey(address, endpoint.scope))),
    })),
    backends: backends.sort((a, b) => a.number - b.number),
    slots: slots ?? new Array<number>(service.count).fill(0),
    affinitySeconds: service.affinity_seconds,
    maglev: (service.flags & SERVICE_FLAGS.maglev) !== 0,
    scope: endpoint.scope ?? 'inside',
    ranges,
    direct: (service.flags & SERVICE_FLAGS.direct) !== 0,
  };
}

/** What should be in the maps, for a comparison with what is. */
export interface Expected {
  readonly frontends: Table<Service>;
  readonly places: Table<number>;
}

interface Table<V> {
  readonly size: number;
  entryAt(key: Endpoint): V | undefined;
}

/** Writes what is missing and deletes what is too much: a run that was cut short leaves either. */
export function* compareMaps(
  actual: Programmed,
  { sets, rings }: Adoption,
  expected: Expected,
  changes: Changes,
): Portions<void> {
  yield* compare(actual.services, expected.frontends, keysOfServices(sets), sameEntry, (change) =>
    changes.service(placeOf(change.key), change),
  );
  yield* compare(actual.endpoints, expected.places, keysOfPlaces(sets), Object.is, (change) =>
    changes.endpoint(placeOf(change.key), change),
  );
  // What is in a ring is not read back: each is written anew.
  const left = new Set(rings);
  yield* each(sets, SETS, (set) => {
    const value = ringOf(set);
    if (left.delete(set.number) || value) changes.ring({ key: set.number, value, was: [] });
  });
  for (const key of left) changes.ring({ key, value: undefined, was: [] });
}

function* compare<V>(
  actual: Iterable<readonly [Endpoint, V]>,
  expected: Table<V>,
  keys: Iterable<Endpoint>,
  same: (a: V, b: V) => boolean,
  put: (change: Change<Endpoint, V>) => void,
): Portions<void> {
  let met = 0;
  yield* each(actual, ENTRIES, ([key, was]) => {
    const value = expected.entryAt(key);
    if (value !== undefined) met++;
    if (value === undefined || !same(value, was)) put({ key, value, was });
  });
  if (met === expected.size) return;
  const there = new Set<string>();
  yield* each(actual, ENTRIES, ([key]) => there.add(placeOf(key)));
  yield* each(keys, ENTRIES, (key) => {
    if (!there.has(placeOf(key))) put({ key, value: expected.entryAt(key), was: undefined });
  });
}

function* keysOfServices(sets: readonly ProgrammedSet[]): Generator<Endpoint> {
  for (const { frontends, port, protocol, scope } of sets) {
    for (const { address } of frontends) {
      yield* [{ address, port, protocol, scope }, wildcardKey(address, scope)];
    }
  }
}

function* keysOfPlaces(sets: readonly ProgrammedSet[]): Generator<Endpoint> {
  for (const { backends, protocol } of sets) {
    for (const { address, port } of backends) yield* [{ address, port, protocol }, wildcardKey(address)];
  }
}
