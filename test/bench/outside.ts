// `make bench-outside`: node ports and announced addresses, asked by a client outside, beside iptables.
import { TestNamespaces } from '../kernel/namespaces.ts';
import { workplace } from './forwardingWorlds.ts';
import { Machine } from './machine.ts';
import { FRONTENDS, iptablesOutside, type OutsideWay, PLACES, TomboloOutside } from './outsideWorlds.ts';
import { report } from './report.ts';
import { type Samples, sampleCells } from './sample.ts';
import { type Kind, measureInSlices } from './servicesLoad.ts';

const ROUNDS = Number(process.argv[2] ?? 5);
const MANY = 1_000;
/** With one in front of a backend of each node there are two. */
const SIZES = [PLACES.length, MANY];
const KINDS = ['long', 'short'] as const satisfies readonly Kind[];
const BASE = `iptables, services: ${MANY}`;

function compare(ways: ReadonlyMap<string, OutsideWay>, kind: Kind, machine: Machine): Promise<Samples> {
  const loads = [...ways].map(
    ([name, way]) => [name, { ...way, kind, portRange: KINDS.indexOf(kind) }] as const,
  );
  return measureInSlices(new Map(loads), ROUNDS, machine);
}

const namespaces = new TestNamespaces('outsidebench');
const directory = workplace();
const worlds = SIZES.map((size) => ({ size, world: new TomboloOutside(namespaces, `tb${size}`) }));
try {
  const servers = new Map<string, Awaited<ReturnType<typeof iptablesOutside>>>();
  for (const size of SIZES) {
    servers.set(`iptables, services: ${size}`, await iptablesOutside(namespaces, size, directory));
  }
  for (const { size, world } of worlds) {
    servers.set(`Tombolo, services: ${size}`, await world.start(size, directory));
  }
  const machine = new Machine();
  const rows: string[][] = [];
  for (const frontend of FRONTENDS) {
    for (const place of PLACES) {
      const ways = new Map<string, OutsideWay>();
      for (const [name, offered] of servers) {
        const way = offered.get(`${frontend}, ${place}`);
        if (way) ways.set(name, way);
      }
      const compared: Samples[] = [];
      for (const kind of KINDS) compared.push(await compare(ways, kind, machine));
      for (const name of ways.keys()) {
        const cells = compared.flatMap((samples) => sampleCells(samples, name, BASE));
        rows.push([`${frontend}, ${place}`, name, ...cells]);
      }
    }
  }
  report({
    title: 'Services: for clients outside, beside iptables',
    command: 'make bench-outside',
    method:
      'wrk (one thread, 8 connections) on a host behind a leaf asks nginx (one worker, an answer from memory) on a pod, by way of the first of two ' +
      'nodes; the backend is there or on the other node. Client and server are pinned to a core each, for a tenth of a second at a time, all who serve in turns, ten times within each of ' +
      `${ROUNDS} rounds. Long: a connection serves all requests; short: a connection for each. The ratio per CPU second sets requests against the CPU time of both ends, ` +
      'with what the kernel does for them. The peer is kube-proxy’s iptables chains with connection tracking and policy Cluster, the services that are asked in the middle of the ' +
      'others, and pods on plain veth pairs.',
    header: [
      'asked',
      'by',
      ...KINDS.flatMap((kind) => [`${kind}: requests/s`, 'ratio', 'ratio per CPU second']),
    ],
    rows,
    notes: `Goal: ahead of iptables with ${MANY} services. ${machine.note()}`,
  });
} finally {
  for (const { world } of worlds) await world.remove();
  namespaces.close();
}
