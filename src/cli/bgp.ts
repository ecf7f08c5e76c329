import { createReadStream } from 'node:fs';
import { createInterface } from 'node:readline';
import { pipeline } from 'node:stream/promises';
import { Command, InvalidArgumentError, Option } from 'commander';
import {
  type AfiSafi,
  IPV4_UNICAST,
  IPV4_VPN,
  IPV6_UNICAST,
  IPV6_VPN,
  parseFamily,
} from '../bgp/wire/family.ts';
import { messageOf } from '../errors.ts';
import { bgpNeighborsCommand } from './bgpNeighbors.ts';
import { bgpExplainCommand, bgpKernelCommand, bgpRibCommand, bgpRoutesCommand } from './bgpRib.ts';
import { bgpRunCommand } from './bgpRun.ts';
import { bgpVerbCommands } from './bgpVerbs.ts';

interface DecodeFlags {
  asn4: 'yes' | 'no';
  addPath: readonly AfiSafi[];
  session?: 'ebgp' | 'ibgp';
  reencode?: true;
}

/** `tombolo bgp …`; what a sub-command needs is loaded when it runs. */
export function bgpCommand(): Command {
  const bgp = new Command('bgp').description('the BGP speaker, and its messages');
  bgp
    .command('decode')
    .description('read BGP messages as hex, one per line, and print each as JSON')
    .argument('[file]', 'where to read from instead of standard input')
    .addOption(
      new Option('--asn4 <yes|no>', 'AS numbers take four octets (RFC 6793)')
        .choices(['yes', 'no'])
        .default('yes'),
    )
    .option(
      '--add-path <family,…>',
      'families with path identifiers (RFC 7911), as ipv4-unicast',
      parseFamilies,
      [],
    )
    .addOption(
      new Option('--session <kind>', 'apply the rules for this kind of peer').choices(['ebgp', 'ibgp']),
    )
    .option('--reencode', 'print the message that would be sent for what was understood, as hex')
    .action(decode);
  bgp.addCommand(bgpRunCommand()).addCommand(bgpNeighborsCommand());
  bgp
    .addCommand(bgpRibCommand())
    .addCommand(bgpRoutesCommand())
    .addCommand(bgpKernelCommand())
    .addCommand(bgpExplainCommand());
  for (const verb of bgpVerbCommands()) bgp.addCommand(verb);
  return bgp;
}

async function decode(file: string | undefined, flags: DecodeFlags): Promise<void> {
  const { decodeLine } = await import('../bgp/decode.ts');
  const options = {
    session: flags.session ?? ('unknown' as const),
    asn4: flags.asn4 === 'yes',
    addPath: new Set(flags.addPath),
    extendedNextHop: new Set([IPV4_UNICAST, IPV6_UNICAST, IPV4_VPN, IPV6_VPN]),
    reencode: flags.reencode === true,
  };
  const input = file === undefined || file === '-' ? process.stdin : createReadStream(file);
  const lines = createInterface({ input, crlfDelay: Number.POSITIVE_INFINITY });
  async function* answers(): AsyncGenerator<string> {
    for await (const line of lines) {
      if (line.trim() === '') continue;
      for (const answer of decodeLine(line, options)) yield `${answer}\n`;
    }
  }
  try {
    await pipeline(answers, process.stdout, { end: false });
  } catch (error) {
    // Whoever reads our output, `head` for one, may have had enough.
    if ((error as NodeJS.ErrnoException).code !== 'EPIPE') throw error;
  }
}

function parseFamilies(text: string): AfiSafi[] {
  try {
    return text.split(',').map(parseFamily);
  } catch (error) {
    throw new InvalidArgumentError(messageOf(error));
  }
}
