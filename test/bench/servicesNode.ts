import { mkdirSync, rmdirSync, rmSync } from 'node:fs';
import { setTimeout } from 'node:timers/promises';
import { AgentRig, serviceYaml, sliceYaml } from '../kernel/agentRig.ts';
import type { TestNamespace, TestNamespaces } from '../kernel/namespaces.ts';
import { SERVER_PORT, type Server, serve } from './servicesLoad.ts';

export const CGROUP_ROOT = '/sys/fs/cgroup/unified';
const SYNC_LIMIT_MS = 180_000;

export type AttachmentKind = 'veth' | 'nic';

/** Two pods of a node and the service that leads from one to the other. */
export interface Pair {
  readonly client: TestNamespace;
  readonly server: Server;
  readonly serverAddress: string;
  readonly serviceAddress: string;
}

/** A node with the agent as it is built, both hooks in force: packets for everybody, sockets in a cgroup. */
export class ServiceNode {
  /** Processes in here are served at the socket, all others at the packet. */
  readonly cgroup: string;
  readonly #namespaces: TestNamespaces;
  readonly #name: string;
  readonly #rig: AgentRig;
  readonly #undo = () => this.#removeTraces();

  constructor(namespaces: TestNamespaces, name: string) {
    this.#namespaces = namespaces;
    this.#name = name;
    this.cgroup = `${CGROUP_ROOT}/tombolo-bench-${process.pid}-${name}`;
    mkdirSync(this.cgroup);
    const segments = ['10.77.0.0/24', { cidr: '10.78.0.0/24', gateway: '10.78.0.1' }];
    this.#rig = new AgentRig(namespaces, name, { cgroup: this.cgroup, segments });
    process.on('exit', this.#undo);
    buildFabric(this.#rig.node, this.#rig.leaf);
  }

  /**
   * Puts services into the store, and waits until the kernel has them.
   *
   * @param services Their names and addresses; each with one backend that is never called.
   * @returns Seconds from the agent's start to the last service being served.
   */
  async start(services: readonly Service[]): Promise<number> {
    for (const { name, address, backend } of services) this.#put(name, address, backend);
    const began = performance.now();
    await this.#rig.start();
    for (;;) {
      const report = (await this.#rig.json('/v1/services')) as readonly { backends: readonly unknown[] }[];
      const seconds = (performance.now() - began) / 1000;
      if (report.filter(({ backends }) => backends.length > 0).length >= services.length) return seconds;
      if (seconds * 1000 > SYNC_LIMIT_MS)
        throw new Error(`Cannot serve ${services.length} services: ${report.length}`);
      await setTimeout(200);
    }
  }

  /** Two pods of a kind of attachment, a server in one of them, and a service in front of it. */
  async pair(kind: AttachmentKind, serviceAddress: string): Promise<Pair> {
    const pod = (role: string) => {
      const nic = { attachment: 'nic', master: 'nic0', kind: 'macvlan' };
      const name = `${this.#name}-${kind}-${role}`;
      return addPod(this.#namespaces, this.#rig, name, kind === 'nic' ? nic : {});
    };
    const [client, host] = [await pod('client'), await pod('server')];
    const server = await serve(host.namespace, this.#rig.directory);
    this.#put(`${kind}-web`, serviceAddress, host.address);
    await untilReached(client.namespace, serviceAddress);
    return { client: client.namespace, server, serverAddress: host.address, serviceAddress };
  }

  async remove(): Promise<void> {
    await this.#rig.remove();
    this.#removeTraces();
    process.off('exit', this.#undo);
  }

  #put(name: string, address: string, backend: string): void {
    this.#rig.drop(`EndpointSlice/default/${name}-1.yaml`, sliceYaml(name, [backend], SERVER_PORT));
    this.#rig.drop(`Service/default/${name}.yaml`, serviceYaml(name, address));
  }

  #removeTraces(): void {
    rmSync(this.#rig.bpfDir, { recursive: true, force: true });
    rmSync(this.#rig.directory, { recursive: true, force: true });
    try {
      rmdirSync(this.cgroup);
    } catch {
      // Somebody in it is about to end, or it is gone: an empty directory is all that can stay.
    }
  }
}

/** A pod by the node's agent. */
export async function addPod(
  namespaces: TestNamespaces,
  rig: AgentRig,
  name: string,
  configuration: object,
): Promise<{ readonly namespace: TestNamespace; readonly address: string }> {
  const namespace = namespaces.create(name);
  const { status, body } = await rig.verb('ADD', name, namespace.path, configuration);
  if (status !== 200) throw new Error(`Cannot measure: ADD of ${name} failed: ${body}`);
  const address: string = JSON.parse(body).ips[0].address.replace(/\/.*/, '');
  return { namespace, address };
}

/** Waits until the service is served. */
export async function untilReached(client: TestNamespace, address: string): Promise<void> {
  const url = `http://${address}/`;
  for (let attempt = 0; client.attempt('curl', '-sf', '--max-time', '1', url).status !== 0; attempt++) {
    if (attempt === 100) throw new Error(`Cannot reach ${url} from ${client.name}`);
    await setTimeout(100);
  }
}

export interface Service {
  readonly name: string;
  readonly address: string;
  readonly backend: string;
}

/** `count` services nobody calls, with as many backends. */
export function idleServices(count: number): Service[] {
  return Array.from({ length: count }, (_, index) => {
    const low = `${index >> 8}.${index & 255}`;
    return { name: `idle-${index}`, address: `10.100.${low}`, backend: `10.101.${low}` };
  });
}

/** A NIC for pods, on a port of the fabric's bridge. */
function buildFabric(node: TestNamespace, fabric: TestNamespace): void {
  fabric.run('ip', 'link', 'add', 'fabric', 'type', 'bridge');
  fabric.run('ip', 'address', 'add', '10.78.0.1/24', 'dev', 'fabric');
  fabric.run('ip', 'link', 'set', 'fabric', 'up');
  node.run('ip', 'link', 'add', 'nic0', 'type', 'veth', 'peer', 'name', 'port0', 'netns', fabric.name);
  fabric.run('ip', 'link', 'set', 'port0', 'master', 'fabric', 'up');
  node.run('ip', 'link', 'set', 'nic0', 'up');
}
