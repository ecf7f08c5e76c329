import { Command } from 'commander';
import type { TunnelReport } from '../agent/reports.ts';
import { askAgent } from './agentClient.ts';
import { type OutputFormat, type SocketOptions, socketPath, withOutput, withSocket } from './options.ts';
import { print, printJson, table } from './print.ts';

/** `tombolo tunnel list`: which way the rest of the cluster is reached. */
export function tunnelCommand(): Command {
  const list = withOutput(withSocket(new Command('list')), 'table', 'json')
    .description('list the ways to the other nodes and their pods')
    .action(async (options: SocketOptions & { output: OutputFormat }) => {
      const tunnels = await askAgent<TunnelReport[]>(socketPath(options), '/v1/tunnels');
      if (options.output === 'json') printJson(tunnels);
      else print(tunnelTable(tunnels));
    });
  return new Command('tunnel').description('the ways to the other nodes and their pods').addCommand(list);
}

function tunnelTable(tunnels: readonly TunnelReport[]): string {
  return table(
    ['PREFIX', 'OF', 'NODE', 'PATH', 'ENDPOINT'],
    tunnels.map(({ prefix, of, node, path, endpoint }) => [prefix, of, node, path, endpoint]),
  );
}
