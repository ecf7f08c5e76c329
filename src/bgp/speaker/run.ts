import { createLog, type LogLevel } from '../../log.ts';
import { readRouterConfig } from '../config/file.ts';
import { Rib } from '../rib/rib.ts';
import { answer } from './api.ts';
import { processClock } from './clock.ts';
import { RestartMarker } from './restart.ts';
import { serveApi } from './server.ts';
import { Speaker } from './speaker.ts';

export interface RunOptions {
  readonly config: string;
  /** Where `tombolo bgp neighbors` asks. */
  readonly socket: string;
  /** The restart marker; without one every start is a first one. */
  readonly state?: string;
  readonly logLevel: LogLevel;
}

/**
 * A speaker of its own, in whatever network namespace it was started in: a leaf for a lab, a route reflector.
 * SIGHUP reads the configuration again. SIGTERM leaves without a word, so that peers bridge the restart; SIGINT
 * says goodbye.
 *
 * @throws {Error} If the configuration is wrong, or a socket cannot be had.
 */
export async function run({ config: file, socket, state, logLevel }: RunOptions): Promise<void> {
  const log = createLog((line) => process.stderr.write(line), logLevel, 'bgp');
  const config = readRouterConfig(file);
  const marker = state === undefined ? undefined : new RestartMarker(state);
  const { restarting, sameBoot } = marker?.claim() ?? { restarting: false, sameBoot: false };
  const rib = new Rib({
    clock: processClock,
    identifier: config.routerId,
    ...(config.clusterId !== undefined && { clusterId: config.clusterId }),
  });
  const families = new Set(config.neighbours.flatMap((one) => one.families.map(({ family }) => family)));
  const speaker = new Speaker({
    clock: processClock,
    random: Math.random,
    rib,
    log,
    restarting,
    // It forwards nothing itself: what it announces is as reachable without it as with it, unless the machine was down.
    preserved: () => (restarting && !sameBoot ? new Set() : families),
  });
  const server = await serveApi(socket, (method, path) => answer(speaker, rib, method, path));
  try {
    speaker.configure(config);
  } catch (error) {
    server.close();
    throw error;
  }
  process.on('SIGHUP', () => {
    try {
      speaker.configure(readRouterConfig(file));
    } catch (error) {
      log.error('configuration kept as it was', { error });
    }
  });
  await new Promise<void>((resolve) => {
    const leave = (how: 'restart' | 'shutdown') => {
      if (how === 'shutdown') marker?.clear();
      server.close();
      server.closeAllConnections();
      void speaker.stop(how, 'the speaker was stopped by hand').then(resolve);
    };
    process.once('SIGTERM', () => leave('restart'));
    process.once('SIGINT', () => leave('shutdown'));
  });
}
