/** The compiled objects of `dist/bpf`, loaded for a test, with their maps shared and typed. */

import { closeSync } from 'node:fs';
import { join } from 'node:path';
import { parseIP } from '../../src/address/ip.ts';
import { MAPS, type MapName } from '../../src/datapath/layout.ts';
import type { BackendState } from '../../src/datapath/maps/backends.ts';
import { type Endpoint, PROTOCOLS, type ProtocolName } from '../../src/datapath/maps/endpoint.ts';
import type { Flow, FlowKey } from '../../src/datapath/maps/flows.ts';
import { SERVICE_FLAGS } from '../../src/datapath/maps/services.ts';
import { TC_PROGRAMS } from '../../src/datapath/programs.ts';
import { REASONS, type Reason } from '../../src/datapath/reasons.ts';
import type { Codec } from '../../src/ebpf/codec.ts';
import { u32 } from '../../src/ebpf/codec.ts';
import { MapIterator } from '../../src/ebpf/iterator.ts';
import { BpfMap, createMap, mapInfo, openMapById, perCpu } from '../../src/ebpf/map.ts';
import { type LoadedObject, loadObject, type Verified } from '../../src/ebpf/object.ts';

const DIRECTORY = join(import.meta.dirname, '../../dist/bpf');
export const OBJECTS = [
  ...([
    'eth0_egress',
    'eth0_ingress',
    'lo',
    'socket',
    'flow_gc',
    'held_gc',
    'nat_gc',
    'handover_gc',
  ] as const),
  ...([
    'host_ingress',
    'host_egress',
    'uplink_ingress',
    'uplink_egress',
    'vxlan_ingress',
    'vxlan_egress',
    'takeover',
  ] as const),
] as const;

export type ProgramName =
  | 'tb_eth0_egress'
  | 'tb_eth0_ingress'
  | 'tb_lo'
  | `tb_host_${'in' | 'e'}gress`
  | `tb_uplink_${'in' | 'out'}`
  | `tb_vxlan_${'in' | 'out'}`
  | 'tb_takeover'
  | `tb_${'connect' | 'sendmsg' | 'recvmsg' | 'getpeername'}${4 | 6}`
  | 'tb_sock_release'
  | 'tb_flow_gc'
  | 'tb_held_gc'
  | 'tb_nat_gc'
  | 'tb_handover_gc';

const WRITTEN_BY_PACKETS = [
  ...([
    'tb_clients',
    'tb_flows',
    'tb_affinity',
    'tb_fragments',
    'tb_held',
    'tb_sock_peers',
    'tb_nat',
    'tb_handovers',
  ] as const),
  'tb_stack_flows',
] as const;

export const MAGLEV_RING = 16381;

export interface DatapathOptions {
  readonly constants?: Readonly<Record<string, number>>;
  readonly maxEntries?: Partial<Record<MapName, number>>;
  /** Where the objects are. @default dist/bpf */
  readonly directory?: string | undefined;
  readonly verified?: Verified;
}

export interface ServiceFields {
  /** `address:port`, IPv6 in brackets. */
  readonly frontend: string;
  readonly protocol?: ProtocolName;
  readonly backends: readonly string[];
  readonly affinitySeconds?: number;
  readonly maglev?: boolean;
  /** Ports of the address that are no service's pass. */
  readonly shared?: boolean;
}

export interface ServiceHandle {
  readonly number: number;
  /** Backend numbers, in the order given. */
  readonly backends: number[];
}

type MapsByName = { [Name in MapName]: BpfMap<KeyOf<Name>, ValueOf<Name>> };
type KeyOf<Name extends MapName> = (typeof MAPS)[Name]['key'] extends Codec<infer K> ? K : never;
type ValueOf<Name extends MapName> = (typeof MAPS)[Name]['value'] extends Codec<infer V> ? V : never;

export class Datapath {
  readonly #objects: LoadedObject[] = [];
  readonly #fds = new Map<string, number>();
  readonly #programs = new Map<string, number>();
  readonly maps: MapsByName;
  #nextService = 1;
  #nextBackend = 1;

