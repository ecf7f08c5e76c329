// What the tests of programs on pods have in common: a datapath of its own, a node, and pods as the agent would record them.
import { existsSync, mkdtempSync, rmdirSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before } from 'node:test';
import { parseMac } from '../../src/address/mac.ts';
import { parseInterfaceAddress } from '../../src/address/prefix.ts';
import { type AttachmentKind, type AttachmentSpec, attachmentId } from '../../src/attach/attachment.ts';
import type { PodInterface } from '../../src/attach/podPrograms.ts';
import { newRecord, RecordStore } from '../../src/attach/record.ts';
import { pinDirectory } from '../../src/datapath/directory.ts';
import { MAPS } from '../../src/datapath/layout.ts';
import { datapathPodPrograms } from '../../src/datapath/podPrograms.ts';
import { loadDatapath } from '../../src/datapath/programs.ts';
import { withDescriptor } from '../../src/ebpf/bpf.ts';
import { linkInfo } from '../../src/ebpf/link.ts';
import { openMap } from '../../src/ebpf/map.ts';
import { listPins, openPin, unpin } from '../../src/ebpf/pin.ts';
import { programInfo } from '../../src/ebpf/program.ts';
import { silentLog } from '../../src/log.ts';
import { namespaceCookie, namespaceIdentity } from '../../src/netlink/namespace.ts';
import { openNetlink } from '../../src/netlink/socket.ts';
import { type TestNamespace, TestNamespaces } from './namespaces.ts';

export const bpfDir = `/sys/fs/bpf/tbt-pods-${process.pid}`;
export const objects = join(import.meta.dirname, '../../dist/bpf');
export const directory = pinDirectory(bpfDir);
export const stateDir = mkdtempSync(join(tmpdir(), 'tbt-pods-'));
export const records = new RecordStore(stateDir);
export const namespaces = new TestNamespaces('tbtpods');
export const both = datapathPodPrograms({ bpfDir, mode: { socket: true, packet: true }, records });
export const socketOnly = datapathPodPrograms({ bpfDir, mode: { socket: true, packet: false }, records });

export let host: TestNamespace;

export function load(): void {
  const maxEntries = { tb_flows: 1024, tb_slots: 1024, tb_held: 64 };
  loadDatapath({ bpfDir, objects, maxEntries, cgroup: undefined, log: silentLog })[Symbol.dispose]();
}

before(() => {
  load();
  host = namespaces.create('host');
  host.run('ip', 'link', 'add', 'up0', 'type', 'veth', 'peer', 'name', 'up1');
  host.run('ip', 'link', 'set', 'up0', 'up');
});

after(() => {
  namespaces.close();
  for (const id of listPins(directory.links)) {
    for (const name of listPins(join(directory.links, id))) unpin(join(directory.links, id, name));
    rmdirSync(join(directory.links, id));
  }
  for (const path of [directory.maps, directory.programs, directory.cgroup, directory.links]) {
    for (const name of listPins(path)) unpin(join(path, name));
    if (existsSync(path)) rmdirSync(path);
  }
  if (existsSync(bpfDir)) rmdirSync(bpfDir);
  rmSync(stateDir, { recursive: true });
});

/** A pod with one interface, recorded as the agent would. */
export function newPod(
  name: string,
  kind: AttachmentKind,
  ifName = 'eth0',
  namespace = namespaces.create(name),
) {
  if (kind.kind === 'veth') {
    host.run(
      'ip',
      'link',
      'add',
      `v-${name}`,
      'type',
      'veth',
      'peer',
      'name',
      ifName,
      'netns',
      namespace.name,
    );
  } else {
    host.run(...macvlan(`m-${name}`));
    host.run('ip', 'link', 'set', `m-${name}`, 'netns', namespace.name, 'name', ifName);
  }
  namespace.run('ip', 'link', 'set', ifName, 'up');
  const id = attachmentId(name, ifName);
  const spec: AttachmentSpec = {
    id,
    containerId: name,
    ifName,
    network: 'pods',
    netns: namespace.path,
    kind,
    mtu: 0,
    addresses: [
      { address: parseInterfaceAddress('10.1.0.7/32') },
      { address: parseInterfaceAddress('fd01::7/128') },
    ],
    routes: [],
    ipam: { kind: 'agent' },
    cniVersion: '1.1.0',
  };
  const index = Number(namespace.ip(`link show dev ${ifName}`)[0].ifindex);
  const netnsCookie = namespace.inside(namespaceCookie);
  const record = newRecord(spec, {
    namespace: namespaceIdentity(namespace.path),
    netnsCookie: String(netnsCookie),
  });
  const mac = parseMac('02:00:00:00:00:01');
  records.write({ ...record, state: 'attached', attached: { pod: { name: ifName, mac, mtu: 1500, index } } });
  const netlink = namespace.inside(openNetlink);
  const pod: PodInterface = {
    id,
    kind: kind.kind,
    ifName,
    index,
    netns: namespace.path,
    netlink,
    netnsCookie,
    addresses: spec.addresses.map(({ address }) => address.address),
    hostIndex: undefined,
  };
  return { id, namespace, pod, cookie: netnsCookie ?? 0n, close: () => netlink.close() };
}

export function macvlan(name: string): [string, ...string[]] {
  return ['ip', 'link', 'add', name, 'link', 'up0', 'type', 'macvlan', 'mode', 'bridge'];
}

export const NIC: AttachmentKind = { kind: 'child', master: 'up0', type: 'macvlan' };

export function filtersOf(namespace: TestNamespace, device: string, direction: string): string {
  return namespace.run('tc', 'filter', 'show', 'dev', device, direction);
}

export function programId(name: string): number {
  return withDescriptor(openPin(directory.program(name)), (fd) => programInfo(fd).id);
}

export function linkOf(id: string, program: string) {
  return withDescriptor(openPin(directory.podLink(id, program)), linkInfo);
}

export function listed(cookie: bigint) {
  const map = openMap(directory.map('tb_netns'), MAPS.tb_netns.key, MAPS.tb_netns.value);
  try {
    return map.get(cookie);
  } finally {
    map.close();
  }
}
