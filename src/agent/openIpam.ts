import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { because } from '../errors.ts';
import { History } from '../ipam/history.ts';
import { Ipam } from '../ipam/ipam.ts';
import type { Log } from '../log.ts';
import type { AgentConfig } from './config.ts';
import { Cooldowns } from './cooldowns.ts';
import { segmentsOf } from './segments.ts';

export interface OpenedIpam {
  readonly ipam: Ipam;
  readonly history: History;
  readonly cooldowns: Cooldowns;
  /** The kernel's name for the time since it was started. */
  readonly boot: string;
}

/**
 * Opens the journal where the last agent has left it; a node's first one begins with the segments of the configuration.
 *
 * @throws {Error} If another process has it open, it is damaged, or the disk takes nothing.
 */
export async function openIpam(
  { stateDir, cooldownSeconds, segments }: Pick<AgentConfig, 'stateDir' | 'cooldownSeconds' | 'segments'>,
  log: Log,
): Promise<OpenedIpam> {
  const boot = readFileSync('/proc/sys/kernel/random/boot_id', 'utf8').trim();
  const cooldowns = new Cooldowns(cooldownSeconds * 1000);
  const directory = join(stateDir, 'ipam');
  try {
    const history = new History(directory);
    const ipam = new Ipam({ directory, cooldown: cooldowns.of, boot, now: Date.now, log, history });
    if (ipam.segments().length === 0) await ipam.assign(segmentsOf(undefined, segments));
    return { ipam, history, cooldowns, boot };
  } catch (error) {
    throw because(`open the books of addresses in ${directory}`, error);
  }
}
