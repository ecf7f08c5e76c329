import { isMainThread } from 'node:worker_threads';
import { chainOf, messageOf } from '../errors.ts';
import { commit, version } from '../version.ts';

/** What a command is for, and where it is: a command that is not called is not even loaded. */
const COMMANDS: Record<string, readonly [summary: string, load: () => Promise<import('commander').Command>]> =
  {
    agent: ["run this node's agent", async () => (await import('./agent.ts')).agentCommand()],
    operator: [
      'give the nodes of a cluster their segments',
      async () => (await import('./operator.ts')).operatorCommand(),
    ],
    apply: [
      'create objects, or bring them up to date',
      async () => (await import('./apply.ts')).applyCommand(),
    ],
    get: ['print objects of the store', async () => (await import('./get.ts')).getCommand()],
    delete: ['delete objects', async () => (await import('./delete.ts')).deleteCommand()],
    status: ["say how this node's agent fares", async () => (await import('./status.ts')).statusCommand()],
    endpoint: [
      'the pods attached to this node',
      async () => (await import('./endpoint.ts')).endpointCommand(),
    ],
    service: [
      'the services that this node serves',
      async () => (await import('./service.ts')).serviceCommand(),
    ],
    tunnel: [
      'the ways to the other nodes and their pods',
      async () => (await import('./tunnel.ts')).tunnelCommand(),
    ],
    ipam: ['the addresses of this node', async () => (await import('./ipam.ts')).ipamCommand()],
    bgp: ['BGP as this node speaks it', async () => (await import('./bgp.ts')).bgpCommand()],
    preflight: [
      'say what this node lacks and how to mend it',
      async () => (await import('./preflight.ts')).preflightCommand(),
    ],
    version: ['print the version', async () => (await import('./versionCommand.ts')).versionCommand()],
  };

/** Exit codes: 0 done, 1 failed, 2 misused. */
async function main(words: readonly string[]): Promise<void> {
  if (words.length === 1 && words[0] === 'version') {
    process.stdout.write(`tombolo ${version}${commit && ` (${commit})`}\n`);
    return;
  }
  const verbose = words.includes('--verbose');
  const { Command, CommanderError } = await import('commander');
  const program = new Command('tombolo')
    .description('The network of hybrid-cloud Kubernetes clusters')
    .version(version)
    .option('--verbose', 'when something fails, say why down to the first cause')
    .showHelpAfterError('(--help says more)');
  const called = words.find((word) => !word.startsWith('-')) ?? '';
  for (const [name, [summary, load]] of Object.entries(COMMANDS)) {
    if (name === called) program.addCommand(await load());
    else program.command(name).description(summary);
  }
  throwInsteadOfExit(program);
  try {
    if (words.length === 0) program.help({ error: true });
    await program.parseAsync(words, { from: 'user' });
  } catch (error) {
    if (error instanceof CommanderError) {
      // Commander has said what is wrong, except where a command of ours threw.
      if (error.code === 'commander.invalidArgument' && !error.message.startsWith('error:'))
        complain(error, false);
      process.exitCode = error.exitCode === 0 ? 0 : 2;
      return;
    }
    complain(error, verbose);
    process.exitCode = 1;
  }
}

function throwInsteadOfExit(command: import('commander').Command): void {
  command.exitOverride();
  for (const inner of command.commands) throwInsteadOfExit(inner);
}

function complain(error: unknown, verbose: boolean): void {
  const lines = verbose ? chainOf(error) : [error instanceof Error ? error.message : messageOf(error)];
  process.stderr.write(`tombolo: ${lines.join('\n  because: ')}\n`);
}

// A worker thread of this program begins here, too: in the bundle there is no other file.
if (isMainThread) void main(process.argv.slice(2));
else void import('../bgp/speaker/threadMain.ts').then(({ runThread }) => runThread());
