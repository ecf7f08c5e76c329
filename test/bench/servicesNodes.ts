import { mkdirSync, mkdtempSync, rmdirSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout } from 'node:timers/promises';
import { AgentRig, serviceYaml, sliceYaml } from '../kernel/agentRig.ts';
import type { TestNamespace, TestNamespaces } from '../kernel/namespaces.ts';
import { cable } from './fabric.ts';
import { SERVER_PORT, serve } from './servicesLoad.ts';
import { type AttachmentKind, addPod, CGROUP_ROOT, type Pair, untilReached } from './servicesNode.ts';

const KNOWN_LIMIT_MS = 10_000;

/** Of one network, which spans both nodes. */
const NIC_ADDRESSES = { client: '10.78.0.2', server: '10.78.0.3' };

function nic(role: keyof typeof NIC_ADDRESSES): object {
  const addresses = [{ address: `${NIC_ADDRESSES[role]}/24` }];
  return { attachment: 'nic', master: 'nic0', kind: 'macvlan', ipam: { type: 'static', addresses } };
}

/**
 * Two nodes with agents as they are built, both hooks in force: packets for everybody, sockets in a cgroup of the first. One cable
 * joins the nodes; another of the same kind stands for the network that independent NICs are on.
 */
export class ServiceNodes {
  /** Processes in here are served at the socket, all others at the packet. */
  readonly cgroup: string;
  readonly #namespaces: TestNamespaces;
  readonly #name: string;
  readonly #store = mkdtempSync('/run/tbbench-store-');
  readonly #rigs: { readonly client: AgentRig; readonly server: AgentRig };
  readonly #undo = () => this.#removeTraces();

  constructor(namespaces: TestNamespaces, name: string) {
    this.#namespaces = namespaces;
    this.#name = name;
    this.cgroup = join(CGROUP_ROOT, `tombolo-bench-${process.pid}-${name}`);
    mkdirSync(this.cgroup);
    const { a, b } = cable(namespaces, name);
    a.run('ip', ...`link add nic0 type veth peer name nic0 netns ${b.name}`.split(' '));
    const rig = (number: 1 | 2, node: TestNamespace, leaf: TestNamespace, cgroup: string) => {
      const other = 3 - number;
      node.run('ip', 'link', 'set', 'nic0', 'up');
      node.run('ip', ...`route add 10.77.${other}.0/24 via 192.0.2.${other}`.split(' '));
      const segments = [`10.77.${number}.0/24`];
      const store = `directory:${this.#store}`;
      return new AgentRig(
        namespaces,
        `${name}${number}`,
        { uplink: 'up0', routing: 'underlay', segments, store, cgroup },
        { node, leaf },
      );
    };
    this.#rigs = { client: rig(1, a, b, this.cgroup), server: rig(2, b, a, 'off') };
    process.on('exit', this.#undo);
  }

  async start(): Promise<void> {
    const { client, server } = this.#rigs;
    for (const rig of [client, server]) await rig.start();
    const began = performance.now();
    while ((await client.json('/v1/tunnels')).length < 2 || (await server.json('/v1/tunnels')).length < 2) {
      if (performance.now() - began > KNOWN_LIMIT_MS)
        throw new Error('Cannot measure: the nodes are strangers');
      await setTimeout(100);
    }
  }

  /** A pod of the first node that calls, a server in one of the second, and a service in front of it. */
  async pair(kind: AttachmentKind, serviceAddress: string): Promise<Pair> {
    const pod = (role: keyof typeof NIC_ADDRESSES) =>
      addPod(
        this.#namespaces,
        this.#rigs[role],
        `${this.#name}-${kind}-${role}`,
        kind === 'nic' ? nic(role) : {},
      );
    const [client, host] = [await pod('client'), await pod('server')];
    const server = await serve(host.namespace, this.#store);
    this.#put('EndpointSlice', `${kind}-1`, sliceYaml(kind, [host.address], SERVER_PORT));
    this.#put('Service', kind, serviceYaml(kind, serviceAddress));
    await untilReached(client.namespace, serviceAddress);
    return { client: client.namespace, server, serverAddress: host.address, serviceAddress };
  }

  async remove(): Promise<void> {
    for (const rig of Object.values(this.#rigs)) await rig.remove();
    this.#removeTraces();
    process.off('exit', this.#undo);
  }

  #put(kind: 'Service' | 'EndpointSlice', name: string, text: string): void {
    const directory = join(this.#store, kind, 'default');
    mkdirSync(directory, { recursive: true });
    writeFileSync(join(directory, `${name}.yaml`), text);
  }

  #removeTraces(): void {
    for (const rig of Object.values(this.#rigs)) rig.discard();
    rmSync(this.#store, { recursive: true, force: true });
    try {
      rmdirSync(this.cgroup);
    } catch {
      // Somebody in it is about to end, or it is gone: an empty directory is all that can stay.
    }
  }
}
