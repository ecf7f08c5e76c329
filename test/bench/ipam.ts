// `make bench-ipam`: addresses on one node, segments for five thousand, and a node that runs dry.
import { join } from 'node:path';
import { eventually } from '../../src/eventually.rig.ts';
import { AgentRig } from '../kernel/agentRig.ts';
import { TestNamespaces } from '../kernel/namespaces.ts';
import { TestOperator } from '../kernel/operatorRig.ts';
import { SimulatedCluster } from './ipamCluster.ts';
import { allocate, release, withIpam } from './ipamNode.ts';
import { withOperatorProcess } from './ipamOperator.ts';
import { formatSpread, spreadOf } from './ratio.ts';
import { report } from './report.ts';

const ROUNDS = 5;
const NODES = 5_000;
const PODS = 110;

async function onOneNode(): Promise<string[][]> {
  const rows: string[][] = [];
  for (const [parallel, count] of [
    [1, 500],
    [16, 4_000],
    [128, 10_000],
  ] as const) {
    const rates = await withIpam(async (ipam) => {
      const found: number[] = [];
      for (let round = -1; round < ROUNDS; round++) {
        const ms = await allocate(ipam, `c${round}-`, count, parallel);
        if (round >= 0) found.push((1000 * count) / ms);
        await release(ipam, `c${round}-`, count, 128);
      }
      return found;
    });
    const goal = parallel === 128 ? '5,000' : '';
    rows.push([
      `addresses given out and journaled a second, ${parallel} at a time`,
      formatSpread(spreadOf(rates), 0),
      goal,
    ]);
  }
  const thousand = await withIpam(async (ipam) => {
    const found: number[] = [];
    for (let round = -1; round < ROUNDS; round++) {
      const ms = await allocate(ipam, `t${round}-`, 1_000, 16);
      if (round >= 0) found.push(ms);
      await release(ipam, `t${round}-`, 1_000, 128);
    }
    return found;
  });
  rows.push(['1,000 pods, 16 at a time: share of IPAM, ms', formatSpread(spreadOf(thousand), 0), '']);
  return rows;
}

async function inTheCluster(): Promise<string[][]> {
  const cluster = new SimulatedCluster(NODES);
  await cluster.start();
  const filled = await cluster.fill(PODS, 22);
  const blocks = await cluster.blocks();
  const restarted = await cluster.restart(250, PODS);
  const seconds = (ms: number) => (ms / 1000).toFixed(1);
  return [
    [
      `${count(NODES)} nodes from empty to ${PODS} pods each (${count(blocks)} blocks), planned in ${filled.rounds} rounds, s`,
      seconds(filled.milliseconds),
      '10',
    ],
    ['the longest of these rounds, s', seconds(filled.longest), ''],
    [
      `a rolling restart of them all, 250 nodes at a time, planned in ${restarted.rounds} rounds, s`,
      seconds(restarted.milliseconds),
      '10',
    ],
    ['the longest of these rounds, s', seconds(restarted.longest), ''],
  ];
}

/** The operator as a process, with an API server at the other end of a connection. */
async function asProcess(): Promise<string[][]> {
  const { first, full, memory } = await withOperatorProcess(NODES, PODS);
  const seconds = (ms: number) => (ms / 1000).toFixed(1);
  return [
    [
      `over the Kubernetes API: ${count(NODES)} nodes join at once, until each has a block, s`,
      seconds(first),
      '',
    ],
    [`then all run dry at once, until each has room for ${PODS} pods, s`, seconds(full), ''],
    ['memory of that operator at its peak, MiB', memory.toFixed(0), ''],
  ];
}

function count(number: number): string {
  return number.toLocaleString('en');
}

/** An ADD that finds the node full, and waits for a block: the agent, the operator and the store as they are built. */
async function whenDry(): Promise<string[][]> {
  const namespaces = new TestNamespaces('ipambench');
  const rig = new AgentRig(namespaces, 'ipambench', { segments: [] });
  const spec = { cidr: '10.79.0.0/16', blockSize: 30, expansion: { low: 0, high: 64 } };
  const pool = {
    apiVersion: 'network.tombolo.dev/v1alpha1',
    kind: 'IPPool',
    metadata: { name: 'default' },
    spec,
  };
  rig.drop('IPPool/default.yaml', JSON.stringify(pool));
  const operator = await TestOperator.start(join(rig.directory, 'store'));
  try {
    await eventually(() => {
      if (!operator.said('this operator leads now')) throw new Error('nobody leads');
    });
    await rig.start();
    const [dry, warm]: [number[], number[]] = [[], []];
    for (let pod = 0; pod < 4 * ROUNDS; pod++) {
      const { path } = namespaces.create(`p${pod}`);
      const began = performance.now();
      const { status, body } = await rig.verb('ADD', `ipambench-${pod}`, path);
      if (status !== 200) throw new Error(body);
      (pod % 4 === 0 ? dry : warm).push(performance.now() - began);
    }
    return [
      ['ADD that finds a free address, ms', formatSpread(spreadOf(warm), 1), ''],
      [
        'ADD on a node that ran dry: a block asked for, given and used, ms',
        formatSpread(spreadOf(dry), 0),
        '1000',
      ],
    ];
  } finally {
    await operator.end('SIGKILL');
    await rig.remove();
    namespaces.close();
  }
}

report({
  title: 'IPAM: addresses and segments',
  command: 'make bench-ipam',
  method: `Every address is in the journal, by fdatasync, before it counts; calls that wait at the same time share one. The nodes of the large cluster are simulated. Where rounds are timed, their store is in memory and validates what is written, and the operator's own code is all that counts: listing, planning, writing. Over the Kubernetes API the operator is a process as it is built, the server and the agents are another one, and every block takes two writes with compare-and-swap: a claim, and its confirmation. A node that runs dry is the real agent, with the real operator, over files. ${ROUNDS} rounds each, the smallest and the largest in parentheses.`,
  header: ['what', 'measured', 'goal'],
  rows: [...(await onOneNode()), ...(await inTheCluster()), ...(await asProcess()), ...(await whenDry())],
  notes:
    'Published for 1,000 pods on one node, container start included: Spiderpool 182 s, Calico 322 s, Whereabouts 2,529 s; the row of 1,000 pods is the share of IPAM alone.',
});
