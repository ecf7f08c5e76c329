import type { IncomingMessage, Server, ServerResponse } from 'node:http';
import type { Log } from '../log.ts';
import { apiHandler } from './api.ts';
import type { Bgp } from './bgp.ts';
import type { AgentConfig } from './config.ts';
import type { Reports } from './resources.ts';
import { drained, listenOnAddress, listenOnSocket } from './socket.ts';
import type { Verbs } from './verbs.ts';

/** Calls that are under way get so long to end before the agent leaves. */
const FAREWELL_MS = 10_000;

export interface DoorParts {
  readonly config: Pick<AgentConfig, 'runDir' | 'metricsAddress'>;
  readonly verbs: Pick<Verbs, 'handle' | 'serve'>;
  readonly bgp: Pick<Bgp, 'handle'>;
  readonly reports: Reports;
  readonly log: Log;
}

/** Lets calls of the plugin, the CLI and Prometheus in: through the agent's socket, and metrics through an address, too. */
export async function openDoors({ config, verbs, bgp, reports, log }: DoorParts): Promise<{
  /** Lets nobody in any more; resolves when those who are have been answered, or have taken too long. */
  close(): Promise<void>;
}> {
  const api = apiHandler(reports.resources, reports.metrics, reports.actions);
  const handler = (request: IncomingMessage, response: ServerResponse) => {
    if (request.url?.startsWith('/cni/')) return verbs.handle(request, response);
    return request.url?.startsWith('/v1/bgp/') ? bgp.handle(request, response) : api(request, response);
  };
  const servers: Server[] = [];
  const close = async () => {
    await Promise.race([Promise.all(servers.map(drained)), patience()]);
  };
  try {
    if (config.metricsAddress) {
      servers.push(await listenOnAddress(config.metricsAddress, apiHandler({}, reports.metrics), log));
    }
    // Last: pods come as soon as it is there.
    servers.push(await listenOnSocket(config.runDir, handler, verbs.serve, log));
  } catch (error) {
    await close();
    throw error;
  }
  return { close };
}

function patience(): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, FAREWELL_MS).unref());
}
