import { Command, InvalidArgumentError } from 'commander';
import type { ExplainReport, IpamReport } from '../agent/reports.ts';
import type { Finding } from '../ipam/check.ts';
import { askAgent } from './agentClient.ts';
import { type OutputFormat, type SocketOptions, socketPath, withOutput, withSocket } from './options.ts';
import { age, print, printJson, sheet, table } from './print.ts';

/** `tombolo ipam`: the segments of this node, who holds which address, and why a pod has one or has none. */
export function ipamCommand(): Command {
  const show = withOutput(withSocket(new Command('show')), 'table', 'json')
    .description("show this node's segments and who holds their addresses")
    .action(async (options: SocketOptions & { output: OutputFormat }) => {
      const report = await askAgent<IpamReport>(socketPath(options), '/v1/ipam');
      if (options.output === 'json') printJson(report);
      else print(ipamTables(report));
    });
  return new Command('ipam')
    .description('the addresses of this node')
    .addCommand(show)
    .addCommand(checkCommand())
    .addCommand(new Command('explain').description('say why').addCommand(explainPodCommand()));
}

/** Exits 1 where something is found, so that a script need not read the answer. */
function checkCommand(): Command {
  return withOutput(withSocket(new Command('check')), 'table', 'json')
    .description('compare journal, interfaces, segments, pools and other nodes; exit 1 if they disagree')
    .action(async (options: SocketOptions & { output: OutputFormat }) => {
      const findings = await askAgent<Finding[]>(socketPath(options), '/v1/ipam/check');
      if (options.output === 'json') printJson(findings);
      else if (findings.length === 0) print('nothing found\n');
      else
        print(
          table(
            ['FINDING', 'WHAT', 'WHY'],
            findings.map((one) => [one.kind, one.object, one.message]),
          ),
        );
      if (findings.length > 0) process.exitCode = 1;
    });
}

function explainPodCommand(): Command {
  return withOutput(withSocket(new Command('pod')), 'table', 'json')
    .description('say why a pod has its addresses on this node, or would get some or none')
    .argument('<namespace/name>', 'the pod', parsePodName)
    .action(async ({ namespace, name }: PodName, options: SocketOptions & { output: OutputFormat }) => {
      const query = new URLSearchParams({ namespace, name });
      const report = await askAgent<ExplainReport>(socketPath(options), `/v1/ipam/explain?${query}`);
      if (options.output === 'json') printJson(report);
      else print(explanation(report));
    });
}

interface PodName {
  readonly namespace: string;
  readonly name: string;
}

function parsePodName(text: string): PodName {
  const [namespace, name, ...more] = text.split('/');
  if (namespace && name && more.length === 0) return { namespace, name };
  throw new InvalidArgumentError(`expected NAMESPACE/NAME (value ${text})`);
}

function explanation({ pod, node, holds, refused, families, pools }: ExplainReport): string {
  const held = holds.map(
    ({ address, segment, pool }) =>
      `${address}${segment === undefined ? '' : ` of ${segment}`}${pool === undefined ? '' : `, pool ${pool}`}`,
  );
  const lines = families.map(({ family, pools: names, why, segments, outlook }): [string, string] => [
    `IPv${family}`,
    [
      `${names.join(', ') || 'no pool'} (${why})`,
      ...segments.map(({ cidr, free }) => `${cidr}, ${free} free`),
      outlook,
    ].join('\n'),
  ]);
  const above = sheet([
    ['Pod', pod],
    ['Node', node],
    ['Holds', held.join('\n') || 'nothing here'],
    ...(refused === undefined ? [] : [['Refused', refused] as const]),
    ...lines,
  ]);
  const below = table(
    ['POOL', 'CIDR', 'VERDICT'],
    pools.map(({ name, cidr, verdict }) => [name, cidr, verdict]),
  );
  return `${above}\n${below}`;
}

function ipamTables({ segments, allocations }: IpamReport): string {
  const above = table(
    ['SEGMENT', 'STATE', 'POOL', 'GATEWAY', 'USED', 'RESTING', 'CAPACITY'],
    segments.map(({ cidr, state, pool, gateway, used, resting, capacity }) => [
      cidr,
      state,
      pool,
      gateway,
      used,
      resting,
      capacity,
    ]),
  );
  const below = table(
    ['ADDRESSES', 'POD', 'CONTAINER', 'INTERFACE', 'NETWORK', 'AGE'],
    allocations.map(({ addresses, pod, containerID, ifName, network, since }) => [
      addresses,
      pod,
      containerID.slice(0, 12),
      ifName,
      network,
      age(since),
    ]),
  );
  return `${above}\n${below}`;
}
