import { createServer, type Server } from 'node:http';
import { messageOf } from '../errors.ts';
import type { Log } from '../log.ts';
import type { ServiceInput } from './serviceFeed.ts';

/** What a load balancer asks a node for: whether it can serve a service of `externalTrafficPolicy: Local` itself. */
export interface LocalHealth {
  readonly port: number;
  readonly namespace: string;
  readonly name: string;
  readonly localEndpoints: number;
}

/** The health of a service on this node; none where nobody may ask for it. */
function localHealthOf({ service, slices }: ServiceInput, nodeName: string): LocalHealth | undefined {
  const port = service?.spec.healthCheckNodePort;
  if (!service || !port || service.spec.externalTrafficPolicy !== 'Local') return undefined;
  const ready = slices
    .flatMap(({ endpoints }) => endpoints ?? [])
    .filter(({ nodeName: node, conditions }) => node === nodeName && (conditions?.ready ?? true));
  const { namespace = 'default', name } = service.metadata;
  return { port, namespace, name, localEndpoints: new Set(ready.map(({ addresses }) => addresses[0])).size };
}

/** Answers on each `healthCheckNodePort`, in the words of kube-proxy: 200 with a local endpoint, 503 without. */
export class HealthCheckNodePorts {
  readonly #nodeName: string;
  readonly #log: Log;
  readonly #healths = new Map<string, LocalHealth>();
  readonly #servers = new Map<number, Server>();

  constructor(nodeName: string, log: Log) {
    this.#nodeName = nodeName;
    this.#log = log;
  }

  update(inputs: readonly ServiceInput[]): void {
    for (const input of inputs) {
      const health = localHealthOf(input, this.#nodeName);
      if (health) this.#healths.set(input.key, health);
      else this.#healths.delete(input.key);
    }
    // Of all at once: a port may go from one service to another.
    const wanted = new Set([...this.#healths.values()].map(({ port }) => port));
    for (const port of [...this.#servers.keys()]) if (!wanted.has(port)) this.#close(port);
    for (const port of wanted) if (!this.#servers.has(port)) this.#open(port);
  }

  stop(): void {
    for (const port of [...this.#servers.keys()]) this.#close(port);
  }

  #open(port: number): void {
    const server = createServer((_request, response) => {
      const health = [...this.#healths.values()].find((one) => one.port === port);
      const { namespace = '', name = '', localEndpoints = 0 } = health ?? {};
      const body = { service: { namespace, name }, localEndpoints, serviceProxyHealthy: true };
      response
        .writeHead(localEndpoints > 0 ? 200 : 503, { 'content-type': 'application/json' })
        .end(JSON.stringify(body));
    });
    server.on('error', (error) => {
      this.#servers.delete(port);
      this.#log.error('nobody can ask for the health of a service', { port, reason: messageOf(error) });
    });
    this.#servers.set(port, server);
    server.listen(port);
  }

  #close(port: number): void {
    const server = this.#servers.get(port);
    this.#servers.delete(port);
    server?.close();
    server?.closeAllConnections();
  }
}
