import assert from 'node:assert/strict';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { formatIP } from '../address/ip.ts';
import { formatPrefix } from '../address/prefix.ts';
import { CONFIG_KEYS, kebab, readConfig } from './config.ts';

function read(yaml: string, options: Record<string, string> = {}) {
  const directory = mkdtempSync(join(tmpdir(), 'tombolo-config-'));
  const file = join(directory, 'agent.yaml');
  writeFileSync(file, yaml);
  try {
    return readConfig(file, options);
  } finally {
    rmSync(directory, { recursive: true });
  }
}

test('nothing at all is a configuration', () => {
  const config = readConfig(undefined, {});
  assert.equal(config.runDir, '/run/tombolo');
  assert.equal(config.stateDir, '/var/lib/tombolo');
  assert.equal(config.bpfDir, '/sys/fs/bpf/tombolo');
  assert.equal(config.store, 'directory:/var/lib/tombolo/store');
  assert.equal(config.bgp?.port, 179);
  assert.deepEqual(config.services, { socket: true, packet: true });
});

test('segments may name a gateway, in the file and on the command line', () => {
  const expected = [
    ['10.0.0.0/24', undefined],
    ['10.1.0.0/24', '10.1.0.1'],
  ];
  const shown = ({ segments }: ReturnType<typeof read>) =>
    segments.map(({ prefix, gateway }) => [formatPrefix(prefix), gateway && formatIP(gateway)]);
  assert.deepEqual(
    shown(read('segments: [10.0.0.0/24, { cidr: 10.1.0.0/24, gateway: 10.1.0.1 }]')),
    expected,
  );
  assert.deepEqual(shown(read('', { segments: '10.0.0.0/24,10.1.0.0/24@10.1.0.1' })), expected);
});

test('the command line goes before the file, key by key', () => {
  const config = read('nodeName: a\nrunDir: /run/a', { nodeName: 'b' });
  assert.equal(config.nodeName, 'b');
  assert.equal(config.runDir, '/run/a');
});

test('the ways to say the same are the same', () => {
  for (const yaml of ['services: both', 'services: [socket, packet]', 'services: socket,packet']) {
    assert.deepEqual(read(yaml).services, { socket: true, packet: true }, yaml);
  }
  assert.deepEqual(read('services: packet').services, { socket: false, packet: true });
  for (const yaml of ['bgp: off', 'bgp: false']) assert.equal(read(yaml).bgp, undefined, yaml);
  for (const yaml of ['bgp: 127.0.0.1:1179', 'bgp: { address: 127.0.0.1, port: 1179 }']) {
    assert.equal(read(yaml).bgp?.port, 1179, yaml);
  }
  assert.equal(read('bgp: { address: "fd00::1", port: 1179 }').bgp?.port, 1179);
  assert.equal(read('cgroup: false').cgroup, 'off');
  assert.equal(read('uplink: auto').uplink, undefined);
});

test('every error names the key and the value', () => {
  const cases: [string, RegExp][] = [
    ['nodename: a', /nodename: unknown field, did you mean nodeName/],
    ['nodeIP: 10.0.0.256', /nodeIP: expected an address: .* \(value "10\.0\.0\.256"\)/],
    [
      'segments: [10.0.0.1/24]',
      /segments\[0\]: expected a prefix: .*10\.0\.0\.0\/24 \(value "10\.0\.0\.1\/24"\)/,
    ],
    ['segments: 10.0.0.0/24', /segments: expected a list/],
    ['segments: [10.0.0.0/24, 10.0.0.0/25]', /segments\[1\]: overlaps 10\.0\.0\.0\/24/],
    ['store: etcd:x', /store: expected directory:PATH or kubernetes\[:KUBECONFIG\] \(value "etcd:x"\)/],
    ['runDir: tmp', /runDir: expected an absolute path \(value "tmp"\)/],
    ['cgroup: on', /cgroup: expected auto, off or an absolute path/],
    ['routing: bridge', /routing: expected underlay, overlay \(value "bridge"\)/],
    ['masquerade: maybe', /masquerade: expected true or false \(value "maybe"\)/],
    ['bgp: 10.0.0.1', /bgp: expected an address and a port: the port is missing/],
    ['metricsAddress: 10.0.0.1:99999', /metricsAddress: .*the port is out of range/],
    ...[
      '0.0.0.0',
      '127.0.0.1',
      '169.254.1.1',
      '224.0.0.1',
      '"::"',
      '"fe80::1"',
      '"ff02::1"',
      '"::ffff:10.0.0.1"',
    ].map((address): [string, RegExp] => [
      `nodeIP: ${address}`,
      /nodeIP: expected an address: it is (unspecified|loopback|link-local|multicast|IPv4 in IPv6)/,
    ]),
    ['bgp: 224.0.0.5:179', /bgp: expected an address and a port: it is multicast/],
    ['metricsAddress: 255.255.255.255:9000', /metricsAddress: .*: it is broadcast/],
    ['segments: [0.0.0.0/0]', /segments\[0\]: overlaps 0\.0\.0\.0\/8, which no pod can have/],
    ['segments: ["fe80::/64"]', /segments\[0\]: overlaps fe80::\/10, which no pod can have/],
    [
      'segments: [{ cidr: 10.0.0.0/24, gateway: 10.0.1.1 }]',
      /segments\[0\]\.gateway: lies outside 10\.0\.0\.0\/24 \(value "10\.0\.1\.1"\)/,
    ],
    ['uplink: [eth0, eth0]', /uplink\[1\]: stands here twice \(value "eth0"\)/],
    ['services: iptables', /services\[0\]: expected socket, packet \(value "iptables"\)/],
    ['logLevel: loud', /logLevel: expected error, warning, info, debug/],
  ];
  for (const [yaml, expected] of cases) assert.throws(() => read(yaml), expected, yaml);
  assert.throws(() => read('', { nodeIP: 'x' }), /--node-ip: expected an address/);
  assert.throws(() => read('- a'), /Cannot read configuration .*agent\.yaml: expected keys and values/);
  assert.throws(() => readConfig('/no/such.yaml', {}), /Cannot read configuration \/no\/such\.yaml: ENOENT/);
});

test('every key is a flag of its own', () => {
  const flags = Object.keys(CONFIG_KEYS).map(kebab);
  assert.equal(new Set(flags).size, flags.length);
  assert.ok(flags.includes('node-ip') && flags.includes('metrics-address') && flags.includes('bpf-dir'));
});