  constructor({ constants = {}, maxEntries = {}, directory = DIRECTORY, verified }: DatapathOptions = {}) {
    for (const object of OBJECTS) {
      const loaded = loadObject(join(directory, `${object}.o`), {
        constants: prefixed(constants),
        maxEntries: { tb_flows: 4096, tb_slots: 4096, ...maxEntries },
        types: TC_PROGRAMS,
        ...(verified && { verified }),
        reuse: ({ name }) => {
          const fd = this.#fds.get(name);
          return fd === undefined ? undefined : openMapById(mapInfo(fd).id);
        },
      });
      this.#objects.push(loaded);
      for (const [name, fd] of loaded.maps) if (!this.#fds.has(name)) this.#fds.set(name, fd);
      for (const [name, fd] of loaded.programs) this.#programs.set(name, fd);
    }
    this.maps = Object.fromEntries(
      Object.entries(MAPS).map(([name, { key, value }]) => [
        name,
        new BpfMap(
          openMapById(mapInfo(this.#fd(name)).id),
          key as Codec<unknown>,
          (name === 'tb_metrics' ? perCpu(value as Codec<bigint>) : value) as Codec<unknown>,
        ),
      ]),
    ) as unknown as MapsByName;
  }

  #fd(map: string): number {
    const fd = this.#fds.get(map);
    if (fd === undefined) throw new Error(`Cannot find map ${map}: no object uses it`);
    return fd;
  }

  program(name: ProgramName): number {
    const fd = this.#programs.get(name);
    if (fd === undefined) throw new Error(`Cannot find program ${name}`);
    return fd;
  }

  /** Enters a service the way the agent does: backends, slots, ring, then the frontend. */
  addService(fields: ServiceFields): ServiceHandle {
    const frontend = endpointOf(fields.frontend, fields.protocol);
    const service = { number: this.#nextService++, backends: [] as number[] };
    for (const text of fields.backends) {
      service.backends.push(this.addBackend(service.number, text, fields.protocol));
    }
    service.backends.forEach((backend, index) => {
      this.maps.tb_slots.set({ service: service.number, generation: 1, index }, backend);
    });
    if (fields.maglev) this.#addRing(service);
    this.maps.tb_services.set(addressAlone(frontend), {
      number: 0,
      generation: 0,
      count: 0,
      flags: fields.shared ? SERVICE_FLAGS.sharedAddress : 0,
      affinity_seconds: 0,
    });
    this.maps.tb_services.set(frontend, {
      number: service.number,
      generation: 1,
      count: service.backends.length,
      flags:
        (fields.affinitySeconds === undefined ? 0 : SERVICE_FLAGS.affinity) |
        (fields.maglev ? SERVICE_FLAGS.maglev : 0),
      affinity_seconds: fields.affinitySeconds ?? 0,
    });
    return service;
  }

  addBackend(service: number, text: string, protocol: ProtocolName = 'TCP'): number {
    const number = this.#nextBackend++;
    const endpoint = endpointOf(text, protocol);
    this.maps.tb_backends.set(number, { ...endpoint, state: 'active', service });
    this.maps.tb_endpoints.set(endpoint, number);
    this.maps.tb_endpoints.set(addressAlone(endpoint), 0);
    return number;
  }

  /** Changes what may be sent to a backend. */
  setBackendState(number: number, state: BackendState): void {
    const backend = this.maps.tb_backends.get(number);
    if (backend) this.maps.tb_backends.set(number, { ...backend, state });
  }

  /** Gives a service other backends of its own, under a new generation. */
  setSlots(frontendText: string, protocol: ProtocolName, backends: readonly number[]): void {
    const frontend = endpointOf(frontendText, protocol);
    const service = this.maps.tb_services.get(frontend);
    if (!service) throw new Error(`Cannot change service ${frontendText}: there is none`);
    const generation = service.generation + 1;
    backends.forEach((backend, index) => {
      this.maps.tb_slots.set({ service: service.number, generation, index }, backend);
    });
    this.maps.tb_services.set(frontend, { ...service, generation, count: backends.length });
    for (let index = 0; index < service.count; index++) {
      this.maps.tb_slots.delete({ service: service.number, generation: service.generation, index });
    }
  }

  /** A ring that gives its entries to the backends in turn. */
  #addRing({ number, backends }: ServiceHandle): void {
    const shape = {
      name: 'ring',
      type: 'array',
      keySize: 4,
      valueSize: 4,
      maxEntries: MAGLEV_RING,
      flags: 0,
    } as const;
    const ring = new BpfMap(createMap(shape), u32, u32);
    for (let entry = 0; entry < MAGLEV_RING; entry++) ring.set(entry, backends[entry % backends.length] ?? 0);
    this.maps.tb_maglev.set(number, ring.fd);
    ring.close();
  }

  /** What has been counted, without zeros. */
  metrics(): Partial<Record<Reason, number>> {
    const metrics: Partial<Record<Reason, number>> = {};
    REASONS.forEach(({ name }, index) => {
      const packets = (this.maps.tb_metrics.get(index) as unknown as bigint[]).reduce(
        (sum, cpu) => sum + cpu,
        0n,
      );
      if (packets > 0n) metrics[name] = Number(packets);
    });
    return metrics;
  }

  flows(): [FlowKey, Flow][] {
    return [...this.maps.tb_flows.entries()];
  }

  /** Empties what packets write. */
  forget(): void {
    for (const name of WRITTEN_BY_PACKETS) {
      const map = this.maps[name] as BpfMap<unknown, unknown>;
      for (const [key] of [...map.entries()]) map.delete(key);
    }
    const zeros = this.maps.tb_metrics.get(0) as unknown as bigint[];
    REASONS.forEach((_, index) => {
      this.maps.tb_metrics.set(index, zeros.map(() => 0n) as never);
    });
  }

  /** Runs a collector; the numbers it reports, by name. */
  collect(
    program: 'tb_flow_gc' | 'tb_held_gc' | 'tb_nat_gc',
    map: 'tb_flows' | 'tb_held' | 'tb_nat',
  ): Record<string, number> {
    const iterator = new MapIterator(this.program(program), this.maps[map].fd);
    try {
      const lines = iterator.run().toString().trim().split('\n');
      return Object.fromEntries(
        lines.map((line) => line.split(' ')).map(([name, number]) => [name, Number(number)]),
      );
    } finally {
      iterator.close();
    }
  }

  close(): void {
    for (const map of Object.values(this.maps)) map.close();
    for (const object of this.#objects) object.close();
  }
}

function prefixed(constants: Readonly<Record<string, number>>): Record<string, number> {
  return Object.fromEntries(Object.entries(constants).map(([name, value]) => [`tb_config.${name}`, value]));
}

export function endpointOf(text: string, protocol: ProtocolName = 'TCP'): Endpoint {
  const colon = text.lastIndexOf(':');
  return {
    address: parseIP(text.slice(0, colon).replace(/^\[|\]$/g, '')),
    port: Number(text.slice(colon + 1)),
    protocol: PROTOCOLS[protocol],
  };
}

function addressAlone(endpoint: Endpoint): Endpoint {
  return { ...endpoint, port: 0, protocol: 0 };
}

/** Closes descriptors whatever they are. */
export function closeAll(fds: Iterable<number>): void {
  for (const fd of fds) closeSync(fd);
}
