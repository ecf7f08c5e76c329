import assert from 'node:assert/strict';
import { existsSync, mkdirSync, rmdirSync } from 'node:fs';
import { join } from 'node:path';
import { cgroupRoot } from '../../src/ebpf/cgroup.ts';
import { eventually } from '../../src/eventually.rig.ts';
import { AgentRig } from './agentRig.ts';
import type { TestNamespace, TestNamespaces } from './namespaces.ts';
import { PodProcess } from './podProcess.ts';
import { firstWord } from './within.ts';

export type Family = 4 | 6;
export type Attachment = 'veth' | 'nic';

export interface Pod {
  readonly namespace: TestNamespace;
  readonly addresses: Readonly<Record<Family, string>>;
}

export interface Member {
  readonly pod: Pod;
  /** Not ready any more, but still at work. */
  readonly terminating?: boolean;
  readonly node?: string;
}

export interface ServiceWishes {
  readonly address: string;
  readonly family: Family;
  readonly spec?: object;
  readonly annotations?: Readonly<Record<string, string>>;
}

/** Says its name to whom it meets, and sends back all it gets; the first number is where a client's port would be. */
const SERVER = `
const name = process.argv[1];
require('net').createServer((s) => { s.on('error', () => {}); s.write(name + ' 0\\n'); s.pipe(s); }).listen(8080, '::', () => {
  const udp = require('dgram').createSocket({ type: 'udp6' });
  udp.on('message', (bytes, peer) => udp.send(Buffer.concat([Buffer.from(name + ' 0 ' + bytes.length + '\\n'), bytes]), peer.port, peer.address));
  udp.bind(8080, '::', () => process.stdout.write('ready'));
});`;

/** A node with an agent, pods on it, and services for them in its store. Both families; NICs are macvlan. */
export class NodeWorld {
  readonly rig: AgentRig;
  readonly cgroup: string;
  readonly #namespaces: TestNamespaces;
  readonly #name: string;
  readonly #servesSockets: boolean;

  constructor(namespaces: TestNamespaces, name: string, services: 'socket' | 'packet' | 'both') {
    this.#namespaces = namespaces;
    this.#name = name;
    this.#servesSockets = services !== 'packet';
    this.cgroup = join(cgroupRoot() ?? '', `tbnode-${process.pid}-${name}`);
    if (this.#servesSockets) mkdirSync(this.cgroup);
    this.rig = new AgentRig(namespaces, name, {
      services,
      cgroup: this.#servesSockets ? this.cgroup : 'off',
      segments: [
        '10.77.0.0/24',
        'fd77::/64',
        { cidr: '10.78.0.0/24', gateway: '10.78.0.1' },
        { cidr: 'fd78::/64', gateway: 'fd78::1' },
      ],
    });
    const { node, leaf } = this.rig;
    node.run('ip', 'link', 'add', 'nic0', 'type', 'veth', 'peer', 'name', 'port0', 'netns', leaf.name);
    node.run('ip', 'link', 'set', 'nic0', 'up');
    leaf.run('ip', 'link', 'set', 'port0', 'up');
    node.run('ip', 'address', 'add', '2001:db8:1::2/64', 'dev', 'up0', 'nodad');
    node.run('ip', 'route', 'add', 'default', 'via', '2001:db8:1::1');
    const addresses = { down0: ['2001:db8:1::1/64'], port0: ['10.78.0.1/24', 'fd78::1/64'] };
    for (const [device, texts] of Object.entries(addresses)) {
      for (const text of texts) leaf.run('ip', 'address', 'add', text, 'dev', device, 'nodad');
    }
    leaf.run('sysctl', '-qw', 'net.ipv4.ip_forward=1', 'net.ipv6.conf.all.forwarding=1');
    leaf.run('ip', 'route', 'add', '10.77.0.0/24', 'via', '192.0.2.2');
    leaf.run('ip', 'route', 'add', 'fd77::/64', 'via', '2001:db8:1::2');
  }

  async pod(name: string, attachment: Attachment = 'veth'): Promise<Pod> {
    const namespace = this.#namespaces.create(`${this.#name}-${name}`);
    const extra = attachment === 'nic' ? { attachment, master: 'nic0', kind: 'macvlan' } : {};
    const { status, body } = await this.rig.verb('ADD', `${this.#name}-${name}`, namespace.path, extra);
    if (status !== 200) throw new Error(`ADD ${name}: ${body}`);
    const texts: string[] = JSON.parse(body).ips.map(({ address }: { address: string }) =>
      address.replace(/\/.*/, ''),
    );
    const of = (wanted: boolean) => texts.find((text) => text.includes(':') === wanted) ?? '';
    return { namespace, addresses: { 4: of(false), 6: of(true) } };
  }

  /** A pod that serves TCP and UDP on port 8080. */
  async server(name: string): Promise<Pod> {
    const pod = await this.pod(name);
    const server = pod.namespace.start(process.execPath, ['-e', SERVER, name], {
      env: {},
      stdio: ['ignore', 'pipe', 'inherit'],
    });
    await firstWord(server);
    return pod;
  }

  /** A process in a pod, served at the socket where the node does that. */
  async client(pod: Pod): Promise<PodProcess> {
    const client = new PodProcess(pod.namespace);
    if (this.#servesSockets) await client.enter(this.cgroup);
    return client;
  }

  /** Writes the one service there is, on port 80 for TCP and UDP, and its endpoints; waits until the node serves them so. */
  async service({ address, family, spec, annotations }: ServiceWishes, members: Member[]): Promise<void> {
    const name = 'web';
    const ports = ['TCP', 'UDP'].map((protocol) => ({ name: protocol.toLowerCase(), protocol, port: 80 }));
    this.rig.drop(
      `Service/default/${name}.yaml`,
      JSON.stringify({
        apiVersion: 'v1',
        kind: 'Service',
        metadata: { name, namespace: 'default', annotations },
        spec: { clusterIP: address, ports, ...spec },
      }),
    );
    const endpoints = members.map(({ pod, terminating = false, node }) => ({
      addresses: [pod.addresses[family]],
      conditions: { ready: !terminating, serving: true, terminating },
      ...(node !== undefined && { nodeName: node }),
    }));
    this.rig.drop(
      `EndpointSlice/default/${name}-1.yaml`,
      JSON.stringify({
        apiVersion: 'discovery.k8s.io/v1',
        kind: 'EndpointSlice',
        metadata: {
          name: `${name}-1`,
          namespace: 'default',
          labels: { 'kubernetes.io/service-name': name },
        },
        addressType: `IPv${family}`,
        ports: ports.map((port) => ({ ...port, port: 8080 })),
        endpoints,
      }),
    );
    const internal = (spec as { internalTrafficPolicy?: string } | undefined)?.internalTrafficPolicy;
    const own = members.filter(({ node }) => internal !== 'Local' || node === this.#name);
    const wanted = own
      .map(({ pod, terminating }) => `${pod.addresses[family]} ${terminating ? 'draining' : 'active'}`)
      .sort();
    await eventually(async () => {
      const all: Report[] = await this.rig.json('/v1/services');
      const said = all.map(({ frontends, backends }) => ({
        frontends,
        backends: backends.map(({ address, state }) => `${address} ${state}`).sort(),
      }));
      const one = { frontends: [address], backends: wanted };
      assert.deepEqual(said, [one, one]);
    });
  }

  async remove(): Promise<void> {
    await this.rig.remove();
    if (existsSync(this.cgroup)) await eventually(() => rmdirSync(this.cgroup));
  }
}

interface Report {
  readonly frontends: readonly string[];
  readonly backends: readonly { readonly address: string; readonly state: string }[];
}
