import { Command, InvalidArgumentError } from 'commander';
import type { ExplainReport } from '../agent/reports.ts';
import { askAgent } from './agentClient.ts';
import { type OutputFormat, type SocketOptions, socketPath, withOutput, withSocket } from './options.ts';
import { poolTable } from './poolTable.ts';
import { print, printJson, sheet, table } from './print.ts';

/** `tombolo ipam explain pod NAMESPACE/NAME` */
export function explainPodCommand(): Command {
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

function explanation({
  pod,
  node,
  holds,
  refused,
  families,
  pools,
  claim,
  use,
  advice,
}: ExplainReport): string {
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
  const fixed =
    claim && `${claim.policy}: ${claim.addresses.join(', ') || 'no address yet'}\n${claim.outlook}`;
  const above = sheet([
    ['Pod', pod],
    ['Node', node],
    ['Holds', held.join('\n') || 'nothing here'],
    ...(fixed === undefined ? [] : [['Claim', fixed] as const]),
    ...(refused === undefined ? [] : [['Refused', refused] as const]),
    ...lines,
    ...(advice.length === 0 ? [] : [['To do', advice.join('\n')] as const]),
  ]);
  const below = table(
    ['POOL', 'CIDR', 'VERDICT'],
    pools.map(({ name, cidr, verdict }) => [name, cidr, verdict]),
  );
  return [above, below, ...(use.length > 0 ? [poolTable(use)] : [])].join('\n');
}
