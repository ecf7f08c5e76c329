import { mkdtempSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout } from 'node:timers/promises';
import { AgentRig } from '../kernel/agentRig.ts';
import type { TestNamespace, TestNamespaces } from '../kernel/namespaces.ts';
import { type Server, serve } from './servicesLoad.ts';

/** Somebody who calls and somebody who answers, at two ends of a way that is measured. */
export interface Way {
  readonly client: TestNamespace;
  readonly server: Server;
  readonly serverNamespace: TestNamespace;
  readonly address: string;
}

export interface Nodes {
  readonly a: TestNamespace;
  readonly b: TestNamespace;
}

/** Two nodes, 192.0.2.1 and 192.0.2.2, at two ends of one cable. */
export function cable(namespaces: TestNamespaces, name: string): Nodes {
  const [a, b] = [namespaces.create(`${name}-a`), namespaces.create(`${name}-b`)];
  a.run('ip', ...`link add up0 type veth peer name up0 netns ${b.name}`.split(' '));
  for (const [node, address] of [
    [a, '192.0.2.1'],
    [b, '192.0.2.2'],
  ] as const) {
    node.run('ip', ...`address add ${address}/24 dev up0`.split(' '));
    node.run('ip', 'link', 'set', 'up0', 'up');
    node.run('sysctl', '-qw', 'net.ipv4.ip_forward=1');
  }
  return { a, b };
}

async function between(
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
export function nodeToNode(namespaces: TestNamespaces, directory: string): Promise<Way> {
  const { a, b } = cable(namespaces, 'nodes');
  return between(a, b, '192.0.2.2', directory);
}

/** Two nodes with agents, a pod on each and one more beside the first. */
export class TomboloNodes {
  readonly #rigs: AgentRig[];
  readonly #name: string;
  readonly #store = mkdtempSync('/run/tbbench-store-');
  readonly #nodes: Nodes;

  constructor(namespaces: TestNamespaces, routing: 'underlay' | 'overlay') {
    this.#name = routing;
    this.#nodes = cable(namespaces, routing);
    const { a, b } = this.#nodes;
    this.#rigs = [a, b].map((node, index) => {
      const number = index + 1;
      const other = 3 - number;
      if (routing === 'underlay') {
        node.run('ip', ...`route add 10.77.${other}.0/24 via 192.0.2.${other}`.split(' '));
      }
      const config = {
        routing,
        uplink: 'up0',
        segments: [`10.77.${number}.0/24`],
        store: `directory:${this.#store}`,
      };
      return new AgentRig(namespaces, `${routing}${number}`, config, { node, leaf: node === a ? b : a });
    });
  }

  /** A way between pods: of both nodes, or of the first one. */
  async start(directory: string): Promise<{ far: Way; near: Way }> {
    for (const rig of this.#rigs) await rig.start();
    const [first, second] = this.#rigs;
    if (!first || !second) throw new Error('Cannot measure: there are no nodes');
    for (const rig of this.#rigs) {
      for (let attempt = 0; (await rig.json('/v1/tunnels')).length < 2; attempt++) {
        if (attempt === 100) throw new Error(`Cannot measure: nodes of ${this.#name} do not know each other`);
        await setTimeout(100);
      }
    }
    const [client, beside, away] = [
      await first.pod('client'),
      await first.pod('beside'),
      await second.pod('away'),
    ];
    return {
      far: await between(client.namespace, away.namespace, away.address, directory),
      near: await between(client.namespace, beside.namespace, beside.address, directory),
    };
  }

  async remove(): Promise<void> {
    for (const rig of this.#rigs) await rig.remove();
    rmSync(this.#store, { recursive: true, force: true });
  }
}

/** A pod on a veth pair that the node's stack routes to, as the reference plugin ptp makes it. */
function routedPod(
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
export async function kernelRouting(
  namespaces: TestNamespaces,
  netfilter: boolean,
  directory: string,
): Promise<{ far: Way; near: Way }> {
  const name = netfilter ? 'iptables' : 'routing';
  const { a, b } = cable(namespaces, name);
  for (const node of netfilter ? [a, b] : []) {
    for (const words of [
      '-N KUBE-FORWARD',
      '-A FORWARD -j KUBE-FORWARD',
      '-A KUBE-FORWARD -m conntrack --ctstate INVALID -j DROP',
      '-A KUBE-FORWARD -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT',
      '-A FORWARD -s 10.77.0.0/16 -j ACCEPT',
      '-A FORWARD -d 10.77.0.0/16 -j ACCEPT',
      '-t nat -A POSTROUTING -s 10.77.0.0/16 ! -d 10.77.0.0/16 -j MASQUERADE',
    ]) {
      node.run('iptables', ...words.split(' '));
    }
  }
  a.run('ip', ...'route add 10.77.2.0/24 via 192.0.2.2'.split(' '));
  b.run('ip', ...'route add 10.77.1.0/24 via 192.0.2.1'.split(' '));
  const client = routedPod(namespaces, a, `${name}-client`, '10.77.1.2');
  const beside = routedPod(namespaces, a, `${name}-beside`, '10.77.1.3');
  const away = routedPod(namespaces, b, `${name}-away`, '10.77.2.2');
  return {
    far: await between(client, away, '10.77.2.2', directory),
    near: await between(client, beside, '10.77.1.3', directory),
  };
}

/** Nodes whose pods stand on one bridge each, joined by a VXLAN tunnel: the simplest overlay that Linux has. */
export async function vxlanBridge(namespaces: TestNamespaces, directory: string): Promise<Way> {
  const nodes = cable(namespaces, 'bridge');
  const pods = ([nodes.a, nodes.b] as const).map((node, index) => {
    const number = index + 1;
    for (const words of [
      'link add br0 type bridge',
      `link add vx0 mtu 1450 type vxlan id 7 dstport 4789 local 192.0.2.${number} remote 192.0.2.${3 - number} nolearning`,
      'link set vx0 master br0',
      'link set br0 up',
      'link set vx0 up',
    ]) {
      node.run('ip', ...words.split(' '));
    }
    const pod = namespaces.create(`bridge-pod${number}`);
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
