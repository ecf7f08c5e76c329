// `make bench-services`: requests per second through a cluster IP, beside a direct connection and beside iptables.
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { TestNamespaces } from '../kernel/namespaces.ts';
import { Machine } from './machine.ts';
import { report } from './report.ts';
import { type Samples, sampleCells } from './sample.ts';
import { iptablesPair, plainNicPair, plainPair } from './servicesIptables.ts';
import { type Kind, type Load, measureInSlices, SERVER_PORT } from './servicesLoad.ts';
import { idleServices, type Pair, ServiceNode } from './servicesNode.ts';
import { ServiceNodes } from './servicesNodes.ts';

const ROUNDS = Number(process.argv[2] ?? 7);
const FLAT_ROUNDS = Number(process.argv[3] ?? 7);
/** All by default. */
const SECTIONS = (process.argv[4] ?? 'node,nodes,sizes').split(',');
const MANY = 30_000;
const IPTABLES_SIZES = [1, 1_000, 10_000] as const;
const KINDS = ['long', 'short'] as const satisfies readonly Kind[];
const COMMAND = 'make bench-services';

const WAYS = ['direct', 'socket', 'packet'] as const;
type Way = (typeof WAYS)[number];

/** Something to measure, with connections of either kind. */
interface Case {
  readonly name: string;
  load(kind: Kind): Load;
}

type Results = Readonly<Record<Kind, Samples>>;

const directory = mkdtempSync(join(tmpdir(), 'tombolo-servicesbench-'));
process.on('exit', () => rmSync(directory, { recursive: true, force: true }));

/** Ways from one pod of a pair to the other, called after both: `veth packet`. */
function casesOf(name: string, pair: Pair, ways: readonly Way[], cgroup?: string): Case[] {
  const { client, server, serverAddress, serviceAddress } = pair;
  return ways.map((way, index) => ({
    name: `${name} ${way}`,
    load: (kind) => ({
      client,
      server,
      kind,
      address: way === 'direct' ? serverAddress : serviceAddress,
      port: way === 'direct' ? SERVER_PORT : 80,
      cgroup: way === 'socket' ? cgroup : undefined,
      portRange: index,
    }),
  }));
}

async function measureAll(cases: readonly Case[], rounds: number, machine: Machine): Promise<Results> {
  const samples = (kind: Kind) =>
    measureInSlices(new Map(cases.map(({ name, load }) => [name, load(kind)])), rounds, machine);
  return { long: await samples('long'), short: await samples('short') };
}

/** One row: the rate of a case and its ratios to another case, for long and for short connections. */
function row(label: string, results: Results, name: string, base: string): string[] {
  return [label, ...KINDS.flatMap((kind) => sampleCells(results[kind], name, base))];
}

/** Pods of both kinds and of plain veth pairs, all set against iptables with a single service. */
function besideIptables(results: Results): string[][] {
  const base = 'iptables 1 packet';
  return [
    row('plain veth, direct, no netfilter', results, 'plain direct', base),
    ...IPTABLES_SIZES.map((size) =>
      row(`iptables, services: ${size}`, results, `iptables ${size} packet`, base),
    ),
    ...WAYS.map((way) => row(`Tombolo veth, ${way}`, results, `veth ${way}`, base)),
    ...WAYS.map((way) => row(`Tombolo NIC, ${way}`, results, `nic ${way}`, base)),
  ];
}

const METHOD =
  'wrk (one thread, 8 connections, pinned to one core) asks nginx (one worker, an answer from memory, pinned to the other) ' +
  `for a tenth of a second at a time, all in turns, ten times within each of ${ROUNDS} rounds. Long: a connection serves all requests; ` +
  'short: `Connection: close`, with no TIME-WAIT kept. The ratio per CPU second is that of requests to the CPU time of wrk and ' +
  'nginx, with what the kernel does for them: unlike rates it hardly depends on who else is at work on the machine.';

const HEADER = ['way', ...KINDS.flatMap((kind) => [`${kind}: requests/s`, 'ratio', 'ratio per CPU second'])];

async function compareWays(): Promise<void> {
  const namespaces = new TestNamespaces('waysbench');
  const node = new ServiceNode(namespaces, 'one');
  try {
    await node.start([]);
    const pairs = { veth: await node.pair('veth', '10.96.0.10'), nic: await node.pair('nic', '10.96.0.20') };
    const peers = new Map<number, Pair>();
    for (const size of IPTABLES_SIZES)
      peers.set(size, await iptablesPair(namespaces, size, 'near', directory));
    const plain = await plainPair(namespaces, 'plain', 'near', directory);
    const machine = new Machine();
    const cases = [
      ...casesOf('veth', pairs.veth, WAYS, node.cgroup),
      ...casesOf('nic', pairs.nic, WAYS, node.cgroup),
      ...casesOf('plain', plain, ['direct']),
      ...[...peers].flatMap(([size, pair]) => casesOf(`iptables ${size}`, pair, ['packet'])),
    ];
    const results = await measureAll(cases, ROUNDS, machine);
    report({
      title: 'Services: through a cluster IP and directly',
      command: COMMAND,
      method:
        `${METHOD} Direct is a connection between the same two pods, with the same programs on their interfaces. NICs are ` +
        'macvlan children of one device.',
      header: HEADER,
      rows: (['veth', 'nic'] as const).flatMap((kind) =>
        WAYS.map((way) => row(`${kind}, ${way}`, results, `${kind} ${way}`, `${kind} direct`)),
      ),
      notes: `Goals: socket 0.98 and 0.98, packet 0.95 and 0.92. ${machine.note()}`,
    });
    report({
      title: 'Services: beside iptables',
      command: COMMAND,
      method:
        `${METHOD} The peer is a node with kube-proxy’s iptables chains and connection tracking, and pods on plain veth ` +
        'pairs; the service that is called stands in the middle of the others.',
      header: HEADER,
      rows: besideIptables(results),
      notes:
        'Goals for Tombolo: 1.25 long, 1.6 short. The row without netfilter is the most that taking services out of the node’s ' +
        `netfilter can gain between such pods: a request is mostly work of wrk, nginx and their sockets. ${machine.note()}`,
    });
  } finally {
    await node.remove();
    namespaces.close();
  }
}

