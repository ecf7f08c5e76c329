import { Command, InvalidArgumentError } from 'commander';
import type { Repair } from '../agent/repair.ts';
import type { AddressReport, IpamReport } from '../agent/reports.ts';
import type { Finding } from '../ipam/check.ts';
import { askAgent, tellAgent } from './agentClient.ts';
import { explainPodCommand } from './ipamExplain.ts';
import { simulateCommand } from './ipamSimulate.ts';
import { type OutputFormat, type SocketOptions, socketPath, withOutput, withSocket } from './options.ts';
import { poolTable } from './poolTable.ts';
import { age, print, printJson, sheet, table } from './print.ts';

/** `tombolo ipam`: pools, segments, who holds which address, why a pod has one or none, what a change would do. */
export function ipamCommand(): Command {
  return new Command('ipam')
    .description('addresses: pools, segments, holders')
    .addCommand(showCommand())
    .addCommand(checkCommand())
    .addCommand(new Command('explain').description('say why').addCommand(explainPodCommand()))
    .addCommand(simulateCommand());
}

function showCommand(): Command {
  return withOutput(withSocket(new Command('show')), 'table', 'json')
    .description(
      "show the cluster's pools, this node's segments and who holds their addresses, or one address",
    )
    .argument('[address]', 'an address: whose it is, and whose it was on this node')
    .action(async (address: string | undefined, options: SocketOptions & { output: OutputFormat }) => {
      if (address !== undefined) {
        const query = new URLSearchParams({ address: parseAddress(address) });
        const report = await askAgent<AddressReport>(socketPath(options), `/v1/ipam/address?${query}`);
        if (options.output === 'json') printJson(report);
        else print(addressSheet(report));
        return;
      }
      const report = await askAgent<IpamReport>(socketPath(options), '/v1/ipam');
      if (options.output === 'json') printJson(report);
      else print(ipamTables(report));
    });
}

/** Exits 1 where something is found, and left, so that a script need not read the answer. */
function checkCommand(): Command {
  return withOutput(withSocket(new Command('check')), 'table', 'json')
    .description(
      'compare journal, interfaces, routes, segments, claims, pools and other nodes; exit 1 if they disagree',
    )
    .option('--fix', 'mend what can be mended without a guess, and say what to do about the rest')
    .action(async (options: SocketOptions & { output: OutputFormat; fix?: boolean }) => {
      if (options.fix) {
        const repairs = await tellAgent<Repair[]>(socketPath(options), '/v1/ipam/repair');
        if (options.output === 'json') printJson(repairs);
        else printFindings(repairs, ['MENDED', 'REMEDY'], (one) => [one.repaired ? 'yes' : 'no', one.remedy]);
        if (repairs.some(({ repaired }) => !repaired)) process.exitCode = 1;
        return;
      }
      const findings = await askAgent<Finding[]>(socketPath(options), '/v1/ipam/check');
      if (options.output === 'json') printJson(findings);
      else printFindings(findings, [], () => []);
      if (findings.length > 0) process.exitCode = 1;
    });
}

function printFindings<T extends Finding>(
  findings: readonly T[],
  more: string[],
  cells: (one: T) => string[],
): void {
  if (findings.length === 0) print('nothing found\n');
  else {
    const rows = findings.map((one) => [one.kind, one.object, one.message, ...cells(one)]);
    print(table(['FINDING', 'WHAT', 'WHY', ...more], rows));
  }
}

function parseAddress(text: string): string {
  if (/^[0-9a-fA-F.:]+$/.test(text)) return text;
  throw new InvalidArgumentError(`expected an address (value ${text})`);
}

function addressSheet(report: AddressReport): string {
  const { segment, segmentNode, claim, claimHolder, holder, since, restingUntil } = report;
  const above = sheet([
    ['Address', report.address],
    ['Pool', report.pool],
    ['Segment', segment && `${segment} of node ${segmentNode}`],
    [
      'Claim',
      claim && `${claim}, ${claimHolder === undefined ? 'held by nobody' : `held on node ${claimHolder}`}`,
    ],
    ['Holder', holder ? `${holder}, for ${age(since)}` : `nobody on node ${report.node}`],
    ...(restingUntil === undefined ? [] : [['Rests until', restingUntil] as const]),
  ]);
  const below = table(
    ['AT', 'EVENT', 'POD', 'CONTAINER', 'CLAIM'],
    report.history.map(({ at, event, pod, containerID, claim: of }) => [
      at,
      event,
      pod,
      containerID?.slice(0, 12),
      of,
    ]),
  );
  return `${above}\n${below}`;
}

function ipamTables({ pools, segments, allocations, kept }: IpamReport): string {
  const middle = table(
    ['SEGMENT', 'STATE', 'POOL', 'GATEWAY', 'USED', 'RESTING', 'RESERVED', 'CAPACITY'],
    segments.map(({ cidr, state, pool, gateway, used, resting, reserved, capacity }) => [
      cidr,
      state,
      pool,
      gateway,
      used,
      resting,
      reserved,
      capacity,
    ]),
  );
  const below = table(
    ['ADDRESSES', 'POD', 'CONTAINER', 'INTERFACE', 'NETWORK', 'CLAIM', 'AGE'],
    allocations.map(({ addresses, pod, containerID, ifName, network, claim, borrowed, since }) => [
      addresses,
      pod,
      containerID.slice(0, 12),
      ifName,
      network,
      claim === undefined ? undefined : `${claim}${borrowed ? ' (borrowed)' : ''}`,
      age(since),
    ]),
  );
  const held = new Set(allocations.flatMap(({ addresses }) => addresses));
  const waiting = kept.filter(({ address }) => !held.has(address));
  const last = table(
    ['KEPT', 'CLAIM'],
    waiting.map(({ address, claim }) => [address, claim]),
  );
  const parts = [
    ...(pools.length > 0 ? [poolTable(pools)] : []),
    middle,
    below,
    ...(waiting.length > 0 ? [last] : []),
  ];
  return parts.join('\n');
}
