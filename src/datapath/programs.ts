import { closeSync, existsSync } from 'node:fs';
import { join } from 'node:path';
import { withDescriptor } from '../ebpf/bpf.ts';
import { FEATURES } from '../ebpf/features.ts';
import { mapInfo, openMapById } from '../ebpf/map.ts';
import { mapLayout } from '../ebpf/mapBtf.ts';
import { type LoadedObject, loadObject, type WantedMap } from '../ebpf/object.ts';
import { makePinDirectory, openPin, pin, replacePin } from '../ebpf/pin.ts';
import type { Log } from '../log.ts';
import { namespaceCookie } from '../netlink/namespace.ts';
import { attachCgroupPrograms, detachCgroupPrograms } from './cgroupPrograms.ts';
import { type PinDirectory, pinDirectory } from './directory.ts';
import type { MapName } from './layout.ts';
import { type Migration, migrate, sameLayout } from './mapMigration.ts';

/** BPF_PROG_TYPE_SCHED_CLS, loaded so that it fits clsact and TCX alike. */
const TC = { type: 3, attachType: 0 };

/** The programs of each object file. */
export const OBJECTS = {
  eth0_egress: ['tb_eth0_egress'],
  eth0_ingress: ['tb_eth0_ingress'],
  lo: ['tb_lo'],
  host_ingress: ['tb_host_ingress'],
  host_egress: ['tb_host_egress'],
  uplink_ingress: ['tb_uplink_in'],
  uplink_egress: ['tb_uplink_out'],
  vxlan_ingress: ['tb_vxlan_in'],
  vxlan_egress: ['tb_vxlan_out'],
  takeover: ['tb_takeover'],
  socket: [
    ...['tb_connect4', 'tb_connect6', 'tb_sendmsg4', 'tb_sendmsg6'],
    ...['tb_recvmsg4', 'tb_recvmsg6', 'tb_getpeername4', 'tb_getpeername6', 'tb_sock_release'],
  ],
  flow_gc: ['tb_flow_gc'],
  held_gc: ['tb_held_gc'],
  nat_gc: ['tb_nat_gc'],
  handover_gc: ['tb_handover_gc'],
} as const;

/** Programs whose section says which hook they are for, and not, as libbpf has it, which type of program. */
export const TC_PROGRAMS = Object.fromEntries(
  [
    ...['tb_eth0_egress', 'tb_eth0_ingress', 'tb_lo'],
    ...['tb_host_ingress', 'tb_host_egress', 'tb_uplink_in', 'tb_uplink_out', 'tb_vxlan_in', 'tb_vxlan_out'],
    'tb_takeover',
  ].map((name) => [name, TC]),
);

/** Maps whose entries are worth carrying over when their shape changes; those of the others come back by themselves. */
const WORTH_MIGRATING = new Set<string>([
  ...(['tb_services', 'tb_slots', 'tb_backends', 'tb_endpoints', 'tb_netns'] satisfies MapName[]),
  ...(['tb_flows', 'tb_affinity', 'tb_sock_peers'] satisfies MapName[]),
  ...(['tb_pods', 'tb_stack_flows', 'tb_tunnels', 'tb_node'] satisfies MapName[]),
  ...(['tb_nat', 'tb_handovers', 'tb_ranges'] satisfies MapName[]),
]);

/**
 * Maps that are created anew with every load: what they hold is only true as long as all programs that write there are those
 * of one load.
 */
const NEVER_TAKEN_OVER = new Set(['tb_flow_marks', 'tb_nat_marks']);

export interface DatapathOptions {
  /** `/sys/fs/bpf/tombolo`. */
  readonly bpfDir: string;
  /** Where the compiled objects are: `dist/bpf`. */
  readonly objects: string;
  /** Entries per map, in place of what `bpf/maps/` says. */
  readonly maxEntries?: Partial<Record<MapName, number>>;
  /** Members of `struct config` in `bpf/config.h`: seconds, and 0 or 1. */
  readonly constants?: Readonly<Record<string, number>>;
  /** Path of the cgroup whose sockets are served; `undefined`: none are. */
  readonly cgroup: string | undefined;
  readonly log: Log;
}

/** A load that has happened; the pods' own programs are still the former ones. */
export interface Upgrade extends Disposable {
  /**
   * To be called when every pod has the new programs: carries over what the former ones have written meanwhile
   * into maps that were replaced.
   */
  settle(): void;
}

/**
 * Loads all programs, over those of an earlier run if there are any: maps of unchanged shape are taken over,
 * others are created anew and filled from the old; pins change hands by rename, cgroup links by update. At no
 * time is a socket or a pod without a program.
 *
 * @throws {LoadError} If an object does not load: nothing has changed then.
 */
