import { Command } from 'commander';
import { type AgentConfig, CONFIG_KEYS, defaultConfigFile, kebab, readConfig } from '../agent/config.ts';

/** `tombolo agent`: runs until it is told to stop. Every key of the configuration is an option. */
export function agentCommand(): Command {
  const command = new Command('agent')
    .description("run this node's agent")
    .option('--config <file>', 'configuration, YAML (default: /etc/tombolo/agent.yaml, if it is there)');
  for (const [key, meaning] of Object.entries(CONFIG_KEYS)) {
    command.option(`--${kebab(key)} <value>`, meaning);
  }
  return command.action(async () => {
    const { config: file, ...options } = byKey(command);
    const config: AgentConfig = readConfig(file ?? defaultConfigFile(), options);
    const { runAgent } = await import('../agent/agent.ts');
    await runAgent(config);
  });
}

/** Commander names `--node-ip` nodeIp, the configuration nodeIP. */
function byKey(command: Command): Record<string, string> {
  const keys = new Map(Object.keys(CONFIG_KEYS).map((key) => [key.toLowerCase(), key]));
  return Object.fromEntries(
    Object.entries(command.opts<Record<string, string>>()).map(([name, value]) => [
      keys.get(name.toLowerCase()) ?? name,
      value,
    ]),
  );
}
