import { appendFileSync, existsSync } from 'node:fs';
import { attach } from '../src/attach/attach.ts';
import { check } from '../src/attach/check.ts';
import { detach, sweep } from '../src/attach/detach.ts';
import { noPrograms, type PodPrograms } from '../src/attach/podPrograms.ts';
import { RecordStore } from '../src/attach/record.ts';
import { pinDirectory } from '../src/datapath/directory.ts';
import { datapathPodPrograms } from '../src/datapath/podPrograms.ts';
import { createLog, type Log } from '../src/log.ts';
import { absentAgent } from './absentAgent.ts';
import type { Answer } from './agentSocket.ts';
import { type Call, success } from './answer.ts';
import type { Node } from './node.ts';
import type { Configuration } from './protocol/configuration.ts';
import { CniError, CODE } from './protocol/error.ts';
import { Released } from './released.ts';
import { Turns } from './turns.ts';
import { serve } from './verbs.ts';

/** Serves a call in this process, because no agent does. */
export async function serveAlone(call: Call): Promise<Answer> {
  return success(await serve(call, nodeWithoutAgent(call.configuration)));
}

function nodeWithoutAgent(configuration: Configuration): Node {
  const { agentSocket, stateDir, bpfDir } = configuration;
  const log = logOf(configuration);
  const records = new RecordStore(stateDir);
  const hooks = { records, log, programs: programsLeft(bpfDir, records) };
  return {
    addresses: absentAgent(agentSocket, new Released(stateDir)),
    records,
    attach: async (spec) => attach(spec, hooks),
    detach: (record) => detach(record, hooks),
    sweep: (remains) => sweep(remains, hooks),
    check: async (record) => check(record, hooks),
    async status() {
      // A delegated IPAM plugin may have addresses, but a node without its agent has no services.
      throw new CniError(CODE.notAvailable, `Cannot attach pods: no agent answers on ${agentSocket}`);
    },
    turns: new Turns(),
    log,
  };
}

/** What an agent has pinned serves pods on while it is away; where none has ever run there is nothing to attach. */
function programsLeft(bpfDir: string, records: RecordStore): PodPrograms {
  if (!existsSync(pinDirectory(bpfDir).program('tb_eth0_egress'))) return noPrograms;
  return datapathPodPrograms({ bpfDir, mode: { socket: true, packet: true }, records });
}

/** To the file the configuration names, otherwise, or where that takes nothing, to stderr, which runtimes keep. */
function logOf({ logFile, logLevel }: Configuration): Log {
  const write = (line: string) => {
    if (logFile === undefined || !append(logFile, line)) process.stderr.write(line);
  };
  return createLog(write, logLevel, 'cni');
}

/** A full disk must not keep pods from being removed. */
function append(file: string, line: string): boolean {
  try {
    appendFileSync(file, line, { mode: 0o600 });
    return true;
  } catch {
    return false;
  }
}