export function loadDatapath(options: DatapathOptions): Upgrade {
  const directory = pinDirectory(options.bpfDir);
  for (const path of [directory.maps, directory.programs, directory.cgroup, directory.links]) {
    makePinDirectory(path);
  }
  const maps = new MapSet(directory);
  const objects: LoadedObject[] = [];
  try {
    const constants = { ...constantsOfKernel(), ...options.constants };
    for (const name of Object.keys(OBJECTS)) objects.push(load(name, { ...options, constants }, maps));
    if (objects.some(({ verified }) => verified === 'by call')) {
      options.log.info('this kernel verifies functions at every call, which takes seconds');
    }
    maps.migrate(options.log);
    maps.pin();
    const programs = new Map(objects.flatMap(({ programs }) => [...programs]));
    for (const [name, fd] of programs) replacePin(fd, directory.program(name));
    if (options.cgroup === undefined) detachCgroupPrograms(directory);
    else attachCgroupPrograms(directory, options.cgroup, programs);
  } catch (error) {
    maps[Symbol.dispose]();
    throw error;
  } finally {
    for (const object of objects) object.close();
  }
  return { settle: () => maps.migrate(options.log), [Symbol.dispose]: () => maps[Symbol.dispose]() };
}

/** What the programs have to know of the kernel. */
function constantsOfKernel(): Readonly<Record<string, number>> {
  return {
    listed_netns_only: namespaceCookie() === undefined ? 0 : 1,
    coarse_clock: FEATURES.coarseClock.supported() ? 1 : 0,
  };
}

function load(name: string, options: DatapathOptions, maps: MapSet): LoadedObject {
  const object = loadObject(join(options.objects, `${name}.o`), {
    constants: Object.fromEntries(
      Object.entries(options.constants ?? {}).map(([member, value]) => [`tb_config.${member}`, value]),
    ),
    maxEntries: options.maxEntries ?? {},
    types: TC_PROGRAMS,
    reuse: (wanted) => maps.find(wanted),
  });
  maps.keep(object);
  return object;
}

/** The maps of one load: each is what is pinned, or what takes its place. */
class MapSet implements Disposable {
  readonly #directory: PinDirectory;
  readonly #open = new Map<string, number>();
  readonly #migrations = new Map<string, Migration>();
  /** Pinned maps of another shape, and the shape that is wanted. */
  readonly #outdated = new Map<string, { readonly fd: number; readonly wanted: WantedMap }>();

  constructor(directory: PinDirectory) {
    this.#directory = directory;
  }

  /** A descriptor of the map to use, for the caller to close; `undefined` if it has to be created. */
  find(wanted: WantedMap): number | undefined {
    const known = this.#open.get(wanted.name);
    if (known !== undefined) return openMapById(mapInfo(known).id);
    const path = this.#directory.map(wanted.name);
    if (!existsSync(path) || NEVER_TAKEN_OVER.has(wanted.name) || this.#outdated.has(wanted.name))
      return undefined;
    const fd = openPin(path);
    if (hasShape(fd, wanted)) return fd;
    this.#outdated.set(wanted.name, { fd, wanted });
    return undefined;
  }

  /** Holds on to the maps of an object beyond its end. */
  keep(object: LoadedObject): void {
    for (const [name, fd] of object.maps) {
      if (this.#open.has(name)) continue;
      const own = openMapById(mapInfo(fd).id);
      this.#open.set(name, own);
      const old = this.#outdated.get(name);
      if (old === undefined || !WORTH_MIGRATING.has(name)) continue;
      const before = mapLayout(mapInfo(old.fd));
      this.#migrations.set(name, { from: old.fd, to: own, before, after: old.wanted.layout });
    }
  }

  migrate(log: Log): void {
    for (const [map, migration] of this.#migrations) {
      const { copied, lost } = migrate(migration);
      if (lost > 0) log.warning('entries did not fit into the new map', { map, copied, lost });
      else log.info('map carried over into its new shape', { map, copied });
    }
  }

  pin(): void {
    for (const [name, fd] of this.#open) {
      const path = this.#directory.map(name);
      if (!existsSync(path)) pin(fd, path);
      else if (withDescriptor(openPin(path), (old) => mapInfo(old).id) !== mapInfo(fd).id)
        replacePin(fd, path);
    }
  }

  [Symbol.dispose](): void {
    for (const fd of this.#open.values()) closeSync(fd);
    for (const { fd } of this.#outdated.values()) closeSync(fd);
    this.#open.clear();
    this.#outdated.clear();
    this.#migrations.clear();
  }
}

function hasShape(fd: number, wanted: WantedMap): boolean {
  const info = mapInfo(fd);
  const same =
    info.type === wanted.type &&
    info.keySize === wanted.keySize &&
    info.valueSize === wanted.valueSize &&
    info.maxEntries === wanted.maxEntries &&
    info.flags === wanted.flags;
  if (!same || info.btf.id === 0) return same;
  const layout = mapLayout(info);
  return sameLayout(layout.key, wanted.layout.key) && sameLayout(layout.value, wanted.layout.value);
}
