// `make bench-cni`: a pod's ADD and DEL beside those of the reference ptp plugin, everything as a runtime runs it.
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { withNamespace } from '../../src/netlink/namespace.ts';
import { TestAgent } from '../kernel/cniAgentRig.ts';
import { type TestNamespace, TestNamespaces } from '../kernel/namespaces.ts';
import { timeCall } from './call.ts';
import { formatSpread, inTurns, ratios, type Spread, spreadOf } from './ratio.ts';
import { report } from './report.ts';

const ROUNDS = 40;

const namespaces = new TestNamespaces('cnibench');
const directory = mkdtempSync(join(tmpdir(), 'tombolo-cnibench-'));
const bpfDir = `/sys/fs/bpf/cnibench${process.pid}`;
const node = namespaces.create('node');

const hostLocal = (name: string, subnet: string) => ({
  type: 'host-local',
  dataDir: join(directory, name),
  ranges: [[{ subnet }]],
  routes: [{ dst: '0.0.0.0/0' }],
});

const tombolo = {
  cniVersion: '1.0.0',
  name: 'tombolo',
  type: 'tombolo',
  agentSocket: join(directory, 'run', 'agent.sock'),
  stateDir: join(directory, 'state'),
  bpfDir,
};

const plugins = {
  'launcher and agent': { program: resolve('dist/cni/tombolo'), config: tombolo },
  'bundle alone, host-local': {
    program: resolve('dist/cni/tombolo.cjs'),
    config: {
      ...tombolo,
      name: 'alone',
      agentSocket: join(directory, 'none'),
      ipam: hostLocal('alone', '10.201.0.0/16'),
    },
  },
  'ptp, host-local': {
    program: '/usr/lib/cni/ptp',
    config: { cniVersion: '1.0.0', name: 'ptp', type: 'ptp', ipam: hostLocal('ptp', '10.202.0.0/16') },
  },
} as const;

type Plugin = keyof typeof plugins;
const BASE: Plugin = 'ptp, host-local';

/** Runs a verb in the node's namespace; milliseconds. */
function run(verb: string, plugin: Plugin, pod: TestNamespace): number {
  const { program, config } = plugins[plugin];
  const environment = {
    PATH: process.env.PATH,
    CNI_COMMAND: verb,
    CNI_CONTAINERID: pod.name,
    CNI_NETNS: pod.path,
    CNI_IFNAME: 'eth0',
    CNI_PATH: '/usr/lib/cni',
  };
  const input = join(directory, 'input');
  writeFileSync(input, JSON.stringify(config));
  const call = { program, environment, input, output: join(directory, 'output') };
  return withNamespace(node.path, () => timeCall(call));
}

async function main(): Promise<void> {
  node.run('ip', 'link', 'add', 'up0', 'type', 'veth', 'peer', 'up1');
  node.run('ip', 'address', 'add', '192.0.2.1/24', 'dev', 'up0');
  node.run('ip', 'link', 'set', 'up0', 'up');
  node.run('ip', 'link', 'set', 'up1', 'up');
  node.run('ip', 'route', 'add', 'default', 'via', '192.0.2.254');
  const agent = await TestAgent.start({ node, directory, bpfDir, segments: ['10.200.0.0/16'] });
  try {
    const adds = new Map<string, number[]>();
    const dels = new Map<string, number[]>();
    let count = 0;
    const names = Object.keys(plugins) as Plugin[];
    const contenders = names.map((name) => ({
      name,
      run: () => {
        const pod = namespaces.create(`pod${++count}`);
        const add = run('ADD', name, pod);
        const del = run('DEL', name, pod);
        pod.remove();
        // The round that warms up is the first of each.
        adds.set(name, [...(adds.get(name) ?? []), add]);
        dels.set(name, [...(dels.get(name) ?? []), del]);
        return add + del;
      },
    }));
    await inTurns(contenders, ROUNDS);
    const row = (name: Plugin) => [
      name,
      ...[adds, dels].flatMap((times) => {
        const [values = [], base = []] = [times.get(name)?.slice(1), times.get(BASE)?.slice(1)];
        return [milliseconds(spreadOf(values)), name === BASE ? '1' : formatSpread(ratios(values, base))];
      }),
    ];
    report({
      title: 'CNI: time of ADD and DEL',
      command: 'make bench-cni',
      method:
        `A runtime's call, from posix_spawn to exit, of a pod in a network namespace of its own; ${ROUNDS} rounds, the plugins in turns ` +
        'within each. Tombolo attaches its eBPF programs and keeps a durable record, ptp does neither.',
      header: ['plugin', 'ADD, ms', 'ADD, ratio to ptp', 'DEL, ms', 'DEL, ratio to ptp'],
      rows: names.map(row),
      notes:
        'The kernel answers the removal of a veth pair an RCU barrier after it is gone; ptp waits for the answer, Tombolo until it is ' +
        'gone. The bundle is what runs while there is no agent: most of its time is the start of Node.',
    });
  } finally {
    await agent.stop();
    namespaces.close();
    rmSync(directory, { recursive: true, force: true });
    rmSync(bpfDir, { recursive: true, force: true });
  }
}

function milliseconds(spread: Spread): string {
  return formatSpread(spread, 1);
}

await main();
