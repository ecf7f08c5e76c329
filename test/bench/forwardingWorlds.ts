import { mkdtempSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout } from 'node:timers/promises';
import { AgentRig } from '../kernel/agentRig.ts';
import type { TestNamespace, TestNamespaces } from '../kernel/namespaces.ts';
import { type Fabric, type FabricNode, NIC_SEGMENTS } from './fabric.ts';
import { type Server, serve } from './servicesLoad.ts';

/** Somebody who calls and somebody who answers, at two ends of a way that is measured. */
export interface Way {
  readonly client: TestNamespace;
  readonly server: Server;
  readonly serverNamespace: TestNamespace;
  readonly address: string;
}

/** A way on which somebody answers. */
export async function between(
  client: TestNamespace,
  serverNamespace: TestNamespace,
  address: string,
  directory: string,
): Promise<Way> {
  const server = await serve(serverNamespace, directory);
  serverNamespace.start('taskset', ['-c', '1', 'iperf3', '-s'], { stdio: 'ignore' });
  for (let attempt = 0; ; attempt++) {
    const asked = client.attempt('iperf3', '-c', address, '-n', '1K', '--connect-timeout', '500');
    if (asked.status === 0) return { client, server, serverNamespace, address };
    if (attempt === 50) throw new Error(`Cannot measure: ${address} does not answer (${asked.stderr})`);
    await setTimeout(100);
  }
}

/** The nodes themselves, with nothing in between: what a pod's packets cannot beat. */
export function nodeToNode(fabric: Fabric, directory: string): Promise<Way> {
  const [a, b] = fabric.nodes;
  return between(a.namespace, b.namespace, b.address, directory);
}

/** Two nodes with agents, and pods on them. */
export class TomboloNodes {
  readonly rigs: readonly [AgentRig, AgentRig];
  /** The store of both, as a directory. */
  readonly store = mkdtempSync('/run/tbbench-store-');
  readonly #name: string;

  constructor(namespaces: TestNamespaces, name: string, fabric: Fabric, routing: 'underlay' | 'overlay') {
    this.#name = name;
    const rigOf = ({ namespace: node, segment }: FabricNode, index: 0 | 1) => {
      const config = {
        routing,
        uplink: 'up0',
        segments: fabric.leaf ? [segment, NIC_SEGMENTS[index]] : [segment],
        store: `directory:${this.store}`,
      };
      return new AgentRig(namespaces, `${name}${index + 1}`, config, { node, leaf: fabric.leaf ?? node });
    };
    this.rigs = [rigOf(fabric.nodes[0], 0), rigOf(fabric.nodes[1], 1)];
  }

  /** Starts the agents, and waits until they know of each other. */
  async start(): Promise<void> {
    for (const rig of this.rigs) await rig.start();
    for (const rig of this.rigs) {
      for (let attempt = 0; (await rig.json('/v1/tunnels')).length < 2; attempt++) {
        if (attempt === 100) throw new Error(`Cannot measure: nodes of ${this.#name} do not know each other`);
        await setTimeout(100);
      }
    }
  }

  /** A way between pods of both nodes. */
  async far(directory: string): Promise<Way> {
    const [client, away] = [await this.rigs[0].pod('client'), await this.rigs[1].pod('away')];
    return between(client.namespace, away.namespace, away.address, directory);
  }

  /** A way between pods of the first node. */
  async near(directory: string): Promise<Way> {
    const [client, beside] = [await this.rigs[0].pod('next'), await this.rigs[0].pod('beside')];
    return between(client.namespace, beside.namespace, beside.address, directory);
  }

  /** A way between pods of both nodes that have a NIC of their own: a macvlan child of the uplink. */
  async nics(directory: string): Promise<Way> {
    const nic = { attachment: 'nic', master: 'up0', kind: 'macvlan' };
    const [client, away] = [await this.rigs[0].pod('nic', nic), await this.rigs[1].pod('nic', nic)];
    return between(client.namespace, away.namespace, away.address, directory);
  }

  async remove(): Promise<void> {
    for (const rig of this.rigs) await rig.remove();
    rmSync(this.store, { recursive: true, force: true });
  }
}

