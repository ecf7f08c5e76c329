import type { IP } from '../address/ip.ts';
import { type Backend, type Endpoint, SERVICE_FLAGS, type Service, type Slot } from './layout.ts';
import { wildcardKey } from './places.ts';
import { type ProgrammedBackend, type ProgrammedSet, placeOf, ringOf, sameEntry } from './programmedSet.ts';
import { type Change, type Plan, PlanBuilder, type Ring } from './servicePlan.ts';
import type { FrontendView } from './serviceView.ts';

/** What the service maps hold. Gone through several times, and never held in memory: it may be millions. */
export interface Programmed {
  readonly services: Iterable<readonly [Endpoint, Service]>;
  readonly slots: Iterable<readonly [Slot, number]>;
  /** Without entries that were never used. */
  readonly backends: Iterable<readonly [number, Backend]>;
  readonly endpoints: Iterable<readonly [Endpoint, number]>;
  /** The service numbers in `tb_maglev`. */
  readonly rings: Iterable<number>;
}

const ADOPTED = '#';

/** Whether a set was found in the maps and no service has asked for it yet. */
export function isAdopted(key: string): boolean {
  return key.startsWith(ADOPTED);
}

/** The sets that the service entries speak of, each with all its frontends. */
export function adoptedSets({ services, slots, backends }: Programmed): ProgrammedSet[] {
  const found = frontendsByNumber(services);
  const slotsOf = slotsByNumber(slots, found);
  const membersOf = membersByNumber(backends);
  return [...found].map(([number, { endpoint, service, frontends }]) => ({
    key: `${ADOPTED}${number}`,
    number,
    generation: service.generation,
    protocol: endpoint.protocol,
    port: endpoint.port,
    frontends,
    backends: membersOf.get(number) ?? [],
    slots: slotsOf.get(number) ?? [],
    affinitySeconds: service.affinity_seconds,
    maglev: (service.flags & SERVICE_FLAGS.maglev) !== 0,
  }));
}

/** The highest number that was ever given out to a service or a backend, as far as the maps can tell. */
export function highestNumbers({ services, slots, backends, rings }: Programmed): {
  service: number;
  backend: number;
} {
  let service = 0;
  let backend = 0;
  for (const [, { number }] of services) service = Math.max(service, number);
  for (const [slot] of slots) service = Math.max(service, slot.service);
  for (const [number, { service: owner }] of backends) {
    service = Math.max(service, owner);
    backend = Math.max(backend, number);
  }
  for (const number of rings) service = Math.max(service, number);
  return { service, backend };
}

/** What should be in the maps, for a comparison with what is. */
export interface Expected {
  readonly sets: readonly ProgrammedSet[];
  readonly frontends: Table<Service>;
  readonly places: Table<number>;
}

interface Table<V> {
  readonly size: number;
  entryAt(key: Endpoint): V | undefined;
}

/** Writes what is missing and deletes what is too much: a run that was cut short leaves either. */
export function differences(actual: Programmed, expected: Expected): Plan {
  const builder = new PlanBuilder();
  const sets = new Map(expected.sets.map((set) => [set.number, set]));
  const members = new Set(expected.sets.flatMap(({ backends }) => backends.map(({ number }) => number)));
  compare(actual.services, expected.frontends, keysOfServices(expected.sets), sameEntry, (change) =>
    builder.service(placeOf(change.key), change),
  );
  compare(actual.endpoints, expected.places, keysOfPlaces(expected.sets), Object.is, (change) =>
    builder.endpoint(placeOf(change.key), change),
  );
  for (const [key, was] of actual.slots) {
    const set = sets.get(key.service);
    const used = set?.generation === key.generation && key.index < set.slots.length;
    if (!used) builder.slot({ key, value: undefined, was });
  }
  for (const [key, was] of actual.backends) {
    if (members.has(key) || was.state === 'none') continue;
    builder.backend({ key, value: { ...was, state: 'none' }, was });
  }
  // What is in a ring is not read back: each is written anew.
  const rings = new Map(
    expected.sets.map((set) => [set.number, ringOf(set)]).filter(([, ring]) => ring) as [number, Ring][],
  );
  for (const key of new Set([...actual.rings, ...rings.keys()])) {
    builder.ring({ key, value: rings.get(key), was: [] });
  }
  return builder.finish();
}

function compare<V>(
  actual: Iterable<readonly [Endpoint, V]>,
  expected: Table<V>,
  keys: Iterable<Endpoint>,
  same: (a: V, b: V) => boolean,
  put: (change: Change<Endpoint, V>) => void,
): void {
  let met = 0;
  for (const [key, was] of actual) {
    const value = expected.entryAt(key);
    if (value !== undefined) met++;
    if (value === undefined || !same(value, was)) put({ key, value, was });
  }
  if (met === expected.size) return;
  const there = new Set([...actual].map(([key]) => placeOf(key)));
  for (const key of keys) {
    if (!there.has(placeOf(key))) put({ key, value: expected.entryAt(key), was: undefined });
  }
}

function* keysOfServices(sets: readonly ProgrammedSet[]): Generator<Endpoint> {
  for (const { frontends, port, protocol } of sets) {
    for (const { address } of frontends) yield* [{ address, port, protocol }, wildcardKey(address)];
  }
}

function* keysOfPlaces(sets: readonly ProgrammedSet[]): Generator<Endpoint> {
  for (const { backends, protocol } of sets) {
    for (const { address, port } of backends) yield* [{ address, port, protocol }, wildcardKey(address)];
  }
}

interface Found {
  readonly endpoint: Endpoint;
  readonly service: Service;
  readonly frontends: FrontendView[];
}

function frontendsByNumber(services: Programmed['services']): Map<number, Found> {
  const shared = new Set<IP>();
  for (const [key, { flags }] of services) {
    if (key.port === 0 && (flags & SERVICE_FLAGS.sharedAddress) !== 0) shared.add(key.address);
  }
  const found = new Map<number, Found>();
  for (const [endpoint, service] of services) {
    if (endpoint.port === 0) continue;
    const known = found.get(service.number);
    const frontends = known?.frontends ?? [];
    frontends.push({ address: endpoint.address, shared: shared.has(endpoint.address) });
    // A run cut short between two frontends of a set leaves one behind; the slots of both are there.
    const newer = known === undefined || ((service.generation - known.service.generation) | 0) > 0;
    found.set(service.number, { endpoint, service: newer ? service : known.service, frontends });
  }
  return found;
}

/**
 * The slots of each set's own generation. One that is missing is 0, like no backend: the next plan sees a
 * difference there, and mends it.
 */
function slotsByNumber(slots: Programmed['slots'], found: ReadonlyMap<number, Found>): Map<number, number[]> {
  const chosen = new Map(
    [...found].map(([number, { service }]) => [number, new Array<number>(service.count).fill(0)]),
  );
  for (const [{ service, generation, index }, backend] of slots) {
    const numbers = chosen.get(service);
    if (numbers === undefined || index >= numbers.length) continue;
    if (found.get(service)?.service.generation === generation) numbers[index] = backend;
  }
  return chosen;
}

function membersByNumber(backends: Programmed['backends']): Map<number, ProgrammedBackend[]> {
  const members = new Map<number, ProgrammedBackend[]>();
  for (const [number, { address, port, state, service }] of backends) {
    if (state === 'none') continue;
    const backend = { number, address, port, state };
    const others = members.get(service);
    if (others === undefined) members.set(service, [backend]);
    else others.push(backend);
  }
  for (const list of members.values()) list.sort((a, b) => a.number - b.number);
  return members;
}
