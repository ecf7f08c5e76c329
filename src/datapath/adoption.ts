import { type Backend, type Endpoint, SERVICE_FLAGS, type Service, type Slot } from './layout.ts';
import { type ProgrammedBackend, type ProgrammedSet, placeOf, sameEntry } from './programmedSet.ts';
import { type Change, type Plan, PlanBuilder, type Step } from './servicePlan.ts';
import type { FrontendView } from './serviceView.ts';

/** What the service maps hold. */
export interface Programmed {
  readonly services: readonly (readonly [Endpoint, Service])[];
  readonly slots: readonly (readonly [Slot, number])[];
  /** Without entries that were never used. */
  readonly backends: readonly (readonly [number, Backend])[];
  readonly endpoints: readonly (readonly [Endpoint, number])[];
  /** The service numbers in `tb_maglev`. */
  readonly rings: readonly number[];
}

const ADOPTED = '#';

/** Whether a set was found in the maps and no service has asked for it yet. */
export function isAdopted(key: string): boolean {
  return key.startsWith(ADOPTED);
}

/** The sets that the service entries speak of, each with all its frontends. */
export function adoptedSets({ services, slots, backends }: Programmed): ProgrammedSet[] {
  const frontends = frontendsByNumber(services);
  const slotsOf = slotsBySet(slots);
  const membersOf = membersByService(backends);
  return [...frontends].map(([number, { endpoint, service, frontends }]) => {
    const chosen = slotsOf.get(`${number} ${service.generation}`);
    return {
      key: `${ADOPTED}${number}`,
      number,
      generation: service.generation,
      protocol: endpoint.protocol,
      port: endpoint.port,
      frontends,
      backends: membersOf.get(number) ?? [],
      // A slot that is missing is 0 here, like no backend: the next plan sees a difference and mends it.
      slots: Array.from({ length: service.count }, (_, index) => chosen?.get(index) ?? 0),
      affinitySeconds: service.affinity_seconds,
      maglev: (service.flags & SERVICE_FLAGS.maglev) !== 0,
    };
  });
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

/**
 * What stands in the maps and should not, or the other way round, once `expected` is what should: a run that
 * was cut short leaves entries that nobody looks at.
 *
 * @param expected The plan that writes everything into empty maps.
 */
export function differences(actual: Programmed, expected: Plan): Plan {
  const builder = new PlanBuilder();
  const frontends = new Wanted(changesOf(expected, 'tb_services'), placeOf);
  for (const [key, was] of actual.services) {
    const value = frontends.take(key);
    if (value === undefined || !sameEntry(value, was)) builder.service(placeOf(key), { key, value, was });
  }
  for (const change of frontends.rest()) builder.service(placeOf(change.key), change);

  const endpoints = new Wanted(changesOf(expected, 'tb_endpoints'), placeOf);
  for (const [key, was] of actual.endpoints) {
    const value = endpoints.take(key);
    if (value !== was) builder.endpoint(placeOf(key), { key, value, was });
  }
  for (const change of endpoints.rest()) builder.endpoint(placeOf(change.key), change);

  const rings = new Wanted(changesOf(expected, 'tb_maglev'), (number) => number);
  // What is in a ring is not read back: each is written anew.
  for (const key of actual.rings) builder.ring({ key, value: rings.take(key), was: [] });
  for (const change of rings.rest()) builder.ring(change);

  const slots = new Wanted(changesOf(expected, 'tb_slots'), slotId);
  for (const [key, was] of actual.slots) {
    if (slots.take(key) === undefined) builder.slot({ key, value: undefined, was });
  }
  const backends = new Wanted(changesOf(expected, 'tb_backends'), (number) => number);
  for (const [key, was] of actual.backends) {
    if (backends.take(key) === undefined && was.state !== 'none') {
      builder.backend({ key, value: { ...was, state: 'none' }, was });
    }
  }
  return builder.finish();
}

/** What a plan writes to one map, to be ticked off. */
class Wanted<K, V> {
  readonly #open: Map<string | number, Change<K, V>>;
  readonly #id: (key: K) => string | number;

  constructor(changes: readonly Change<K, V>[], id: (key: K) => string | number) {
    this.#id = id;
    this.#open = new Map(changes.map((change) => [id(change.key), change]));
  }

  take(key: K): V | undefined {
    const id = this.#id(key);
    const change = this.#open.get(id);
    this.#open.delete(id);
    return change?.value;
  }

  rest(): Iterable<Change<K, V>> {
    return this.#open.values();
  }
}

type ChangeOf<M extends Step['map']> = Extract<Step, { map: M }>['changes'][number];

function changesOf<M extends Step['map']>({ steps }: Plan, map: M): ChangeOf<M>[] {
  return steps.filter((step) => step.map === map).flatMap((step) => step.changes as readonly ChangeOf<M>[]);
}

function slotId({ service, generation, index }: Slot): string {
  return `${service} ${generation} ${index}`;
}

interface Found {
  readonly endpoint: Endpoint;
  readonly service: Service;
  readonly frontends: FrontendView[];
}

function frontendsByNumber(services: Programmed['services']): Map<number, Found> {
  const shared = new Set(
    services
      .filter(([key, { flags }]) => key.port === 0 && (flags & SERVICE_FLAGS.sharedAddress) !== 0)
      .map(([key]) => key.address),
  );
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

/** By service number and generation, the backend number at each index. */
function slotsBySet(slots: Programmed['slots']): Map<string, Map<number, number>> {
  const sets = new Map<string, Map<number, number>>();
  for (const [{ service, generation, index }, backend] of slots) {
    const id = `${service} ${generation}`;
    const set = sets.get(id);
    if (set === undefined) sets.set(id, new Map([[index, backend]]));
    else set.set(index, backend);
  }
  return sets;
}

function membersByService(backends: Programmed['backends']): Map<number, ProgrammedBackend[]> {
  const members = new Map<number, ProgrammedBackend[]>();
  for (const [number, { address, port, state, service }] of backends) {
    if (state === 'none') continue;
    const backend = { number, address, port, state };
    const others = members.get(service);
    if (others === undefined) members.set(service, [backend]);
    else others.push(backend);
  }
  return members;
}
