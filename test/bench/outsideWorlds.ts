import { mkdirSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { setTimeout } from 'node:timers/promises';
import type { TestNamespace, TestNamespaces } from '../kernel/namespaces.ts';
import { behindLeaf, type Fabric } from './fabric.ts';
import { routedPod, TomboloNodes } from './forwardingWorlds.ts';
import { serveByIptables } from './kubeProxyOutside.ts';
import { SERVER_PORT, type Server, serve } from './servicesLoad.ts';

/** A service of type LoadBalancer, on port 80. */
export interface OutsideService {
  readonly name: string;
  readonly clusterIP: string;
  readonly vip: string;
  readonly nodePort: number;
  readonly backend: string;
}

/** Somebody outside, and what he may ask of the first node for a server on a node. */
export interface OutsideWay {
  readonly client: TestNamespace;
  readonly server: Server;
  readonly address: string;
  readonly port: number;
}

/** Where the backend is: on the node that is asked, or on the other one. */
export const PLACES = ['here', 'elsewhere'] as const;
export type Place = (typeof PLACES)[number];

/** By which of its addresses the service is asked. */
export const FRONTENDS = ['node port', 'VIP'] as const;
export type Frontend = (typeof FRONTENDS)[number];

export type OutsideWays = ReadonlyMap<`${Frontend}, ${Place}`, OutsideWay>;

/** Backends whose addresses are not known yet. */
const ASKED_LATER = PLACES.map(() => '');

/** Tries, ten a second, until all services are in the kernel. */
const ATTEMPTS = 300;

const CLIENT = '198.51.100.9';
/** All node ports of Kubernetes are 30000 to 32767. */
const FIRST_NODE_PORT = 30_000;

/** A leaf with a client on it, and all VIPs by way of the first node. */
function fabricWithClient(namespaces: TestNamespaces, name: string) {
  const fabric = behindLeaf(namespaces, name, 'routed');
  const { leaf } = fabric;
  if (!leaf) throw new Error('Cannot measure: there is no leaf');
  const client = namespaces.create(`${name}-out`);
  const run = (at: TestNamespace, words: string) => at.run('ip', ...words.split(' '));
  run(client, `link add eth0 type veth peer name out0 netns ${leaf.name}`);
  run(leaf, 'address add 198.51.100.1/24 dev out0');
  run(leaf, 'link set out0 up');
  run(client, `address add ${CLIENT}/24 dev eth0`);
  run(client, 'link set eth0 up');
  run(client, 'route add default via 198.51.100.1');
  run(leaf, `route add 198.18.0.0/16 via ${fabric.nodes[0].address}`);
  return { fabric, client };
}

/** `count` services, the last of which have these backends; the others' are never asked. */
function servicesFor(count: number, backends: readonly string[]): OutsideService[] {
  return Array.from({ length: count }, (_, index) => {
    const low = `${index >> 8}.${index & 255}`;
    return {
      name: `web-${index}`,
      clusterIP: `10.100.${low}`,
      vip: `198.18.${low}`,
      nodePort: FIRST_NODE_PORT + index,
      backend: backends[index - (count - backends.length)] ?? `10.101.${low}`,
    };
  });
}

/** The services that are asked, in the middle of the others: chains are walked from their beginning. */
function inTheMiddle(services: readonly OutsideService[], asked: number): OutsideService[] {
  const others = services.slice(0, services.length - asked);
  return others.toSpliced(others.length >> 1, 0, ...services.slice(services.length - asked));
}

async function waysOf(
  client: TestNamespace,
  node: string,
  services: readonly OutsideService[],
  servers: readonly Server[],
): Promise<OutsideWays> {
  const ways = new Map<`${Frontend}, ${Place}`, OutsideWay>();
  const asked = services.slice(services.length - servers.length);
  for (const [index, { vip, nodePort }] of asked.entries()) {
    const [place, server] = [PLACES[index], servers[index]];
    if (place === undefined || server === undefined) throw new Error('Cannot measure: too many servers');
    ways.set(`node port, ${place}`, { client, server, address: node, port: nodePort });
    ways.set(`VIP, ${place}`, { client, server, address: vip, port: 80 });
  }
  for (const { address, port } of ways.values()) {
    const url = `http://${address}:${port}/`;
    for (let attempt = 0; ; attempt++) {
      if (client.attempt('curl', '-sf', '--max-time', '1', url).status === 0) break;
      if (attempt === ATTEMPTS) throw new Error(`Cannot measure: ${url} does not answer`);
      await setTimeout(100);
    }
  }
  return ways;
}

/** Nodes that route by their stack, with kube-proxy's chains on both. */
export async function iptablesOutside(
  namespaces: TestNamespaces,
  count: number,
  directory: string,
): Promise<OutsideWays> {
  const name = `ipt${count}`;
  const { fabric, client } = fabricWithClient(namespaces, name);
  const backends = ['10.77.1.3', '10.77.2.3'];
  const servers: Server[] = [];
  for (const [index, { namespace }] of fabric.nodes.entries()) {
    const pod = routedPod(namespaces, namespace, `${name}-${PLACES[index]}`, backends[index] ?? '');
    servers.push(await serve(pod, directory));
  }
  const services = servicesFor(count, backends);
  for (const { namespace } of fabric.nodes)
    serveByIptables(namespace, inTheMiddle(services, backends.length));
  return waysOf(client, fabric.nodes[0].address, services, servers);
}

/** Nodes with agents. */
export class TomboloOutside {
  readonly #nodes: TomboloNodes;
  readonly #fabric: Fabric;
  readonly #client: TestNamespace;

  constructor(namespaces: TestNamespaces, name: string) {
    const { fabric, client } = fabricWithClient(namespaces, name);
    this.#fabric = fabric;
    this.#client = client;
    this.#nodes = new TomboloNodes(namespaces, name, fabric, 'underlay');
  }

  async start(count: number, directory: string): Promise<OutsideWays> {
    for (const service of servicesFor(count, ASKED_LATER).slice(0, -ASKED_LATER.length)) this.#put(service);
    await this.#nodes.start();
    const backends: string[] = [];
    const servers: Server[] = [];
    for (const [index, rig] of this.#nodes.rigs.entries()) {
      const pod = await rig.pod(PLACES[index] ?? '');
      backends.push(pod.address);
      servers.push(await serve(pod.namespace, directory));
    }
    const services = servicesFor(count, backends);
    for (const service of services.slice(-backends.length)) this.#put(service);
    return waysOf(this.#client, this.#fabric.nodes[0].address, services, servers);
  }

  remove(): Promise<void> {
    return this.#nodes.remove();
  }

  #put({ name, clusterIP, vip, nodePort, backend }: OutsideService): void {
    const metadata = { name, namespace: 'default' };
    this.#write('EndpointSlice', `${name}-1`, {
      apiVersion: 'discovery.k8s.io/v1',
      metadata: { ...metadata, name: `${name}-1`, labels: { 'kubernetes.io/service-name': name } },
      addressType: 'IPv4',
      ports: [{ port: SERVER_PORT, protocol: 'TCP' }],
      endpoints: [{ addresses: [backend] }],
    });
    this.#write('Service', name, {
      apiVersion: 'v1',
      metadata,
      spec: {
        type: 'LoadBalancer',
        clusterIP,
        ports: [{ port: 80, targetPort: SERVER_PORT, protocol: 'TCP', nodePort }],
      },
      status: { loadBalancer: { ingress: [{ ip: vip }] } },
    });
  }

  #write(kind: string, name: string, object: object): void {
    const file = join(this.#nodes.store, kind, 'default', `${name}.yaml`);
    mkdirSync(dirname(file), { recursive: true });
    writeFileSync(file, JSON.stringify({ ...object, kind }));
  }
}
