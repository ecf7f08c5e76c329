import type { Log } from '../../log.ts';
import type { RouterConfig } from '../config/router.ts';
import { Rib } from '../rib/rib.ts';
import type { AfiSafi } from '../wire/family.ts';
import { type Answer, answer } from './api.ts';
import { processClock } from './clock.ts';
import { KernelRoutes } from './kernel.ts';
import { RestartMarker } from './restart.ts';
import { Speaker, type SpeakerEvent } from './speaker.ts';

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
  answer(method: string, path: string): Answer;
  /** `restart`: peers and the kernel keep our routes. `shutdown`: all of it ends now, and peers are told why. */
  stop(how: 'restart' | 'shutdown', text: string): Promise<void>;
}

/**
 * Starts a speaker in this thread.
 *
 * @throws {Error} If the kernel refuses a socket or the memory of the last run cannot be written.
 */
export function startSpeaker(config: RouterConfig, { log, state, report }: SpeakerParts): RunningSpeaker {
  const marker = state === undefined ? undefined : new RestartMarker(state);
  const earlier = marker?.claim() ?? { restarting: false, sameBoot: false };
  const { routerId: identifier, clusterId } = config;
  const rib = new Rib({ clock: processClock, identifier, ...(clusterId !== undefined && { clusterId }) });
  const kernel = config.kernel && new KernelRoutes(config, config.kernel, rib, processClock, log);
  const restarting = earlier.restarting || (kernel?.preserved.size ?? 0) > 0;
  let converged = !restarting;
  if (converged) kernel?.fib.converged();

  /**
   * Until convergence, what the kernel has kept; afterwards everything, for then the kernel has it. Who forwards nothing
   * itself loses nothing by a restart, unless the machine was down with it.
   */
  const preserved = (): ReadonlySet<AfiSafi> => {
    const families = [...config.neighbours, ...config.ranges].flatMap((one) => one.families);
    if (converged || (kernel === undefined && earlier.sameBoot))
      return new Set(families.map((one) => one.family));
    return kernel?.preserved ?? new Set();
  };

  const speaker = new Speaker({
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
      report?.(event);
    },
  });
  try {
    speaker.configure(config);
  } catch (error) {
    void speaker.stop('restart');
    kernel?.close(false);
    throw error;
  }
  return {
    configure(next) {
      if (next.kernel) kernel?.configure(next, next.kernel);
      speaker.configure(next);
    },
    answer: (method, path) => answer(speaker, rib, method, path),
    async stop(how, text) {
      if (how === 'shutdown') marker?.clear();
      await speaker.stop(how, text);
      kernel?.close(how === 'shutdown');
    },
  };
}
