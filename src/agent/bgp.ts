import type { IncomingMessage, ServerResponse } from 'node:http';
import { join } from 'node:path';
import type { Prefix } from '../address/prefix.ts';
import type { KernelEntry } from '../bgp/speaker/kernelReport.ts';
import type { SpeakerStatus } from '../bgp/speaker/status.ts';
import { bgpMetrics } from './bgpMetrics.ts';
import { BgpSpeaker } from './bgpSpeaker.ts';
import { type SteeringParts, steer } from './bgpSteering.ts';
import { Withdrawals } from './bgpWithdrawals.ts';
import type { Metric } from './metrics.ts';

/** The node's speaker, as the rest of the agent sees it. */
export interface Bgp {
  /** To be called when addresses or segments have come or gone. */
  changed(): void;
  /** `listener` is called whenever {@link isWithdrawn} says something new. */
  onWithdrawn(listener: () => void): void;
  /** Addresses of others that this node has held and is about to let go of: {@link isWithdrawn} answers for them, too. */
  onLeaving(addresses: () => readonly Prefix[]): void;
  /** Whether a segment that is empty and asked back is withdrawn from everybody. */
  isWithdrawn(segment: Prefix): boolean;
  /** What could not be done as it was written, a line each. */
  problems(): string[];
  /** Serves `/v1/bgp/…`. */
  handle(request: IncomingMessage, response: ServerResponse): Promise<void>;
  metrics(): Promise<Metric[]>;
  stop(): Promise<void>;
}

/** Keeps a speaker configured by what the store, the IPAM and the kernel say. Starts none where BGP is off. */
export function embedBgp(parts: SteeringParts): Bgp {
  return parts.config.bgp === undefined ? SILENT : speaking(parts);
}

function speaking(parts: SteeringParts): Bgp {
  const { config, log } = parts;
  const speaker = new BgpSpeaker({
    state: join(config.stateDir, 'bgp.running'),
    logLevel: config.logLevel,
    write: (line) => process.stderr.write(line),
    log: log.part('bgp'),
  });
  let listener = () => {};
  let leaving: () => readonly Prefix[] = () => [];
  const withdrawals = new Withdrawals({
    ask: (method, path) => speaker.ask(method, path),
    withdrawn: () => listener(),
  });
  const steering = steer(parts, {
    configure: (router) => speaker.configure(router),
    leave: (segments) => withdrawals.expect([...segments, ...leaving()]),
  });
  return {
    changed: steering.changed,
    isWithdrawn: (segment) => withdrawals.has(segment),
    onLeaving(addresses) {
      leaving = addresses;
    },
    onWithdrawn(called) {
      listener = called;
    },
    problems: () => [...(speaker.problem === undefined ? [] : [speaker.problem]), ...steering.problems()],
    async handle({ method = 'GET', url = '/' }, response) {
      const { status, body } = await speaker.ask(method, url);
      reply(response, status, body);
    },
    async metrics() {
      const { status, body } = await speaker.ask('GET', '/v1/bgp/neighbors');
      if (status !== 200) return bgpMetrics(undefined);
      const kernel = await speaker.ask('GET', '/v1/bgp/kernel');
      return bgpMetrics(body as SpeakerStatus, kernel.status === 200 ? (kernel.body as KernelEntry[]) : []);
    },
    async stop() {
      await steering.stop();
      withdrawals.stop();
      await speaker.stop();
    },
  };
}

const SILENT: Bgp = {
  changed() {},
  isWithdrawn: () => true,
  onLeaving() {},
  onWithdrawn() {},
  problems: () => [],
  async handle(_request, response) {
    reply(response, 404, { error: 'BGP is off on this node' });
  },
  metrics: async () => [],
  async stop() {},
};

function reply(response: ServerResponse, status: number, body: unknown): void {
  if (body instanceof Uint8Array) {
    response.writeHead(status, { 'content-type': 'application/octet-stream' }).end(body);
  } else response.writeHead(status, { 'content-type': 'application/json' }).end(`${JSON.stringify(body)}\n`);
}
