import { writeFile } from 'node:fs/promises';
import { Command, Option } from 'commander';
import { callAgent } from './agentClient.ts';

/** What can be done to a running speaker. */
export function bgpVerbCommands(): Command[] {
  const refresh = withSocket(new Command('refresh'))
    .description('ask a neighbour to send its routes again')
    .argument('<name>', 'the neighbour')
    .action(async (name: string, { socket }: Flags) => {
      await callAgent(socket, 'POST', `/v1/bgp/neighbors/${encodeURIComponent(name)}/refresh`);
    });
  const reset = withSocket(new Command('reset'))
    .description('end the session with a neighbour and begin it anew')
    .argument('<name>', 'the neighbour')
    .action(async (name: string, { socket }: Flags) => {
      await callAgent(socket, 'POST', `/v1/bgp/neighbors/${encodeURIComponent(name)}/reset`);
    });
  const dump = withSocket(new Command('dump'))
    .description('write the table as MRT (RFC 6396), for bgpdump and the like')
    .argument('[file]', 'where to write instead of standard output')
    .action(async (file: string | undefined, { socket }: Flags) => {
      const bytes = await callAgent(socket, 'GET', '/v1/bgp/mrt');
      if (file === undefined || file === '-') process.stdout.write(bytes);
      else await writeFile(file, bytes);
    });
  return [refresh, reset, dump];
}

interface Flags {
  socket: string;
}

function withSocket(command: Command): Command {
  return command.addOption(
    new Option('--socket <path>', 'the socket of an agent, or of tombolo bgp run')
      .env('TOMBOLO_SOCKET')
      .default('/run/tombolo/agent.sock'),
  );
}
