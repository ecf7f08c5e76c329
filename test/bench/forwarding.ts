// `make bench-forwarding`: what lies between two pods, on two nodes and on one.
import { loadavg, release } from 'node:os';
import { TestNamespaces } from '../kernel/namespaces.ts';
import {
  kernelRouting,
  nodeToNode,
  TomboloNodes,
  vxlanBridge,
  type Way,
  workplace,
} from './forwardingWorlds.ts';
import { formatSpread, inTurns, ratios, spreadOf } from './ratio.ts';
import { report } from './report.ts';
import { measure, SERVER_PORT } from './servicesLoad.ts';

const ROUNDS = Number(process.argv[2] ?? 9);
const COMMAND = 'make bench-forwarding';
const MEASURES = ['throughput', 'long', 'short'] as const;
type Measure = (typeof MEASURES)[number];

/** By way, one per round. */
interface Outcome {
  readonly rates: ReadonlyMap<string, readonly number[]>;
  readonly efficiencies: ReadonlyMap<string, readonly number[]>;
}

type Results = Readonly<Record<Measure, Outcome>>;

/** One measurement, and how much of it a second of CPU time is enough for. */
interface Sample {
  readonly rate: number;
  readonly perCpuSecond: number;
}

/** Gigabits per second of one TCP connection. */
function throughput({ client, address }: Way): Sample {
  const words = ['-c', '0', 'iperf3', '-c', address, '-t', '1', '-J'];
  const { stdout } = client.attempt('taskset', ...words);
  const { end } = JSON.parse(stdout);
  const rate = Number(end?.sum_received?.bits_per_second) / 1e9;
  const { host_total: clientShare, remote_total: serverShare } = end?.cpu_utilization_percent ?? {};
  if (!(rate > 0)) throw new Error(`Cannot measure ${address}: ${stdout.slice(0, 500)}`);
  return { rate, perCpuSecond: rate / ((clientShare + serverShare) / 100) };
}

async function one(way: Way, what: Measure): Promise<Sample> {
  if (what === 'throughput') return throughput(way);
  const { client, server, address } = way;
  const { requestsPerSecond, cpuSeconds } = await measure({
    client,
    server,
    address,
    port: SERVER_PORT,
    kind: what,
    portRange: what === 'long' ? 0 : 1,
  });
  return { rate: requestsPerSecond, perCpuSecond: 1 / cpuSeconds };
}

async function measureAll(ways: ReadonlyMap<string, Way>): Promise<Results> {
  const results: Partial<Record<Measure, Outcome>> = {};
  for (const what of MEASURES) {
    const efficiencies = new Map([...ways.keys()].map((name) => [name, [] as number[]]));
    const contenders = [...ways].map(([name, way]) => ({
      name,
      async run() {
        const { rate, perCpuSecond } = await one(way, what);
        efficiencies.get(name)?.push(perCpuSecond);
        return rate;
      },
    }));
    const rates = await inTurns(contenders, ROUNDS);
    // As with the rates, the first round has warmed up.
    for (const values of efficiencies.values()) values.shift();
    results[what] = { rates, efficiencies };
  }
  return results as Results;
}

function row(name: string, results: Results, base: string): string[] {
  const cells = MEASURES.flatMap((what) => {
    const { rates, efficiencies } = results[what];
    const ratio = (of: Outcome['rates']) =>
      name === base ? '1' : formatSpread(ratios(of.get(name) ?? [], of.get(base) ?? []), 3);
    const median = spreadOf(rates.get(name) ?? []).median;
    return [median.toFixed(what === 'throughput' ? 1 : 0), ratio(rates), ratio(efficiencies)];
  });
  return [name, ...cells];
}

const HEADER = [
  'way',
  ...['Gbit/s', 'long: requests/s', 'short: requests/s'].flatMap((what) => [
    what,
    'ratio',
    'ratio per CPU second',
  ]),
];
const METHOD =
  'iperf3 sends over one TCP connection, and wrk (one thread, 8 connections) asks nginx (one worker, an answer from memory), ' +
  'client and server pinned to a core each, for a second at a time, all ways in turns within each of ' +
  `${ROUNDS} rounds. Long: a connection serves all requests; short: a connection for each. The ratio per CPU second sets them against the CPU time of both ends, with what the kernel does for them.`;

const namespaces = new TestNamespaces('forwardbench');
const directory = workplace();
const underlay = new TomboloNodes(namespaces, 'underlay');
const overlay = new TomboloNodes(namespaces, 'overlay');
try {
  const tombolo = { underlay: await underlay.start(directory), overlay: await overlay.start(directory) };
  const routing = await kernelRouting(namespaces, false, directory);
  const iptables = await kernelRouting(namespaces, true, directory);
  const before = loadavg();
  const far = await measureAll(
    new Map([
      ['node to node', await nodeToNode(namespaces, directory)],
      ['Tombolo, underlay', tombolo.underlay.far],
      ['kernel routing', routing.far],
      ['kernel routing, iptables', iptables.far],
      ['Tombolo, overlay', tombolo.overlay.far],
      ['Linux VXLAN bridge', await vxlanBridge(namespaces, directory)],
    ]),
  );
  const near = await measureAll(
    new Map([
      ['kernel routing', routing.near],
      ['kernel routing, iptables', iptables.near],
      ['Tombolo', tombolo.underlay.near],
    ]),
  );
  const show = (loads: readonly number[]) => loads.map((load) => load.toFixed(1)).join(', ');
  const note = `Linux ${release()}. Load averages of the machine before: ${show(before)}; after: ${show(loadavg())}.`;
  report({
    title: 'Forwarding: between pods of two nodes',
    command: COMMAND,
    method: `${METHOD} The nodes are namespaces at two ends of a veth pair, whose "wire" costs nothing: all that is measured is work.`,
    header: HEADER,
    rows: [...far.long.rates.keys()].map((name) => row(name, far, 'node to node')),
    notes: `Goals: underlay at least 0.97 and ahead of iptables; overlay ahead of the bridge. ${note}`,
  });
  report({
    title: 'Forwarding: between pods of one node',
    command: COMMAND,
    method: METHOD,
    header: HEADER,
    rows: [...near.long.rates.keys()].map((name) => row(name, near, 'kernel routing')),
    notes: `Goal: ahead of both. ${note}`,
  });
} finally {
  await underlay.remove();
  await overlay.remove();
  namespaces.close();
}
