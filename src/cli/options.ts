import { join } from 'node:path';
import { type Command, Option } from 'commander';
import { type AgentConfig, defaultConfigFile, readConfig } from '../agent/config.ts';
import { openStore } from '../store/open.ts';
import type { Store } from '../store/store.ts';

export interface StoreOptions {
  store?: string;
  config?: string;
}

export interface SocketOptions {
  socket?: string;
  config?: string;
}

/** `json`, and `yaml` or `table` where they make sense. */
export type OutputFormat = 'table' | 'json' | 'yaml';

export function withOutput(command: Command, ...formats: OutputFormat[]): Command {
  return command.addOption(
    new Option('-o, --output <format>', 'how to print').choices(formats).default('table', 'a table'),
  );
}

const CONFIG_OPTION = ['--config <file>', 'an agent configuration to take the place from'] as const;

export function withStore(command: Command): Command {
  return command
    .addOption(
      new Option('--store <location>', 'directory:PATH or kubernetes[:KUBECONFIG]').env('TOMBOLO_STORE'),
    )
    .option(...CONFIG_OPTION);
}

export function withSocket(command: Command): Command {
  return command
    .addOption(new Option('--socket <path>', "the agent's socket").env('TOMBOLO_SOCKET'))
    .option(...CONFIG_OPTION);
}

/** Opens the store, and closes it after `work`. Files that cannot be accepted are named on standard error. */
export async function inStore<T>(
  options: StoreOptions & { create?: boolean },
  work: (store: Store) => Promise<T>,
): Promise<T> {
  const store = await openStore(options.store ?? configured(options).store, {
    create: options.create ?? false,
    report: (problem) => process.stderr.write(`warning: ${problem}\n`),
  });
  try {
    return await work(store);
  } finally {
    await store.close();
  }
}

export function socketPath(options: SocketOptions): string {
  return options.socket ?? join(configured(options).runDir, 'agent.sock');
}

function configured({ config }: { config?: string }): AgentConfig {
  return readConfig(config ?? defaultConfigFile(), {});
}
