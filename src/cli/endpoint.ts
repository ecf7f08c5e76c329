import { Command } from 'commander';
import type { EndpointReport } from '../agent/reports.ts';
import { askAgent } from './agentClient.ts';
import { type OutputFormat, type SocketOptions, socketPath, withOutput, withSocket } from './options.ts';
import { print, printJson, table } from './print.ts';

/** `tombolo endpoint list`: the pods attached to this node. */
export function endpointCommand(): Command {
  const list = withOutput(withSocket(new Command('list')), 'table', 'json')
    .description('list the pods attached to this node')
    .action(async (options: SocketOptions & { output: OutputFormat }) => {
      const endpoints = await askAgent<EndpointReport[]>(socketPath(options), '/v1/endpoints');
      if (options.output === 'json') printJson(endpoints);
      else print(endpointTable(endpoints));
    });
  return new Command('endpoint').description('the pods attached to this node').addCommand(list);
}

function endpointTable(endpoints: readonly EndpointReport[]): string {
  return table(
    ['ID', 'POD', 'CONTAINER', 'INTERFACE', 'ADDRESSES', 'KIND', 'HOST-LINK', 'FORWARDING', 'STATE'],
    endpoints.map(({ id, pod, containerID, ifName, addresses, kind, hostLink, forwarding, state }) => [
      id,
      pod,
      containerID.slice(0, 12),
      ifName,
      addresses,
      kind,
      hostLink,
      forwarding,
      state,
    ]),
  );
}
