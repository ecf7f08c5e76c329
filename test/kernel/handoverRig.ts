import assert from 'node:assert/strict';
import { mkdirSync, rmSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { eventually } from '../../src/eventually.rig.ts';
import type { TestNamespace, TestNamespaces } from './namespaces.ts';
import { NodesRig, type NodeWishes, type RigNode } from './nodesRig.ts';
import { PodProcess } from './podProcess.ts';
import { firstWord } from './within.ts';

export const FAMILIES = [4, 6] as const;
export type Family = (typeof FAMILIES)[number];

export const VIP: Readonly<Record<Family, string>> = { 4: '203.0.113.10', 6: '2001:db8:cafe::10' };
export const CLIENT: Readonly<Record<Family, string>> = { 4: '198.51.100.9', 6: '2001:db8:9::9' };

/** A server on a node; `pod`: undefined where it is a process of the node itself. */
export interface Server {
  readonly name: string;
  readonly node: RigNode;
  readonly namespace: TestNamespace;
  readonly addresses: Readonly<Record<Family, string>>;
}

export interface Member {
  readonly server: Server;
  readonly terminating?: boolean;
}

/** Says its name and whom it sees to whom it meets, and sends back all it gets. */
const SERVER = `
const name = process.argv[1];
const say = (a, p) => name + '|' + a.replace('::ffff:', '') + ' ' + p;
require('net').createServer((s) => { s.on('error', () => {}); s.write(say(s.remoteAddress, s.remotePort) + '\\n'); s.pipe(s); }).listen(8080, '::', 500, () => {
  const udp = require('dgram').createSocket({ type: 'udp6' });
  udp.on('message', (bytes, peer) => udp.send(Buffer.concat([Buffer.from(say(peer.address, peer.port) + ' ' + bytes.length + '\\n'), bytes]), peer.port, peer.address));
  udp.bind(8080, '::', () => process.stdout.write('ready'));
});`;

/** Nodes behind a router, and a client behind it that asks a service by an announced address: the router brings it where we say. */
export class HandoverRig {
  readonly nodes: NodesRig;
  readonly outside: TestNamespace;
  readonly client: PodProcess;

  constructor(namespaces: TestNamespaces, name: string, wishes: readonly NodeWishes[]) {
    this.nodes = new NodesRig(namespaces, name, wishes);
    this.outside = namespaces.create(`${name}-outside`);
    const { fabric } = this.nodes;
    const run = (at: TestNamespace, words: string) => at.run('ip', ...words.split(' '));
    run(fabric, `link add out0 type veth peer name eth0 netns ${this.outside.name}`);
    run(fabric, 'address add 198.51.100.1/24 dev out0');
    run(fabric, 'address add 2001:db8:9::1/64 dev out0 nodad');
    run(fabric, 'link set out0 up');
    run(this.outside, `address add ${CLIENT[4]}/24 dev eth0`);
    run(this.outside, `address add ${CLIENT[6]}/64 dev eth0 nodad`);
    run(this.outside, 'link set eth0 up');
    run(this.outside, 'route add default via 198.51.100.1');
    run(this.outside, 'route add default via 2001:db8:9::1');
    fabric.run(
      'sysctl',
      '-qw',
      'net.ipv4.fib_multipath_hash_policy=1',
      'net.ipv6.fib_multipath_hash_policy=1',
    );
    this.client = new PodProcess(this.outside);
  }

  node(number: number): RigNode {
    return this.nodes.node(number);
  }

  async start(): Promise<void> {
    await this.nodes.start();
  }

  async remove(): Promise<void> {
    this.client.end();
    await this.nodes.remove();
  }

  /** A pod that serves TCP and UDP on port 8080. */
  async server(name: string, number: number): Promise<Server> {
    const node = this.node(number);
    const { namespace, addresses } = await node.rig.pod(name);
    const of = (wanted: boolean) => addresses.find((text) => text.includes(':') === wanted) ?? '';
    return this.serve({ name, node, namespace, addresses: { 4: of(false), 6: of(true) } });
  }

  /** A process of the node itself that serves likewise. */
  nodeServer(name: string, number: number): Promise<Server> {
    const node = this.node(number);
    const addresses = { 4: node.address, 6: `2001:db8::${10 + number}` };
    return this.serve({ name, node, namespace: node.rig.node, addresses });
  }

  async serve(server: Server): Promise<Server> {
    const child = server.namespace.start(process.execPath, ['-e', SERVER, server.name], {
      env: {},
      stdio: ['ignore', 'pipe', 'inherit'],
    });
    await firstWord(child);
    return server;
  }

  /** From now on the router brings the service's packets to these nodes, by ECMP where they are several. */
  route(...numbers: number[]): void {
    for (const family of FAMILIES) {
      const hops = numbers.flatMap((number) => {
        const via = family === 4 ? this.node(number).address : `2001:db8::${10 + number}`;
        return numbers.length === 1 ? ['via', via] : ['nexthop', 'via', via];
      });
      const prefix = `${VIP[family]}/${family === 4 ? 32 : 128}`;
      this.nodes.fabric.attempt('ip', 'route', 'del', prefix);
      this.nodes.fabric.run('ip', 'route', 'replace', prefix, ...hops);
    }
  }

  put(kind: string, name: string, object: object | undefined): void {
    const file = join(this.nodes.store, kind, 'default', `${name}.yaml`);
    mkdirSync(dirname(file), { recursive: true });
    if (object === undefined) rmSync(file, { force: true });
    else writeFileSync(file, JSON.stringify(object));
  }

  /** Writes the service and its endpoints, and waits until these nodes serve it so. */
  async expose(
    members: readonly Member[],
    spec: object = {},
    waiting: readonly RigNode[] = this.nodes.nodes,
  ): Promise<void> {
    const metadata = { name: 'web', namespace: 'default' };
    const ports = ['TCP', 'UDP'].map((protocol) => ({
      name: protocol.toLowerCase(),
      protocol,
      port: 80,
      targetPort: 8080,
    }));
    this.put('Service', 'web', {
      apiVersion: 'v1',
      kind: 'Service',
      metadata,
      spec: { type: 'LoadBalancer', clusterIPs: ['10.96.0.10', 'fd96::10'], ports, ...spec },
      status: { loadBalancer: { ingress: FAMILIES.map((family) => ({ ip: VIP[family] })) } },
    });
    for (const family of FAMILIES) {
      const name = `web-${family}`;
      this.put('EndpointSlice', name, {
        apiVersion: 'discovery.k8s.io/v1',
        kind: 'EndpointSlice',
        metadata: { ...metadata, name, labels: { 'kubernetes.io/service-name': 'web' } },
        addressType: `IPv${family}`,
        ports: ports.map(({ name, protocol }) => ({ name, protocol, port: 8080 })),
        endpoints: members.map(({ server, terminating = false }) => ({
          addresses: [server.addresses[family]],
          nodeName: server.node.name,
          conditions: { ready: !terminating, serving: true, terminating },
        })),
      });
    }
    const wanted = FAMILIES.flatMap((family) =>
      members.map(
        ({ server, terminating }) => `${server.addresses[family]} ${terminating ? 'draining' : 'active'}`,
      ),
    ).sort();
    for (const { rig } of waiting) {
      await eventually(async () => {
        const sets: Report[] = await rig.json('/v1/services');
        const said = sets
          .filter(({ scope, protocol }) => scope === 'outside' && protocol === 'TCP')
          .flatMap(({ backends }) => backends.map(({ address, state }) => `${address} ${state}`));
        assert.deepEqual(said.sort(), wanted);
      });
    }
  }
}

interface Report {
  readonly scope: string;
  readonly protocol: string;
  readonly backends: readonly { readonly address: string; readonly state: string }[];
}
