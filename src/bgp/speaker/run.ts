import { createLog, type LogLevel } from '../../log.ts';
import { readRouterConfig } from '../config/file.ts';
import { startSpeaker } from './compose.ts';
import { serveApi } from './server.ts';

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
  const speaker = startSpeaker(readRouterConfig(file), { log, state });
  const server = await serveApi(socket, speaker.answer);
  process.on('SIGHUP', () => {
    try {
      speaker.configure(readRouterConfig(file));
    } catch (error) {
      log.error('configuration kept as it was', { error });
    }
  });
  const how = await new Promise<'restart' | 'shutdown'>((resolve) => {
    process.once('SIGTERM', () => resolve('restart'));
    process.once('SIGINT', () => resolve('shutdown'));
  });
  server.close();
  server.closeAllConnections();
  await speaker.stop(how, 'the speaker was stopped by hand');
}
