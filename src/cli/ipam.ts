import { Command } from 'commander';
import type { IpamReport } from '../agent/reports.ts';
import { askAgent } from './agentClient.ts';
import { type OutputFormat, type SocketOptions, socketPath, withOutput, withSocket } from './options.ts';
import { age, print, printJson, table } from './print.ts';

/** `tombolo ipam show`: the segments of this node, and who holds which address. */
export function ipamCommand(): Command {
  const show = withOutput(withSocket(new Command('show')), 'table', 'json')
    .description("show this node's segments and who holds their addresses")
    .action(async (options: SocketOptions & { output: OutputFormat }) => {
      const report = await askAgent<IpamReport>(socketPath(options), '/v1/ipam');
      if (options.output === 'json') printJson(report);
      else print(ipamTables(report));
    });
  return new Command('ipam').description('the addresses of this node').addCommand(show);
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
