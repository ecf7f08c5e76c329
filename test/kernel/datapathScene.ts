// What the tests of the datapath have in common: all of it loaded under a directory and a cgroup of its own, and flows.
import { existsSync, mkdirSync, rmdirSync } from 'node:fs';
import { join } from 'node:path';
import { after, before } from 'node:test';
import { parseIP } from '../../src/address/ip.ts';
import { pinDirectory } from '../../src/datapath/directory.ts';
import { MAPS } from '../../src/datapath/layout.ts';
import { PROTOCOLS } from '../../src/datapath/maps/endpoint.ts';
import { loadDatapath } from '../../src/datapath/programs.ts';
import { cgroupRoot } from '../../src/ebpf/cgroup.ts';
import { openMap } from '../../src/ebpf/map.ts';
import { listPins, unpin } from '../../src/ebpf/pin.ts';
import { type Log, silentLog } from '../../src/log.ts';

export const bpfDir = `/sys/fs/bpf/tbt-datapath-${process.pid}`;
export const objects = join(import.meta.dirname, '../../dist/bpf');
export const directory = pinDirectory(bpfDir);
export const cgroup = join(cgroupRoot() ?? '', `tbt-datapath-${process.pid}`);
export const sizes = { tb_flows: 4096, tb_slots: 4096, tb_held: 64, tb_services: 1024 };

export function load(
  maxEntries: Record<string, number> = sizes,
  log: Log = silentLog,
  to: string | undefined = cgroup,
) {
  return loadDatapath({ bpfDir, objects, maxEntries, cgroup: to, log });
}

before(() => {
  mkdirSync(cgroup);
  load()[Symbol.dispose]();
});

after(() => {
  for (const path of [directory.maps, directory.programs, directory.cgroup, directory.links]) {
    for (const name of listPins(path)) unpin(join(path, name));
    if (existsSync(path)) rmdirSync(path);
  }
  if (existsSync(bpfDir)) rmdirSync(bpfDir);
  rmdirSync(cgroup);
});

export function flows() {
  return openMap(directory.map('tb_flows'), MAPS.tb_flows.key, MAPS.tb_flows.value);
}

/** A flow that will not time out during a test: both halves. */
export function addFlow(
  map: ReturnType<typeof flows>,
  client: string,
  port: number,
  protocol: number = PROTOCOLS.TCP,
): void {
  const now = Number(process.hrtime.bigint() / 1_000_000_000n);
  const [source, service, backend] = [client, '10.96.0.1', '10.1.0.1'].map(parseIP) as [never, never, never];
  const common = {
    service: 1,
    backend: 1,
    seen: now,
    since: now,
    state: 'open' as const,
    flags: 0,
    next_hop: Buffer.alloc(6),
  };
  const forward = { source, destination: service, source_port: port, destination_port: 80, protocol };
  const reply = { source: backend, destination: source, source_port: 8080, destination_port: port, protocol };
  map.set(
    { ...forward, direction: 'forward' },
    { ...common, address: backend, port: 8080, client_port: port },
  );
  map.set({ ...reply, direction: 'reply' }, { ...common, address: service, port: 80, client_port: port });
}
