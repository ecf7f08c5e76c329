import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { setTimeout } from 'node:timers/promises';
import { parseIP } from '../../src/address/ip.ts';
import type { BackendSetView } from '../../src/datapath/backendSet.ts';
import { listFlows } from '../../src/datapath/flows.ts';
import { openServiceMaps } from '../../src/datapath/serviceMaps.ts';
import { ServicePlanner } from '../../src/datapath/services.ts';
import { listPins } from '../../src/ebpf/pin.ts';
import {
  both,
  bpfDir,
  directory,
  filtersOf,
  host,
  linkOf,
  listed,
  load,
  NIC,
  newPod,
  records,
  socketOnly,
} from './datapathPodScene.ts';
import { firstWord } from './within.ts';

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
