import { Command } from 'commander';
import type { SegmentReport, StatusReport } from '../agent/reports.ts';
import type { SpeakerStatus } from '../bgp/speaker/status.ts';
import { askAgent } from './agentClient.ts';
import { bgpStatusTables } from './bgpStatusTable.ts';
import { type OutputFormat, type SocketOptions, socketPath, withOutput, withSocket } from './options.ts';
import { age, print, printJson, sheet } from './print.ts';

/** `tombolo status`: how this node's agent fares. */
export function statusCommand(): Command {
  return withOutput(withSocket(new Command('status')), 'table', 'json')
    .description("say how this node's agent fares")
    .action(async (options: SocketOptions & { output: OutputFormat }) => {
      const status = await askAgent<StatusReport>(socketPath(options), '/v1/status');
      if (options.output === 'json') printJson(status);
      else print(statusSheet(status) + (await bgpTables(options)));
    });
}

/** Nothing, where the agent speaks no BGP. */
async function bgpTables(options: SocketOptions): Promise<string> {
  try {
    return `\n${bgpStatusTables(await askAgent<SpeakerStatus>(socketPath(options), '/v1/bgp/neighbors'))}`;
  } catch {
    return '';
  }
}

function statusSheet(status: StatusReport): string {
  const { store, datapath, bgp, segments, stall } = status;
  const problems = [...status.problems, ...store.problems, ...datapath.problems, ...bgp.problems];
  return sheet([
    ['Node', `${status.node} (${status.nodeIPs.join(', ') || 'no address'})`],
    ['Uplink', status.uplink],
    ['Agent', `${status.version} ${status.commit}`.trim()],
    ['Running', `${age(status.startedAt)}, process ${status.pid}`],
    ['Store', `${store.location}, ${storeState(store)}`],
    ['Services', `${status.services}, translated at ${datapath.hooks.join(' and ') || 'no hook'}`],
    ['Cgroup', datapath.cgroup],
    ['Endpoints', status.endpoints],
    ['Segments', segments.map(segmentLine).join('\n')],
    ['Stalls', `${milliseconds(stall.latest)} at most lately, ${milliseconds(stall.longest)} ever`],
    ['Problems', problems.join('\n') || 'none'],
  ]);
}

function storeState({ synced, interrupted }: StatusReport['store']): string {
  if (interrupted !== undefined) return `out of reach: ${interrupted}`;
  return synced ? 'in sync' : 'not listed yet';
}

function segmentLine({ cidr, used, capacity, resting, state }: SegmentReport): string {
  const rest = resting > 0 ? `, ${resting} resting` : '';
  return `${cidr}  ${used} of ${capacity} in use${rest}${state === 'active' ? '' : `, ${state}`}`;
}

function milliseconds(seconds: number): string {
  return `${Math.round(seconds * 1000)} ms`;
}
