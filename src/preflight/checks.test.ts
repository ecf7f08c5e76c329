import assert from 'node:assert/strict';
import { test } from 'node:test';
import { parseIP } from '../address/ip.ts';
import { atLeast, judgeAll } from './checks.ts';
import type { Facts } from './facts.ts';

const HEALTHY: Facts = {
  kernel: '6.8.0-31-generic',
  node: 'v20.11.1',
  arch: 'x64',
  root: true,
  memoryBytes: 8 * 1024 ** 3,
  mounts: new Map([
    ['bpf', ['/sys/fs/bpf']],
    ['cgroup2', ['/sys/fs/cgroup']],
  ]),
  sysctls: new Map([
    ['net/ipv4/ip_forward', '1'],
    ['net/ipv6/conf/all/forwarding', '1'],
    ['net/ipv4/conf/all/rp_filter', '2'],
    ['net/ipv4/neigh/default/gc_thresh3', '1024'],
    ['net/ipv6/neigh/default/gc_thresh3', '1024'],
    ['net/core/bpf_jit_enable', '1'],
    ['kernel/unprivileged_bpf_disabled', '2'],
    ['user/max_net_namespaces', '65536'],
  ]),
  libbpf: '/usr/lib/x86_64-linux-gnu/libbpf.so.1',
  neighbours: new Map([
    [4, 3],
    [6, 3],
  ]),
  clusterNodes: 20,
  configuration: undefined,
  ownAddresses: new Set(),
  earlierConflists: [],
  plugins: new Set(['bridge', 'loopback', 'portmap']),
  tools: new Set(['bpftool', 'ip', 'tcpdump']),
};

const configured = (nodeIP: string) => ({
  file: '/etc/tombolo/agent.yaml',
  problem: undefined,
  nodeIP: [parseIP(nodeIP)],
});

function notOk(change: Partial<Facts>): string[] {
  return judgeAll({ ...HEALTHY, ...change })
    .filter(({ verdict }) => verdict.status !== 'ok')
    .map(({ name, verdict }) => `${verdict.status} ${name}`);
}

test('a healthy node has nothing to mend', () => {
  assert.deepEqual(notOk({}), []);
});

test('what a node lacks is named, and only that', () => {
  const sysctl = (name: string, value: string) => new Map([...HEALTHY.sysctls, [name, value]]);
  const cases: [Partial<Facts>, string[]][] = [
    [{ kernel: '5.4.0-100' }, ['fail kernel']],
    [{ kernel: '5.15.0-1' }, ['warn kernel']],
    [{ node: 'v18.20.0' }, ['fail Node.js']],
    [{ libbpf: undefined }, ['fail libbpf']],
    [{ mounts: new Map([['cgroup2', ['/sys/fs/cgroup']]]) }, ['fail bpffs']],
    [{ mounts: new Map([['bpf', ['/sys/fs/bpf']]]) }, ['warn cgroup 2']],
    [{ sysctls: sysctl('net/ipv4/ip_forward', '0') }, ['warn forwarding']],
    [{ sysctls: sysctl('net/ipv4/conf/all/rp_filter', '1') }, ['warn reverse path filter']],
    [{ configuration: configured('192.0.2.9') }, ['warn agent configuration']],
    [{ configuration: configured('192.0.2.9'), ownAddresses: new Set([parseIP('192.0.2.9')]) }, []],
    [{ configuration: { ...configured('192.0.2.9'), problem: 'nodeIP: x' } }, ['fail agent configuration']],
    [{ clusterNodes: 900 }, ['warn neighbour table']],
    [{ neighbours: new Map([[6, 900]]) }, ['warn neighbour table']],
    [{ earlierConflists: ['05-flannel.conflist'] }, ['warn other CNI configurations']],
    [{ plugins: new Set(['loopback']) }, ['warn plugins']],
    [{ tools: new Set(['ip']) }, ['warn tools']],
  ];
  for (const [change, expected] of cases) assert.deepEqual(notOk(change), expected);
});

test('a neighbour table that a cluster would fill comes with the limit that it should have', () => {
  const mended = (facts: Partial<Facts>) => {
    const { verdict } =
      judgeAll({ ...HEALTHY, ...facts }).find(({ name }) => name === 'neighbour table') ?? {};
    return verdict?.status === 'warn' ? verdict.mend : verdict?.status;
  };
  assert.equal(mended({ clusterNodes: 512 }), 'ok', 'half of 1024');
  assert.equal(
    mended({ clusterNodes: 513 }),
    'sysctl -w net.ipv4.neigh.default.gc_thresh3=4096; sysctl -w net.ipv6.neigh.default.gc_thresh3=4096',
  );
  assert.equal(
    mended({ neighbours: new Map([[4, 600]]) }),
    'sysctl -w net.ipv4.neigh.default.gc_thresh3=4096',
  );
  const raised = new Map(
    [...HEALTHY.sysctls].map(([name, value]) => [name, name.endsWith('gc_thresh3') ? '16384' : value]),
  );
  assert.equal(mended({ clusterNodes: 5_000, sysctls: raised }), 'ok');
});

test('a reverse path filter that is strict everywhere comes with the value that takes what other nodes hand over', () => {
  const judged = (value: string) => {
    const sysctls = new Map([...HEALTHY.sysctls, ['net/ipv4/conf/all/rp_filter', value]]);
    const all = judgeAll({ ...HEALTHY, sysctls });
    const { verdict } = all.find(({ name }) => name === 'reverse path filter') ?? {};
    return verdict?.status === 'warn' ? verdict.mend : verdict?.status;
  };
  assert.deepEqual(['0', '2'].map(judged), ['ok', 'ok']);
  assert.equal(judged('1'), 'sysctl -w net.ipv4.conf.all.rp_filter=2');
});

test('whatever is not well comes with the way to mend it', () => {
  const broken = judgeAll({
    ...HEALTHY,
    root: false,
    kernel: '4.19.0',
    mounts: new Map(),
    sysctls: new Map([['net/core/bpf_jit_enable', '0']]),
    memoryBytes: 1,
  });
  for (const { name, verdict } of broken) {
    if (verdict.status !== 'ok') assert.ok(verdict.mend.length > 0, name);
  }
});

test('kernel versions are compared by number, whatever distributions append', () => {
  assert.ok(atLeast('5.10.0-28-amd64', [5, 10]));
  assert.ok(atLeast('6.1', [5, 10]));
  assert.ok(!atLeast('5.9.16', [5, 10]));
  assert.ok(!atLeast('5.4.0-150-generic', [5, 10]));
});
