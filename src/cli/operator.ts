import { Command, InvalidArgumentError, Option } from 'commander';
import { LOG_LEVELS, type LogLevel } from '../log.ts';
import { type AddressAndPort, parseAddressAndPort } from '../store/kinds/bgpValues.ts';

interface OperatorFlags {
  store: string;
  leaseDuration: number;
  shrinkAfter: number;
  metricsAddress?: AddressAndPort;
  logLevel: LogLevel;
}

/** `tombolo operator`: gives the nodes of a cluster their segments, until it is told to stop. */
export function operatorCommand(): Command {
  return new Command('operator')
    .description('give nodes the segments they need; several may run, one of them leads')
    .addOption(
      new Option('--store <location>', 'directory:PATH or kubernetes[:KUBECONFIG]')
        .env('TOMBOLO_STORE')
        .makeOptionMandatory(),
    )
    .addOption(
      new Option('--lease-duration <seconds>', 'how long a leader that falls silent stays one')
        .argParser(parseSeconds)
        .default(15_000, '15'),
    )
    .addOption(
      new Option('--shrink-after <seconds>', 'how long a node may hold a block it does not need')
        .argParser(parseSeconds)
        .default(60_000, '60'),
    )
    .option('--metrics-address <address>', 'ADDRESS:PORT for Prometheus', parseListener)
    .addOption(new Option('--log-level <level>', 'how much to say').choices([...LOG_LEVELS]).default('info'))
    .action(async ({ store, leaseDuration, shrinkAfter, metricsAddress, logLevel }: OperatorFlags) => {
      const { runOperatorProcess } = await import('../operator/process.ts');
      await runOperatorProcess({ store, leaseDuration, shrinkAfter, metricsAddress, logLevel });
    });
}

/** Seconds as milliseconds. */
function parseSeconds(value: string): number {
  const seconds = Number(value);
  if (!(seconds >= 1 && seconds <= 3600)) {
    throw new InvalidArgumentError(`expected 1 to 3600 seconds (value ${value})`);
  }
  return seconds * 1000;
}

function parseListener(value: string): AddressAndPort {
  try {
    const parsed = parseAddressAndPort(value);
    if (parsed.port !== undefined) return parsed;
  } catch {
    // Whatever it is, it is no address with a port.
  }
  throw new InvalidArgumentError(`expected ADDRESS:PORT (value ${value})`);
}
