import type { IPv4 } from '../../address/ip.ts';
import type { Log } from '../../log.ts';
import type { RouterConfig } from '../config/router.ts';
import { tableDump } from '../mrt/tableDump.ts';
import { Rib } from '../rib/rib.ts';
import type { AfiSafi } from '../wire/family.ts';
import { type Answer, answer } from './api.ts';
import { processClock } from './clock.ts';
import { KernelRoutes } from './kernel.ts';
import { kernelReport } from './kernelReport.ts';
import { Monitoring } from './monitoring.ts';
import { RestartMarker } from './restart.ts';
import { Speaker, type SpeakerEvent } from './speaker.ts';

/** How long a dump of the table works at a time, in ms. */
const DUMP_PORTION_MS = 4;

export interface SpeakerParts {
  readonly log: Log;
  /** Where it is remembered that the speaker ran; without it every start is a first one. */
  readonly state: string | undefined;
  report?(event: SpeakerEvent): void;
}

/** A speaker with its RIB, its routes in the kernel, its memory of having run. */
export interface RunningSpeaker {
  /** @throws {Error} If a listening address cannot be had. */
  configure(config: RouterConfig): void;
  answer(method: string, path: string): Answer | Promise<Answer>;
  /** `restart`: peers and the kernel keep our routes. `shutdown`: all of it ends now, and peers are told why. */
  stop(how: 'restart' | 'shutdown', text: string): Promise<void>;
}

/**
 * Starts a speaker in this thread.
 *
 * @throws {Error} If the kernel refuses a socket or the memory of the last run cannot be written.
 */
export function startSpeaker(first: RouterConfig, { log, state, report }: SpeakerParts): RunningSpeaker {
  const marker = state === undefined ? undefined : new RestartMarker(state);
  const earlier = marker?.claim() ?? { restarting: false, sameBoot: false };
  const { routerId: identifier, clusterId, capacity } = first;
  const rib = new Rib({
    clock: processClock,
    identifier,
    ...(clusterId !== undefined && { clusterId }),
    ...(capacity !== undefined && { capacity }),
  });
  const openKernel = (config: RouterConfig) =>
    config.kernel && new KernelRoutes(config, config.kernel, rib, processClock, log);
  let kernel = openKernel(first);
  const restarting = earlier.restarting || (kernel?.preserved.size ?? 0) > 0;
  let converged = !restarting;
  if (converged) kernel?.fib.converged();

  /**
   * Until convergence, what the kernel has kept; afterwards everything, for then the kernel has it. Who forwards nothing
   * itself loses nothing by a restart, unless the machine was down with it.
   */
  const preserved = (): ReadonlySet<AfiSafi> =>
    converged || (kernel === undefined && earlier.sameBoot) ? spoken : (kernel?.preserved ?? new Set());
  let spoken = familiesOf(first);

  const monitoring = new Monitoring({ rib, log, speaker: () => speaker });
  const speaker: Speaker = new Speaker({
    clock: processClock,
    random: Math.random,
    rib,
    log,
    restarting,
    preserved,
    report(event) {
      if (event.type === 'converged') {
        converged = true;
        kernel?.fib.converged();
      }
      monitoring.report(event);
      report?.(event);
    },
    sent: (neighbour, bytes) => monitoring.sent(neighbour, bytes),
  });
  try {
    speaker.configure(first);
    monitoring.configure(first);
  } catch (error) {
    void speaker.stop('restart');
    kernel?.close(false);
    throw error;
  }
  return {
    configure(next) {
      spoken = familiesOf(next);
      if (kernel !== undefined && next.kernel !== undefined) kernel.configure(next, next.kernel);
      else {
        kernel?.close(true);
        kernel = openKernel(next);
        if (converged) kernel?.fib.converged();
      }
      speaker.configure(next);
      monitoring.configure(next);
    },
    answer(method, path) {
      if (method === 'GET' && path === '/v1/bgp/mrt') return dump(rib, speaker);
      if (method === 'GET' && path === '/v1/bgp/kernel')
        return { status: 200, body: kernelReport(kernel?.fib) };
      return answer(speaker, rib, method, path);
    },
    async stop(how, text) {
      if (how === 'shutdown') marker?.clear();
      monitoring.close();
      await speaker.stop(how, text);
      kernel?.close(how === 'shutdown');
    },
  };
}

/** The table as MRT, in portions that let sessions have their turn. */
async function dump(rib: Rib, speaker: Speaker): Promise<Answer> {
  const { routerId: identifier, asn, name = '' } = speaker.config ?? { routerId: 0 as IPv4, asn: 0 };
  const records: Buffer[] = [];
  let began = processClock.now();
  for (const record of tableDump(rib, { identifier, asn, name }, Date.now())) {
    records.push(record);
    if (processClock.now() - began < DUMP_PORTION_MS) continue;
    await new Promise<void>((resolve) => processClock.soon(resolve));
    began = processClock.now();
  }
  return { status: 200, body: Buffer.concat(records) };
}

function familiesOf({ neighbours, ranges }: RouterConfig): ReadonlySet<AfiSafi> {
  return new Set([...neighbours, ...ranges].flatMap((one) => one.families.map(({ family }) => family)));
}
