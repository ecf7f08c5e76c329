// `make bench-forwarding`: what lies between two pods, on two nodes and on one.
import { TestNamespaces } from '../kernel/namespaces.ts';
import { behindLeaf, type MakeFabric, wired } from './fabric.ts';
import {
  nodeToNode,
  RoutingNodes,
  TomboloNodes,
  vxlanBridge,
  type Way,
  workplace,
} from './forwardingWorlds.ts';
import { Machine } from './machine.ts';
import { inTurns } from './ratio.ts';
import { report } from './report.ts';
import { type Sample, type Samples, sampleCells } from './sample.ts';
import { type Kind, measureInSlices, SERVER_PORT } from './servicesLoad.ts';

const ROUNDS = Number(process.argv[2] ?? 7);
const COMMAND = 'make bench-forwarding';
const MEASURES = ['throughput', 'long', 'short'] as const;
type Measure = (typeof MEASURES)[number];

type Results = Readonly<Record<Measure, Samples>>;

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

function measureAllBy(kind: Kind, ways: ReadonlyMap<string, Way>, machine: Machine): Promise<Samples> {
  const portRange = kind === 'long' ? 0 : 1;
  const loads = [...ways].map(
    ([name, way]) => [name, { ...way, port: SERVER_PORT, kind, portRange }] as const,
  );
  return measureInSlices(new Map(loads), ROUNDS, machine);
}

async function measureAll(ways: ReadonlyMap<string, Way>, machine: Machine): Promise<Results> {
  return {
    throughput: await inTurns(
      [...ways].map(([name, way]) => ({ name, run: () => throughput(way) })),
      ROUNDS,
      machine,
    ),
    long: await measureAllBy('long', ways, machine),
    short: await measureAllBy('short', ways, machine),
  };
}

function row(name: string, results: Results, base: string): string[] {
  const cells = MEASURES.flatMap((what) =>
    sampleCells(results[what], name, base, what === 'throughput' ? 1 : 0),
  );
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
  'client and server pinned to a core each, all ways in turns within each of ' +
  `${ROUNDS} rounds: iperf3 for a second, wrk ten times for a tenth of one. Long: a connection serves all requests; short: a connection for each. The ratio per CPU second sets them against the CPU time of both ends, with what the kernel does for them.`;

const namespaces = new TestNamespaces('forwardbench');
const directory = workplace();
const clusters: TomboloNodes[] = [];

async function cluster(
  name: string,
  routing: 'underlay' | 'overlay',
  make: MakeFabric,
): Promise<TomboloNodes> {
  const pods = routing === 'underlay' ? 'routed' : 'hidden';
  const nodes = new TomboloNodes(namespaces, name, make(namespaces, name, pods), routing);
  clusters.push(nodes);
  await nodes.start();
  return nodes;
}

function routing(name: string, make: MakeFabric, netfilter: boolean): RoutingNodes {
  return new RoutingNodes(namespaces, name, make(namespaces, name, 'routed'), netfilter);
}

/** What there is to compare on a fabric. @param prefix Of names, with room for few letters. */
async function waysAcross(prefix: string, make: MakeFabric) {
  const underlay = await cluster(`${prefix}under`, 'underlay', make);
  const overlay = await cluster(`${prefix}over`, 'overlay', make);
  const plain = routing(`${prefix}route`, make, false);
  const netfilter = routing(`${prefix}iptables`, make, true);
  const bridge = `${prefix}bridge`;
  const ways = new Map([
    ['node to node', await nodeToNode(make(namespaces, `${prefix}nodes`, 'hidden'), directory)],
    ['Tombolo, underlay', await underlay.far(directory)],
    ['kernel routing', await plain.far(directory)],
    ['kernel routing, iptables', await netfilter.far(directory)],
    ['Tombolo, overlay', await overlay.far(directory)],
    [
      'Linux VXLAN bridge',
      await vxlanBridge(namespaces, bridge, make(namespaces, bridge, 'hidden'), directory),
    ],
  ]);
  return { underlay, plain, netfilter, ways };
}

try {
  const wire = await waysAcross('', wired);
  const routed = await waysAcross('leaf', behindLeaf);
  routed.ways.set('Tombolo, pods with a NIC', await routed.underlay.nics(directory));
  const near = new Map([
    ['kernel routing', await wire.plain.near(directory)],
    ['kernel routing, iptables', await wire.netfilter.near(directory)],
    ['Tombolo', await wire.underlay.near(directory)],
  ]);
  const tables = [
    {
      title: 'Forwarding: between pods of two nodes',
      ways: wire.ways,
      base: 'node to node',
      method:
        'The nodes are namespaces at two ends of a veth pair: a wire that costs nothing, so that what nodes do to ' +
        'packets weighs most. Nothing that crosses a second pair, as a pod’s packets do, comes to 0.97 of it.',
      goal: 'Goals: underlay at least 0.97 and ahead of iptables; overlay ahead of the bridge.',
    },
    {
      title: 'Forwarding: between pods of two nodes, through a leaf',
      ways: routed.ways,
      base: 'node to node',
      method:
        'As above, with a router between the nodes, which packets between the nodes themselves cross as well: a namespace ' +
        'in which Linux routes, without netfilter. NICs of pods are macvlan children of the uplinks; the stack of the node is not in their way.',
      goal: 'Goals: underlay at least 0.97 and ahead of iptables; overlay ahead of the bridge.',
    },
    {
      title: 'Forwarding: between pods of one node',
      ways: near,
      base: 'kernel routing',
      method: '',
      goal: 'Goal: ahead of both.',
    },
  ];
  for (const { title, ways, base, method, goal } of tables) {
    const machine = new Machine();
    const results = await measureAll(ways, machine);
    report({
      title,
      command: COMMAND,
      method: `${METHOD} ${method}`.trimEnd(),
      header: HEADER,
      rows: [...ways.keys()].map((name) => row(name, results, base)),
      notes: `${goal} ${machine.note()}`,
    });
  }
} finally {
  for (const nodes of clusters) await nodes.remove();
  namespaces.close();
}
