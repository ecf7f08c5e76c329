// `make bench-packets`: nanoseconds that each program takes for each kind of packet of a short connection. With a directory
// of other objects (those of another commit), both by turns: `node --import tsx test/bench/packets.ts 2000 /tmp/old`.
import { release } from 'node:os';
import { Datapath } from '../kernel/bpfRig.ts';
import { TestNamespaces } from '../kernel/namespaces.ts';
import { type Lab, NodeLab, PodLab } from './packetLabs.ts';
import { spreadOf } from './ratio.ts';
import { report } from './report.ts';

/** Connections of each kind. */
const CONNECTIONS = Number(process.argv[2] ?? 2000);
/** Objects to compare with. */
const OTHERS = process.argv[3];
/** Connections that warm up, and do not count. */
const WARM_UP = 100;

const namespaces = new TestNamespaces('packetsbench');
const datapaths: Datapath[] = [];

function load(directory?: string): Datapath {
  const datapath = new Datapath({ directory, maxEntries: { tb_flows: 262_144 } });
  datapaths.push(datapath);
  // As on a node: the collectors have been through the tables.
  for (let run = 0; run < 2; run++) {
    datapath.collect('tb_flow_gc', 'tb_flows');
    datapath.collect('tb_nat_gc', 'tb_nat');
  }
  return datapath;
}

/** Medians by name of the step, one for each lab. All labs see the same packets, one after the other. */
function measure(labs: readonly Lab[], kind: string): Map<string, number[]> {
  const samples = new Map<string, number[][]>();
  for (let n = -WARM_UP; n < CONNECTIONS; n++) {
    const turns = n % 2 === 0 ? [...labs.keys()] : [...labs.keys()].reverse();
    for (const turn of turns) {
      for (const { packet, duration } of labs[turn]?.connect(kind, n + WARM_UP) ?? []) {
        if (n < 0) continue;
        const of = samples.get(packet) ?? labs.map(() => []);
        of[turn]?.push(duration);
        samples.set(packet, of);
      }
    }
  }
  return new Map([...samples].map(([name, of]) => [name, of.map((values) => spreadOf(values).median)]));
}

function rows(labs: readonly Lab[], kind: string): string[][] {
  const medians = measure(labs, kind);
  const sums = labs.map((_, lab) => [...medians.values()].reduce((sum, of) => sum + (of[lab] ?? 0), 0));
  return [
    ...[...medians].map(([name, of]) => [kind, name, ...of.map(String)]),
    [kind, 'all', ...sums.map(String)],
  ];
}

try {
  const both = [load(), ...(OTHERS === undefined ? [] : [load(OTHERS)])];
  const pods = both.map((datapath, index) => new PodLab(namespaces, datapath, index));
  const nodes = both.map((datapath, index) => new NodeLab(namespaces, datapath, index));
  const header = [
    'connection',
    'packet',
    'ns',
    ...(OTHERS === undefined ? [] : ['ns, objects to compare with']),
  ];
  const sections = [
    {
      title: 'Programs: the packets of a connection, at the pod',
      rows: PodLab.kinds.flatMap((kind) => rows(pods, kind)),
    },
    {
      title: 'Programs: the packets of a connection, at the node',
      rows: NodeLab.kinds.flatMap((kind) => rows(nodes, kind)),
    },
  ];
  for (const { title, rows } of sections) {
    report({
      title,
      command: 'make bench-packets',
      method:
        `Medians of ${CONNECTIONS} connections, each of which hands its packets to the programs one by one (BPF_PROG_TEST_RUN, repeated once, ` +
        'so that caches are as cold as between two packets, and some 30 ns of each are the clock’s).',
      header,
      rows,
      notes: `Linux ${release()}.`,
    });
  }
} finally {
  for (const datapath of datapaths) datapath.close();
  namespaces.close();
}
