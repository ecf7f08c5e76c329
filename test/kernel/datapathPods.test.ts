import assert from 'node:assert/strict';
import { existsSync, mkdtempSync, rmdirSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { setTimeout } from 'node:timers/promises';
import { parseIP } from '../../src/address/ip.ts';
import { parseMac } from '../../src/address/mac.ts';
import { parseInterfaceAddress } from '../../src/address/prefix.ts';
import { type AttachmentKind, type AttachmentSpec, attachmentId } from '../../src/attach/attachment.ts';
import type { PodInterface } from '../../src/attach/podPrograms.ts';
import { newRecord, RecordStore } from '../../src/attach/record.ts';
import { readSpec } from '../../src/attach/recordText.ts';
import type { BackendSetView } from '../../src/datapath/backendSet.ts';
import { pinDirectory } from '../../src/datapath/directory.ts';
import { listFlows } from '../../src/datapath/flows.ts';
import { MAPS, PROTOCOLS } from '../../src/datapath/layout.ts';
import { datapathPodPrograms } from '../../src/datapath/podPrograms.ts';
import { loadDatapath } from '../../src/datapath/programs.ts';
import { openServiceMaps } from '../../src/datapath/serviceMaps.ts';
import { ServicePlanner } from '../../src/datapath/services.ts';
import { destroyUdpSockets } from '../../src/datapath/socketDestroy.ts';
import { withDescriptor } from '../../src/ebpf/bpf.ts';
import { isDefunct, linkInfo } from '../../src/ebpf/link.ts';
import { openMap } from '../../src/ebpf/map.ts';
import { listPins, openPin, unpin } from '../../src/ebpf/pin.ts';
import { programInfo } from '../../src/ebpf/program.ts';
import { silentLog } from '../../src/log.ts';
import { namespaceCookie, namespaceIdentity } from '../../src/netlink/namespace.ts';
import { openNetlink } from '../../src/netlink/socket.ts';
import { type TestNamespace, TestNamespaces } from './namespaces.ts';
import { firstWord } from './within.ts';

const bpfDir = `/sys/fs/bpf/tbt-pods-${process.pid}`;
const objects = join(import.meta.dirname, '../../dist/bpf');
const directory = pinDirectory(bpfDir);
const stateDir = mkdtempSync(join(tmpdir(), 'tbt-pods-'));
const records = new RecordStore(stateDir);
const namespaces = new TestNamespaces('tbtpods');
const both = datapathPodPrograms({ bpfDir, mode: { socket: true, packet: true }, records });
const socketOnly = datapathPodPrograms({ bpfDir, mode: { socket: true, packet: false }, records });

let host: TestNamespace;

function load(): void {
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
function newPod(name: string, kind: AttachmentKind, ifName = 'eth0', namespace = namespaces.create(name)) {
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

function macvlan(name: string): [string, ...string[]] {
  return ['ip', 'link', 'add', name, 'link', 'up0', 'type', 'macvlan', 'mode', 'bridge'];
}

const NIC: AttachmentKind = { kind: 'child', master: 'up0', type: 'macvlan' };

function filtersOf(namespace: TestNamespace, device: string, direction: string): string {
  return namespace.run('tc', 'filter', 'show', 'dev', device, direction);
}

function programId(name: string): number {
  return withDescriptor(openPin(directory.program(name)), (fd) => programInfo(fd).id);
}

function linkOf(id: string, program: string) {
  return withDescriptor(openPin(directory.podLink(id, program)), linkInfo);
}

function listed(cookie: bigint) {
  const map = openMap(directory.map('tb_netns'), MAPS.tb_netns.key, MAPS.tb_netns.value);
  try {
    return map.get(cookie);
  } finally {
    map.close();
  }
}

describe('a pod on a veth', () => {
  test('gets filters on its own interfaces and is listed; twice is once', () => {
    const { namespace, pod, cookie, close } = newPod('a', { kind: 'veth' });
    for (let times = 0; times < 2; times++) namespace.inside(() => both.attach(pod));
    for (const [device, direction, program] of [
      ['eth0', 'egress', 'tb_eth0_egress'],
      ['eth0', 'ingress', 'tb_eth0_ingress'],
      ['lo', 'egress', 'tb_lo'],
    ] as const) {
      const shown = filtersOf(namespace, device, direction);
      assert.deepEqual(shown.match(/handle 0x6f tb_\w+/g), [`handle 0x6f ${program}`]);
      assert.match(shown, /direct-action/);
    }
    assert.deepEqual(listed(cookie), { flags: 3, ipv4: parseIP('10.1.0.7'), ipv6: parseIP('fd01::7') });
    namespace.inside(() => both.check(pod));
    close();
  });

  test('has programs at both ends, and its addresses are forgotten also if the attachment was never completed', () => {
    const { id, namespace, pod, close } = newPod('half', { kind: 'veth' });
    const recorded = records.read(id);
    assert.notEqual(recorded, undefined);
    if (recorded === undefined) return;
    const mac = parseMac('02:00:00:00:00:02');
    const index = Number(host.ip('link show dev v-half')[0].ifindex);
    const end = {
      spec: readSpec(recorded.spec),
      host: { name: 'v-half', mac, index },
      pod: { name: 'eth0', mac, mtu: 1500, index: pod.index },
      netlink: host.inside(openNetlink),
    };
    namespace.inside(() => both.attach({ ...pod, hostIndex: index }, end));
    assert.match(filtersOf(host, 'v-half', 'ingress'), /handle 0x6f tb_host_ingress/);
    assert.match(filtersOf(host, 'v-half', 'egress'), /handle 0x6f tb_host_egress/);
    both.checkHost(end);
    const { attached: _, ...unfinished } = recorded;
    records.write({ ...unfinished, state: 'detaching' });
    both.detach(id);
    assert.throws(() => both.checkHost(end), /Cannot find the pod in tb_pods/);
    records.remove(id);
    end.netlink.close();
    close();
  });

  test('is found out when a filter is missing or is another', () => {
    const { namespace, pod, close } = newPod('b', { kind: 'veth' });
    namespace.inside(() => both.attach(pod));
    namespace.run('tc', 'filter', 'del', 'dev', 'eth0', 'ingress');
    assert.throws(
      () => namespace.inside(() => both.check(pod)),
      /Cannot find tb_eth0_ingress at ingress of interface \d+: nothing is attached/,
    );
    close();
  });

  test('is not listed any more once detached, and detaching again does nothing', () => {
    const { id, namespace, pod, cookie, close } = newPod('c', { kind: 'veth' });
    namespace.inside(() => both.attach(pod));
    both.detach(id);
    both.detach(id);
    assert.equal(listed(cookie), undefined);
    records.remove(id);
    close();
  });
});

describe('a pod with its own device', () => {
  test('gets links that tc does not see and the pod cannot remove', () => {
    const { id, namespace, pod, close } = newPod('d', NIC);
    for (let times = 0; times < 2; times++) namespace.inside(() => both.attach(pod));
    assert.deepEqual(listPins(directory.podLinks(id)), ['tb_eth0_egress', 'tb_eth0_ingress', 'tb_lo']);
    assert.equal(filtersOf(namespace, 'eth0', 'egress'), '');
    namespace.attempt('tc', 'qdisc', 'del', 'dev', 'eth0', 'clsact');
    namespace.inside(() => both.check(pod));
    both.detach(id);
    assert.equal(existsSync(directory.podLinks(id)), false);
    assert.throws(() => namespace.inside(() => both.check(pod)), /nothing is attached/);
    records.remove(id);
    close();
  });

  test('keeps the program of its loopback device while one of several attachments is left', () => {
    const first = newPod('e', NIC);
    const second = newPod('e2', NIC, 'net1', first.namespace);
    first.namespace.inside(() => both.attach(first.pod));
    second.namespace.inside(() => both.attach(second.pod));
    second.namespace.inside(() => both.check(second.pod));
    both.detach(first.id);
    records.remove(first.id);
    assert.ok(listPins(directory.podLinks(second.id)).includes('tb_lo'));
    assert.equal(linkOf(second.id, 'tb_lo').programId, programId('tb_lo'));
    assert.notEqual(listed(second.cookie), undefined);
    both.detach(second.id);
    records.remove(second.id);
    assert.equal(listed(second.cookie), undefined);
    first.close();
    second.close();
  });

  test('that is gone leaves defunct links, which detach removes', () => {
    const { id, namespace, pod, close } = newPod('f', NIC);
    namespace.inside(() => both.attach(pod));
    namespace.run('ip', 'link', 'del', 'eth0');
    assert.equal(isDefunct(linkOf(id, 'tb_eth0_egress')), true);
    both.detach(id);
    assert.equal(existsSync(directory.podLinks(id)), false);
    records.remove(id);
    close();
  });

  test('gets fresh links where its device was made anew', () => {
    const { id, namespace, pod, close } = newPod('g', NIC);
    namespace.inside(() => both.attach(pod));
    namespace.run('ip', 'link', 'del', 'eth0');
    host.run(...macvlan('m-again'));
    host.run('ip', 'link', 'set', 'm-again', 'netns', namespace.name, 'name', 'eth0');
    const index = Number(namespace.ip('link show dev eth0')[0].ifindex);
    namespace.inside(() => both.attach({ ...pod, index }));
    namespace.inside(() => both.check({ ...pod, index }));
    both.detach(id);
    records.remove(id);
    close();
  });
});

describe('an upgrade', () => {
  test('gives every pod the new programs in place, and passes over those that are gone', () => {
    const veth = newPod('h', { kind: 'veth' });
    const nic = newPod('i', NIC);
    const gone = newPod('j', NIC);
    for (const { namespace, pod } of [veth, nic, gone]) namespace.inside(() => both.attach(pod));
    const link = linkOf(nic.id, 'tb_eth0_egress').id;
    gone.close();
    gone.namespace.remove();
    load();
    assert.throws(() => nic.namespace.inside(() => both.check(nic.pod)), /another program is/);
    assert.deepEqual(both.replaceAll(), []);
    for (const { namespace, pod } of [veth, nic]) namespace.inside(() => both.check(pod));
    assert.equal(linkOf(nic.id, 'tb_eth0_egress').id, link);
    both.detach(gone.id);
    records.remove(gone.id);
    veth.close();
    nic.close();
  });

  test('to sockets alone takes the packet programs off, and back', () => {
    const veth = newPod('k', { kind: 'veth' });
    const nic = newPod('l', NIC);
    for (const { namespace, pod } of [veth, nic]) namespace.inside(() => both.attach(pod));
    assert.deepEqual(socketOnly.replaceAll(), []);
    assert.equal(filtersOf(veth.namespace, 'eth0', 'egress'), '');
    assert.deepEqual(listPins(directory.podLinks(nic.id)), []);
    assert.equal(listed(nic.cookie)?.flags, 1);
    assert.deepEqual(both.replaceAll(), []);
    for (const { namespace, pod } of [veth, nic]) namespace.inside(() => both.check(pod));
    veth.close();
    nic.close();
  });
});

describe('pods, services and an upgrade together', () => {
  const SERVICE = '10.96.0.80';
  const PODS = { client: '10.1.0.2', server: '10.1.0.3' };

  /** Pods with addresses, routed by the host as the veth attachment does. */
  function routedPod(name: keyof typeof PODS) {
    const pod = newPod(name, { kind: 'veth' });
    const { namespace } = pod;
    const mac = `02:00:00:00:00:0${PODS[name].at(-1)}`;
    host.run('ip', 'link', 'set', `v-${name}`, 'up', 'address', mac);
    host.run('ip', 'route', 'add', `${PODS[name]}/32`, 'dev', `v-${name}`);
    host.run('sysctl', '-qw', 'net.ipv4.ip_forward=1');
    namespace.run('ip', 'addr', 'add', `${PODS[name]}/32`, 'dev', 'eth0');
    namespace.run('ip', 'neigh', 'add', '169.254.1.1', 'lladdr', mac, 'dev', 'eth0', 'nud', 'permanent');
    namespace.run('ip', 'route', 'add', '169.254.1.1', 'dev', 'eth0');
    namespace.run('ip', 'route', 'add', 'default', 'via', '169.254.1.1');
    namespace.run('sysctl', '-qw', 'net.ipv4.conf.lo.accept_local=1');
    namespace.inside(() => both.attach(pod.pod));
    return pod;
  }

  const ECHO = `
import socket
s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM); s.bind(('0.0.0.0', 8080)); print('ready', flush=True)
while True:
    data, peer = s.recvfrom(64); s.sendto(data, peer)
`;
  const STREAM = `
import select, socket, sys, time
s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM); s.connect(('${SERVICE}', 80)); s.settimeout(5)
lost = wrong = sent = 0
while not select.select([sys.stdin], [], [], 0)[0]:
    sent += 1
    try:
        s.send(str(sent).encode())
        wrong += s.recv(64) != str(sent).encode()
    except OSError:
        lost += 1
    time.sleep(0.0005)
print(sent, lost, wrong, s.getpeername()[0])
`;

  test('a stream to a service loses no packet while all programs are replaced again and again', async () => {
    const client = routedPod('client');
    const server = routedPod('server');
    using maps = openServiceMaps(directory.maps);
    const planner = new ServicePlanner({
      backendLimit: maps.backendLimit,
      ringLimit: maps.ringLimit,
      now: () => 0,
    });
    const program = (backends: BackendSetView['backends']) => {
      const view = { key: 'default/echo', sets: [{ ...set, backends }], problems: [] };
      maps.apply(planner.plan([{ key: view.key, view }]));
    };
    const set: BackendSetView = {
      key: 'default/echo:80/UDP/4',
      protocol: 'UDP',
      port: 80,
      frontends: [{ address: parseIP(SERVICE), shared: false }],
      backends: [{ address: parseIP(PODS.server), port: 8080, state: 'active' }],
      affinitySeconds: 0,
      balance: 'random',
    };
    program(set.backends);
    const echo = server.namespace.start('python3', ['-c', ECHO], { stdio: ['ignore', 'pipe', 'inherit'] });
    await firstWord(echo);
    const stream = client.namespace.start('python3', ['-c', STREAM], {
      stdio: ['pipe', 'pipe', 'inherit'],
    });
    let said = '';
    stream.stdout?.setEncoding('utf8').on('data', (text: string) => {
      said += text;
    });
    const closed = new Promise<void>((resolve) => stream.once('close', () => resolve()));
    for (let upgrades = 0; upgrades < 5; upgrades++) {
      load();
      assert.deepEqual(both.replaceAll(), []);
      // New slots under the stream: another backend comes and goes.
      const other = { address: parseIP('10.1.0.99'), port: 8080, state: 'active' as const };
      program(upgrades % 2 === 0 ? [...set.backends, other] : set.backends);
      await setTimeout(20);
    }
    stream.stdin?.end();
    await closed;
    const [sent = 0, lost, wrong] = said.split(' ').map(Number);
    assert.ok(sent > 50, `${sent} packets`);
    assert.deepEqual([lost, wrong], [0, 0], said);
    assert.deepEqual([...listFlows(bpfDir)].length, 1);
    client.close();
    server.close();
  });
});

test('UDP sockets connected to a backend that is gone are ended, others are not', async () => {
  const pod = namespaces.create('udp');
  const script = `
import errno, socket, sys
def connected(family, address):
    s = socket.socket(family, socket.SOCK_DGRAM); s.connect(address); s.settimeout(0.1); return s
sockets = [connected(socket.AF_INET, ('127.0.0.1', 5301)), connected(socket.AF_INET6, ('::ffff:127.0.0.1', 5301)),
           connected(socket.AF_INET6, ('::1', 5301)), connected(socket.AF_INET, ('127.0.0.1', 5302))]
print('ready', flush=True)
sys.stdin.readline()
for s in sockets:
    try:
        s.recv(1)
    except OSError as error:
        print(errno.errorcode.get(error.errno, 'timeout'), flush=True)
`;
  const child = pod.start('python3', ['-c', script], { stdio: ['pipe', 'pipe', 'inherit'] });
  let said = '';
  child.stdout?.setEncoding('utf8').on('data', (text: string) => {
    said += text;
  });
  while (said === '') await setTimeout(10);
  const ended = pod.inside(() =>
    destroyUdpSockets([
      { address: parseIP('127.0.0.1'), port: 5301, protocol: PROTOCOLS.UDP },
      { address: parseIP('127.0.0.1'), port: 5302, protocol: PROTOCOLS.TCP },
    ]),
  );
  const closed = new Promise((resolve) => child.once('close', resolve));
  child.stdin?.end('\n');
  await closed;
  assert.equal(ended, 2);
  assert.deepEqual(said.trim().split('\n'), ['ready', 'ECONNABORTED', 'ECONNABORTED', 'timeout', 'timeout']);
});
