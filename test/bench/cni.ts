// `make bench-cni`: a pod's ADD and DEL beside those of the reference ptp plugin, everything as a runtime runs it.
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { withNamespace } from '../../src/netlink/namespace.ts';
import { TestAgent } from '../kernel/cniAgentRig.ts';
import { type TestNamespace, TestNamespaces } from '../kernel/namespaces.ts';
import { timeCalls } from './call.ts';
import { Machine } from './machine.ts';
import { formatSpread, inTurns, ratios, type Spread, spreadOf } from './ratio.ts';
import { report } from './report.ts';

const ROUNDS = 40;
/** Pods that a runtime makes at the same time, as after the start of a node. */
const TOGETHER = 20;
const ROUNDS_TOGETHER = 9;

/** Pods that are there already while others come and go. */
const STANDING = [0, 100, 250];
const ROUNDS_BESIDE = 15;

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

const HEADER = ['plugin', 'ADD, ms', 'ADD, ratio to ptp', 'DEL, ms', 'DEL, ratio to ptp'];

type Plugin = keyof typeof plugins;
const BASE: Plugin = 'ptp, host-local';

/** Runs a verb for all these pods at the same time, in the node's namespace; milliseconds. */
function run(verb: string, plugin: Plugin, pods: readonly TestNamespace[]): number {
  const { program, config } = plugins[plugin];
  const input = join(directory, 'input');
  writeFileSync(input, JSON.stringify(config));
  const calls = pods.map((pod) => {
    const environment = {
      PATH: process.env.PATH,
      CNI_COMMAND: verb,
      CNI_CONTAINERID: pod.name,
      CNI_NETNS: pod.path,
      CNI_IFNAME: 'eth0',
      CNI_PATH: '/usr/lib/cni',
    };
    return { program, environment, input, output: join(directory, `output-${pod.name}`) };
  });
  return withNamespace(node.path, () => timeCalls(calls));
}

interface Lifetime {
  readonly add: number;
  readonly del: number;
}

let count = 0;

/** Milliseconds of the ADD and the DEL of new pods, a number of them at a time, of each plugin; the warm-up is not in there. */
function lifetimes(
  names: readonly Plugin[],
  together: number,
  rounds: number,
  machine: Machine,
): Promise<Map<string, Lifetime[]>> {
  const contenders = names.map((name) => ({
    name,
    run: () => {
      const pods = Array.from({ length: together }, () => namespaces.create(`pod${++count}`));
      const add = run('ADD', name, pods);
      const del = run('DEL', name, pods);
      for (const pod of pods) pod.remove();
      return { add, del };
    },
  }));
  return inTurns(contenders, rounds, machine);
}

function rowsOf(times: ReadonlyMap<string, readonly Lifetime[]>): string[][] {
  return [...times.keys()].map((name) => [name, ...cellsOf(times, name)]);
}

/** Under all of the header but its first column. */
function cellsOf(times: ReadonlyMap<string, readonly Lifetime[]>, name: string): string[] {
  return (['add', 'del'] as const).flatMap((verb) => {
    const [own, base] = [name, BASE].map((each) => (times.get(each) ?? []).map((lifetime) => lifetime[verb]));
    if (own === undefined || base === undefined) return [];
    return [milliseconds(spreadOf(own)), name === BASE ? '1' : formatSpread(ratios(own, base))];
  });
}

/** ADD and DEL of one pod at a time, while more and more others are there; a row for each number of them. */
async function besideOthers(machine: Machine): Promise<string[][]> {
  const rows: string[][] = [];
  const standing: TestNamespace[] = [];
  for (const number of STANDING) {
    while (standing.length < number) {
      const pods = Array.from({ length: TOGETHER / 2 }, () => namespaces.create(`pod${++count}`));
      run('ADD', 'launcher and agent', pods);
      standing.push(...pods);
    }
    const times = await lifetimes(['launcher and agent', BASE], 1, ROUNDS_BESIDE, machine);
    rows.push([String(number), ...cellsOf(times, 'launcher and agent')]);
  }
  while (standing.length > 0) run('DEL', 'launcher and agent', standing.splice(0, TOGETHER));
  return rows;
}

async function main(): Promise<void> {
  node.run('ip', 'link', 'add', 'up0', 'type', 'veth', 'peer', 'up1');
  node.run('ip', 'address', 'add', '192.0.2.1/24', 'dev', 'up0');
  node.run('ip', 'link', 'set', 'up0', 'up');
  node.run('ip', 'link', 'set', 'up1', 'up');
  node.run('ip', 'route', 'add', 'default', 'via', '192.0.2.254');
  const agent = await TestAgent.start({ node, directory, bpfDir, segments: ['10.200.0.0/16'] });
  try {
    const names = Object.keys(plugins) as Plugin[];
    const machine = new Machine();
    const single = await lifetimes(names, 1, ROUNDS, machine);
    const crowd = await lifetimes(['launcher and agent', BASE], TOGETHER, ROUNDS_TOGETHER, machine);
    const beside = await besideOthers(machine);
    report({
      title: 'CNI: time of ADD and DEL',
      command: 'make bench-cni',
      method:
        `A runtime's call, from posix_spawn to exit, of a pod in a network namespace of its own; ${ROUNDS} rounds, the plugins in turns ` +
        'within each. Tombolo attaches its eBPF programs and keeps a durable record, ptp does neither.',
      header: HEADER,
      rows: rowsOf(single),
      notes:
        'The kernel answers the removal of a veth pair an RCU barrier after it is gone; ptp waits for the answer, Tombolo until it is ' +
        'gone. The bundle is what runs while there is no agent: most of its time is the start of Node. The agent is new: the ' +
        `sooner after its start, the slower it is. ${machine.note()}`,
    });
    report({
      title: `CNI: ${TOGETHER} pods at once`,
      command: 'make bench-cni',
      method:
        `As above, of ${TOGETHER} pods that are added at the same time, and removed at the same time: from the first posix_spawn to ` +
        `the last exit; ${ROUNDS_TOGETHER} rounds.`,
      header: HEADER,
      rows: rowsOf(crowd),
    });
    report({
      title: 'CNI: beside other pods',
      command: 'make bench-cni',
      method:
        'As in the first table, of one pod at a time by the launcher and the agent, while so many others are on the node; ' +
        `${ROUNDS_BESIDE} rounds each, in turns with ptp.`,
      header: ['pods on the node', ...HEADER.slice(1)],
      rows: beside,
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
