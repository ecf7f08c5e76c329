import { closeSync } from 'node:fs';
import { join } from 'node:path';
import { u32, unlessZero } from '../ebpf/codec.ts';
import { BpfMap, createMap, openMap } from '../ebpf/map.ts';
import { because } from '../errors.ts';
import type { Programmed } from './adoption.ts';
import { MAPS } from './layout.ts';
import { MAGLEV_RING, maglevTable } from './maglev.ts';
import type { Backend } from './maps/backends.ts';
import { type Change, inverseOf, type Plan, type Ring, type Step } from './servicePlan.ts';

/** The service maps in the kernel. */
export interface ServiceMaps extends Disposable {
  /** Entries of `tb_backends`. */
  readonly backendLimit: number;
  /** Entries of `tb_maglev`. */
  readonly ringLimit: number;
  /**
   * Carries out a plan.
   *
   * @throws {Error} If a map is full; what was written is taken back first.
   */
  apply(plan: Plan): void;
  /** All that is programmed, read anew each time it is gone through. */
  readonly programmed: Programmed;
}

/** Opens the maps pinned in a directory. @throws {SystemError} `ENOENT` if they are not there. */
export function openServiceMaps(directory: string): ServiceMaps {
  const open = (name: Step['map']) => join(directory, name);
  const services = openMap(open('tb_services'), MAPS.tb_services.key, MAPS.tb_services.value);
  const slots = openMap(open('tb_slots'), MAPS.tb_slots.key, MAPS.tb_slots.value);
  const backends = openMap(open('tb_backends'), MAPS.tb_backends.key, MAPS.tb_backends.value);
  const endpoints = openMap(open('tb_endpoints'), MAPS.tb_endpoints.key, MAPS.tb_endpoints.value);
  const rings = openMap(open('tb_maglev'), MAPS.tb_maglev.key, MAPS.tb_maglev.value);
  const ranges = openMap(open('tb_ranges'), MAPS.tb_ranges.key, MAPS.tb_ranges.value);

  function carryOut(step: Step): void {
    if (step.map === 'tb_services') write(services, step.changes);
    else if (step.map === 'tb_slots') write(slots, step.changes);
    else if (step.map === 'tb_endpoints') write(endpoints, step.changes);
    else if (step.map === 'tb_ranges') write(ranges, step.changes);
    else if (step.map === 'tb_backends') write(backends, step.changes.map(inArray));
    else for (const { key, value } of step.changes) setRing(rings, key, value);
  }

  return {
    backendLimit: backends.info.maxEntries,
    ringLimit: rings.info.maxEntries,
    apply({ steps }) {
      steps.forEach((step, index) => {
        try {
          carryOut(step);
        } catch (error) {
          for (const undo of inverseOf(steps.slice(0, index + 1))) carryOut(undo);
          throw because('program services', error);
        }
      });
    },
    programmed: {
      services: each(() => services.entries()),
      slots: each(() => slots.entries()),
      backends: each(() => usedBackends(backends)),
      endpoints: each(() => endpoints.entries()),
      rings: each(() => rings.keys()),
      ranges: each(() => ranges.keys()),
    },
    [Symbol.dispose]() {
      for (const map of [services, slots, backends, endpoints, rings, ranges]) map.close();
    },
  };
}

function each<T>(entries: () => Iterator<T>): Iterable<T> {
  return { [Symbol.iterator]: entries };
}

/** Every backend has a protocol, so that an entry without one was never used. */
const PROTOCOL = MAPS.tb_backends.value.fields.find(({ name }) => name === 'protocol')?.offset ?? 0;
const usedBackend = unlessZero(MAPS.tb_backends.value, PROTOCOL);

function* usedBackends({ fd }: BpfMap<number, Backend>): Generator<[number, Backend]> {
  for (const [number, backend] of new BpfMap(fd, MAPS.tb_backends.key, usedBackend).entries()) {
    if (backend !== undefined) yield [number, backend];
  }
}

/** Nothing can be deleted from an array: a backend that shall not be there is one of state none. */
function inArray(change: Change<number, Backend>): Change<number, Backend> {
  const { value, was } = change;
  return value === undefined && was !== undefined ? { ...change, value: { ...was, state: 'none' } } : change;
}

function write<K, V>(map: BpfMap<K, V>, changes: readonly Change<K, V>[]): void {
  map.deleteAll(changes.filter(({ value }) => value === undefined).map(({ key }) => key));
  map.setAll(changes.flatMap(({ key, value }) => (value === undefined ? [] : [[key, value] as const])));
}

/** Swaps a service's ring for another: the map of maps changes hands once the new ring is complete. */
function setRing(rings: BpfMap<number, number>, service: number, ring: Ring | undefined): void {
  if (ring === undefined || ring.length === 0) {
    rings.delete(service);
    return;
  }
  const fd = createMap({
    name: 'maglev_ring',
    type: 'array',
    keySize: u32.size,
    valueSize: u32.size,
    maxEntries: MAGLEV_RING,
    flags: 0,
  });
  try {
    const entries = new BpfMap(fd, u32, u32);
    const names = ring.map(({ name }) => name);
    entries.setAll(Array.from(maglevTable(names), (index, at) => [at, ring[index]?.number ?? 0] as const));
    rings.set(service, fd);
  } finally {
    closeSync(fd);
  }
}
