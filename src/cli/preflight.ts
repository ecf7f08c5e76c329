import { Command, InvalidArgumentError, Option } from 'commander';
import { defaultConfigFile, readConfig } from '../agent/config.ts';
import { messageOf } from '../errors.ts';
import { type Finding, judgeAll } from '../preflight/checks.ts';
import { type Configuration, collectFacts } from '../preflight/facts.ts';

const MARKS = { ok: 'ok  ', warn: 'WARN', fail: 'FAIL' } as const;

/** `tombolo preflight`: what this node lacks, and how to mend it. Exits 1 if something is missing that is needed. */
export function preflightCommand(): Command {
  return new Command('preflight')
    .description('say what this node lacks and how to mend it')
    .option(
      '--cni-conf <dir>',
      'where the container runtime looks for network configurations',
      '/etc/cni/net.d',
    )
    .option('--cni-bin <dir>', 'where it looks for plugins', '/opt/cni/bin')
    .option(
      '--config <file>',
      "the agent's configuration (default: /etc/tombolo/agent.yaml, if there is one)",
    )
    .option('--nodes <count>', 'how many nodes the cluster has, for limits that grow with it', count)
    .addOption(
      new Option('-o, --output <format>', 'how to print').choices(['text', 'json']).default('text', 'text'),
    )
    .action((options: PreflightOptions) => {
      const configuration = readConfiguration(options.config ?? defaultConfigFile());
      const facts = collectFacts(options.cniConf, options.cniBin, configuration, options.nodes);
      const findings = judgeAll(facts);
      process.stdout.write(
        options.output === 'json' ? `${JSON.stringify(findings, null, 2)}\n` : asText(findings),
      );
      process.exitCode = findings.some(({ verdict }) => verdict.status === 'fail') ? 1 : 0;
    });
}

interface PreflightOptions {
  readonly cniConf: string;
  readonly cniBin: string;
  readonly config?: string;
  readonly nodes?: number;
  readonly output: string;
}

function readConfiguration(file: string | undefined): Configuration | undefined {
  if (file === undefined) return undefined;
  try {
    return { file, problem: undefined, nodeIP: readConfig(file, {}).nodeIP };
  } catch (error) {
    return { file, problem: messageOf(error), nodeIP: [] };
  }
}

function count(text: string): number {
  if (!/^\d+$/.test(text)) throw new InvalidArgumentError('expected a number of nodes');
  return Number(text);
}

function asText(findings: readonly Finding[]): string {
  const width = Math.max(...findings.map(({ name }) => name.length));
  return findings
    .flatMap(({ name, why, verdict }) => {
      const line = `${MARKS[verdict.status]}  ${name.padEnd(width)}  ${verdict.found}\n`;
      return verdict.status === 'ok' ? [line] : [line, `      ${why}.\n      Mend: ${verdict.mend}\n`];
    })
    .join('');
}
