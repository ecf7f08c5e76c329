import { createServer, type Server } from 'node:http';
import { type Family, familyOf, parseIP } from '../address/ip.ts';
import { candidatesOf } from '../datapath/endpointCandidates.ts';
import type { ProtocolName } from '../datapath/maps/endpoint.ts';
import { clusterIPsOf } from '../datapath/serviceObjects.ts';
import { messageOf } from '../errors.ts';
import type { Log } from '../log.ts';
import type { ServiceInput } from './serviceFeed.ts';

/** What a load balancer asks a node for: whether it can serve a service of `externalTrafficPolicy: Local` itself. */
export interface LocalHealth {
  readonly port: number;
  readonly namespace: string;
  readonly name: string;
  /** Of each family that the service has. */
  readonly localEndpoints: ReadonlyMap<Family, number>;
}

/** The health of a service on this node; none where nobody may ask for it. */
function localHealthOf({ key, service, slices }: ServiceInput, nodeName: string): LocalHealth | undefined {
  const port = service?.spec.healthCheckNodePort;
  if (!service || !port || service.spec.externalTrafficPolicy !== 'Local') return undefined;
  const node = { name: nodeName, addresses: [], announcedClusterIPs: [] };
  const ready = (family: Family) =>
    (service.spec.ports ?? []).flatMap((one) => {
      const protocol = (one.protocol ?? 'TCP') as ProtocolName;
      const input = { key, service, port: one, protocol, family, addresses: [], slices, node, problems: [] };
      return candidatesOf(input).flatMap(({ ready, local, address }) => (ready && local ? [address] : []));
    });
  const families = clusterIPsOf(service).map((text) => familyOf(parseIP(text)));
  const localEndpoints = new Map(families.map((family) => [family, new Set(ready(family)).size]));
  const { namespace = 'default', name } = service.metadata;
  return { port, namespace, name, localEndpoints };
}

/** As kube-proxy does, which has one of these for each family: who asks by a family that the service has not, hears of the other. */
function endpointsFor(address: string | undefined, { localEndpoints }: LocalHealth): number {
  const asked = address === undefined || /^::ffff:/.test(address) || !address.includes(':') ? 4 : 6;
  return localEndpoints.get(asked) ?? localEndpoints.values().next().value ?? 0;
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
    const server = createServer(({ socket }, response) => {
      const health = [...this.#healths.values()].find((one) => one.port === port);
      const { namespace = '', name = '' } = health ?? {};
      const localEndpoints = health === undefined ? 0 : endpointsFor(socket.localAddress, health);
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