async function compareAcrossNodes(): Promise<void> {
  const namespaces = new TestNamespaces('nodesbench');
  const nodes = new ServiceNodes(namespaces, 'two');
  try {
    await nodes.start();
    const pairs = {
      veth: await nodes.pair('veth', '10.96.0.10'),
      nic: await nodes.pair('nic', '10.96.0.20'),
    };
    const peers = new Map<number, Pair>();
    for (const size of IPTABLES_SIZES)
      peers.set(size, await iptablesPair(namespaces, size, 'far', directory));
    const plain = await plainPair(namespaces, 'plain', 'far', directory);
    const plainNic = await plainNicPair(namespaces, 'bare', directory);
    const machine = new Machine();
    const cases = [
      ...casesOf('veth', pairs.veth, WAYS, nodes.cgroup),
      ...casesOf('nic', pairs.nic, WAYS, nodes.cgroup),
      ...casesOf('plain', plain, ['direct']),
      ...casesOf('plain nic', plainNic, ['direct']),
      ...[...peers].flatMap(([size, pair]) => casesOf(`iptables ${size}`, pair, ['packet'])),
    ];
    const results = await measureAll(cases, ROUNDS, machine);
    report({
      title: 'Services: beside iptables, across nodes',
      command: COMMAND,
      method:
        `${METHOD} The client is a pod of one node, the backend one of another, and the nodes stand at two ends of a veth pair, whose ` +
        '“wire” costs nothing. The peer are nodes that route by their stack, with kube-proxy’s iptables chains and connection ' +
        'tracking on both; the service that is called stands in the middle of the others. Tombolo’s veth pods are forwarded by ' +
        'the node programs. NICs are macvlan children of a device of each node, at two ends of another such pair: those pods do ' +
        'without the node.',
      header: HEADER,
      rows: [
        row('plain NIC, direct', results, 'plain nic direct', 'iptables 1 packet'),
        ...besideIptables(results),
      ],
      notes:
        'Goals for Tombolo: 1.25 long, 1.6 short. The rows of plain pods are the most that can be gained: by pods with NICs, which do ' +
        'without all that a node does, and by pods on veth pairs without netfilter while the stack forwards. A request is mostly ' +
        `work of wrk, nginx and their sockets. ${machine.note()}`,
    });
  } finally {
    await nodes.remove();
    namespaces.close();
  }
}

async function compareSizes(): Promise<void> {
  const namespaces = new TestNamespaces('sizesbench');
  const [few, many] = [new ServiceNode(namespaces, 'few'), new ServiceNode(namespaces, 'many')];
  try {
    await few.start([]);
    const seconds = await many.start(idleServices(MANY - 1));
    const [one, thirty] = [await few.pair('veth', '10.96.0.10'), await many.pair('veth', '10.96.0.10')];
    const machine = new Machine();
    const others = casesOf('few', one, WAYS, few.cgroup);
    // Side by side: what is compared is measured within two seconds.
    const cases = casesOf('many', thirty, WAYS, many.cgroup).flatMap((each, index) => [
      each,
      ...others.slice(index, index + 1),
    ]);
    const results = await measureAll(cases, FLAT_ROUNDS, machine);
    report({
      title: `Services: one and ${MANY}`,
      command: COMMAND,
      method:
        `As above, between two nodes with an agent each, one with a single service and one with ${MANY}; ${FLAT_ROUNDS} rounds. ` +
        'Direct connections use no service: what they differ by is the noise of the method.',
      header: HEADER,
      rows: WAYS.map((way) => row(way, results, `many ${way}`, `few ${way}`)),
      notes:
        `Goal: within 3 %. The agent served all ${MANY} services ${seconds.toFixed(1)} s after its start, out of ${2 * MANY} files ` +
        `of a directory store. ${machine.note()}`,
    });
  } finally {
    await few.remove();
    await many.remove();
    namespaces.close();
  }
}

if (SECTIONS.includes('node')) await compareWays();
if (SECTIONS.includes('nodes')) await compareAcrossNodes();
if (SECTIONS.includes('sizes')) await compareSizes();
