import { Command, Option } from 'commander';
import { LOG_LEVELS, type LogLevel } from '../log.ts';

interface RunFlags {
  config: string;
  socket: string;
  state?: string;
  logLevel: LogLevel;
}

/** `tombolo bgp run`: a speaker without an agent. */
export function bgpRunCommand(): Command {
  return new Command('run')
    .description('run a BGP speaker of its own: a leaf for a lab, or a route reflector')
    .requiredOption('--config <file>', 'neighbours, ranges, networks and filters, as YAML')
    .addOption(
      new Option('--socket <path>', 'where tombolo bgp neighbors asks')
        .env('TOMBOLO_SOCKET')
        .default('/run/tombolo/bgp.sock'),
    )
    .option('--state <file>', 'remembers that the speaker ran, so that peers bridge its restart')
    .addOption(new Option('--log-level <level>', 'how much to say').choices([...LOG_LEVELS]).default('info'))
    .action(async (flags: RunFlags) => {
      const { run } = await import('../bgp/speaker/run.ts');
      await run(flags);
    });
}
