import { Command } from 'commander';
import type { ServiceReport } from '../agent/reports.ts';
import { askAgent } from './agentClient.ts';
import { type OutputFormat, type SocketOptions, socketPath, withOutput, withSocket } from './options.ts';
import { print, printJson, table } from './print.ts';

/** `tombolo service list`: what the datapath of this node serves. */
export function serviceCommand(): Command {
  const list = withOutput(withSocket(new Command('list')), 'table', 'json')
    .description('list the services that this node serves')
    .action(async (options: SocketOptions & { output: OutputFormat }) => {
      const services = await askAgent<ServiceReport[]>(socketPath(options), '/v1/services');
      if (options.output === 'json') printJson(services);
      else print(serviceTable(services));
    });
  return new Command('service').description('the services that this node serves').addCommand(list);
}

function serviceTable(services: readonly ServiceReport[]): string {
  return table(
    ['NAMESPACE', 'NAME', 'PORT', 'FRONTENDS', 'BACKENDS', 'AFFINITY', 'FOR'],
    services.map(({ namespace, name, port, protocol, frontends, backends, affinity, scope }) => [
      namespace,
      name,
      `${port}/${protocol}`,
      frontends,
      backends.map(({ address, port, state }) => {
        const place = address.includes(':') ? `[${address}]:${port}` : `${address}:${port}`;
        return state === 'active' ? place : `${place} (${state})`;
      }),
      affinity === 0 ? '' : `${affinity}s`,
      scope,
    ]),
  );
}