const FORWARD_RULES = [
  '-N KUBE-FORWARD',
  '-A FORWARD -j KUBE-FORWARD',
  '-A KUBE-FORWARD -m conntrack --ctstate INVALID -j DROP',
  '-A KUBE-FORWARD -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT',
  '-A FORWARD -s 10.77.0.0/16 -j ACCEPT',
  '-A FORWARD -d 10.77.0.0/16 -j ACCEPT',
  '-t nat -A POSTROUTING -s 10.77.0.0/16 ! -d 10.77.0.0/16 -j MASQUERADE',
];

/** A pod on a veth pair that the node's stack routes to, as the reference plugin ptp makes it. */
export function routedPod(
  namespaces: TestNamespaces,
  node: TestNamespace,
  name: string,
  address: string,
): TestNamespace {
  const pod = namespaces.create(name);
  const link = `veth${address.split('.').at(-1)}`;
  node.run('ip', ...`link add ${link} type veth peer name eth0 netns ${pod.name}`.split(' '));
  node.run('ip', ...`link set ${link} up`.split(' '));
  node.run('ip', ...`route add ${address}/32 dev ${link}`.split(' '));
  node.run('sysctl', '-qw', `net.ipv4.conf.${link}.proxy_arp=1`);
  pod.run('ip', ...`address add ${address}/32 dev eth0`.split(' '));
  pod.run('ip', ...'link set eth0 up'.split(' '));
  pod.run('ip', ...'route add default dev eth0'.split(' '));
  return pod;
}

/** Nodes that route by their stack; with kube-proxy's rules for forwarded packets and connection tracking, or without netfilter. */
export class RoutingNodes {
  readonly #namespaces: TestNamespaces;
  readonly #name: string;
  readonly #fabric: Fabric;
  readonly #client: TestNamespace;

  constructor(namespaces: TestNamespaces, name: string, fabric: Fabric, netfilter: boolean) {
    this.#namespaces = namespaces;
    this.#name = name;
    this.#fabric = fabric;
    for (const { namespace } of netfilter ? fabric.nodes : []) {
      for (const words of FORWARD_RULES) namespace.run('iptables', ...words.split(' '));
    }
    this.#client = this.#pod(0, 'client', '10.77.1.2');
  }

  far(directory: string): Promise<Way> {
    return between(this.#client, this.#pod(1, 'away', '10.77.2.2'), '10.77.2.2', directory);
  }

  near(directory: string): Promise<Way> {
    return between(this.#client, this.#pod(0, 'beside', '10.77.1.3'), '10.77.1.3', directory);
  }

  #pod(node: 0 | 1, name: string, address: string): TestNamespace {
    return routedPod(this.#namespaces, this.#fabric.nodes[node].namespace, `${this.#name}-${name}`, address);
  }
}

/** Nodes whose pods stand on one bridge each, joined by a VXLAN tunnel: the simplest overlay that Linux has. */
export async function vxlanBridge(
  namespaces: TestNamespaces,
  name: string,
  fabric: Fabric,
  directory: string,
): Promise<Way> {
  const pods = fabric.nodes.map(({ namespace: node, address }, index) => {
    const number = index + 1;
    const other = fabric.nodes[1 - index]?.address;
    for (const words of [
      'link add br0 type bridge',
      `link add vx0 mtu 1450 type vxlan id 7 dstport 4789 local ${address} remote ${other} nolearning`,
      'link set vx0 master br0',
      'link set br0 up',
      'link set vx0 up',
    ]) {
      node.run('ip', ...words.split(' '));
    }
    const pod = namespaces.create(`${name}-pod${number}`);
    node.run(
      'ip',
      ...`link add veth0 mtu 1450 type veth peer name eth0 mtu 1450 netns ${pod.name}`.split(' '),
    );
    node.run('ip', ...'link set veth0 master br0 up'.split(' '));
    pod.run('ip', ...`address add 10.77.0.${number}/24 dev eth0`.split(' '));
    pod.run('ip', ...'link set eth0 up'.split(' '));
    return pod;
  });
  const [client, server] = pods;
  if (!client || !server) throw new Error('Cannot measure: there are no pods');
  return between(client, server, '10.77.0.2', directory);
}

/** Somewhere for servers to keep their files. */
export function workplace(): string {
  const directory = mkdtempSync(join('/run', 'tbbench-forwarding-'));
  process.on('exit', () => rmSync(directory, { recursive: true, force: true }));
  return directory;
}
