/** Pods whose clients use few ports for many ways at once: to services, straight to their backends, to themselves. */

import { execFileSync } from 'node:child_process';
import { once } from 'node:events';
import { join } from 'node:path';
import { configure, ip, type Pod, PodNetwork } from './bpfNetwork.ts';
import { Datapath } from './bpfRig.ts';
import { at } from './bpfTestPod.ts';
import type { TestNamespace } from './namespaces.ts';
import { firstWord } from './within.ts';

const PROGRAM = join(import.meta.dirname, 'tupleSoak.py');
const SERVER_PORT = 8080;
const SERVICE_PORT = 80;
const FAMILIES = [4, 6] as const;

export const WAYS_OF_CLOSING = [
  'client',
  'server',
  'both',
  'client resets',
  'server resets',
  'half',
  'abandoned',
  'kept',
] as const;

export interface Target {
  readonly name: string;
  readonly protocol: 'TCP' | 'UDP';
  readonly host: string;
  readonly port: number;
  /** Who the server may see. */
  readonly clients: readonly string[];
}

/** What a client has seen, how often, and some examples. */
export interface Seen {
  readonly seen: Readonly<Record<string, number>>;
  readonly examples: Readonly<Record<string, readonly string[]>>;
}

export interface Wishes {
  readonly seconds: number;
  readonly workers: number;
  readonly targets: readonly Target[];
  readonly ways: readonly (typeof WAYS_OF_CLOSING)[number][];
  /** Number of the first worker: seeds of random choices. */
  readonly first?: number;
  readonly pause?: number;
}

export interface Setting {
  readonly attachment: 'veth' | 'nic';
  /** 'none': the server has the services' addresses itself, as a plain host may. */
  readonly programs: 'none' | 'packet' | 'both';
  /** Ports that the kernel may give to clients. */
  readonly ports: readonly [number, number];
  /** Whether ends remember closed connections. */
  readonly timeWait: boolean;
}

/** Two pods, each with a server, and services in front of both. */
export class TupleSoak {
  readonly network = new PodNetwork('tbsoak');
  readonly datapath: Datapath | undefined;
  readonly client: Pod;
  readonly server: Pod;
  readonly #setting: Setting;
  #cgroup = '';

  constructor(setting: Setting) {
    this.#setting = setting;
    if (setting.attachment === 'nic') this.network.addSegment();
    const pod = (name: string, number: number) =>
      setting.attachment === 'veth' ? this.network.vethPod(name, number) : this.network.nicPod(name, number);
    [this.client, this.server] = [pod('client', 2), pod('server', 3)];
    for (const { namespace } of [this.client, this.server]) limit(namespace, setting);
    this.datapath =
      setting.programs === 'none' ? undefined : new Datapath({ maxEntries: { tb_flows: 262_144 } });
  }

  async raise(): Promise<void> {
    const { datapath, network, client, server } = this;
    const { programs, attachment } = this.#setting;
    for (const family of FAMILIES) this.#addServices(family);
    for (const pod of [client, server]) {
      if (datapath) {
        network.attachPackets(datapath, pod, attachment === 'veth' ? 'clsact' : 'tcx');
        network.serve(
          datapath,
          pod,
          ...(programs === 'both' ? (['packet', 'socket'] as const) : ['packet' as const]),
        );
      }
      const endpoints = this.#endpointsOf(pod);
      const process = pod.namespace.start('python3', [PROGRAM, 'serve', ...endpoints], {
        stdio: ['ignore', 'pipe', 'inherit'],
      });
      await firstWord(process);
    }
    if (datapath && programs === 'both')
      await network.attachSockets(datapath, {
        process: {
          enter: (cgroup) => {
            this.#cgroup = cgroup;
          },
        },
      });
  }

  /** All there is to ask from the client's pod. */
  targets(
    protocols: readonly ('TCP' | 'UDP')[] = ['TCP', 'UDP'],
    families: readonly (4 | 6)[] = FAMILIES,
  ): Target[] {
    return protocols.flatMap((protocol) =>
      families.flatMap((family) => {
        const own = addressOf(this.client, family);
        const target = (name: string, host: string, port: number) => ({
          name: `${name} (${protocol} over IPv${family})`,
          protocol,
          host,
          port,
          // A plain host that asks an address of its own does so from that very address.
          clients: [own, host],
        });
        return [
          target('one service', serviceOf(family, 1), SERVICE_PORT),
          target('another service', serviceOf(family, 2), SERVICE_PORT),
          target('straight', addressOf(this.server, family), SERVER_PORT),
          target('a service of its own', serviceOf(family, 3), SERVICE_PORT),
          target('itself', own, SERVER_PORT),
        ];
      }),
    );
  }

  /** Asks, by the packet or at the socket. */
  async ask(
    wishes: Wishes,
    by: 'packet' | 'socket' = 'packet',
    from: TestNamespace = this.client.namespace,
  ): Promise<Seen> {
    const words = ['python3', PROGRAM, 'ask', JSON.stringify(wishes)];
    const enter = by === 'socket' ? `echo $$ >${this.#cgroup}/cgroup.procs; ` : '';
    const process = from.start('bash', ['-c', `${enter}exec "$@"`, 'bash', ...words], {
      stdio: ['ignore', 'pipe', 'inherit'],
    });
    let text = '';
    process.stdout?.setEncoding('utf8').on('data', (more: string) => {
      text += more;
    });
    await once(process, 'close');
    return JSON.parse(text);
  }

  /** Connections whose ends both close at the same moment, by a service of their own. */
  part(count: number): string {
    const [address, port, serverPort] = ['10.96.0.9', SERVICE_PORT, 8082];
    this.datapath?.addService({ frontend: at(address, port), backends: [at(this.server.ipv4, serverPort)] });
    const words = [this.client.namespace.path, this.server.namespace.path, address, port, serverPort, count];
    return execFileSync('timeout', ['60', 'python3', PROGRAM, 'part', ...words.map(String)], {
      encoding: 'utf8',
    }).trim();
  }

  async close(): Promise<void> {
    this.datapath?.close();
    await this.network.close();
  }

  #endpointsOf(pod: Pod): string[] {
    const own = FAMILIES.map((family) => `${addressOf(pod, family)} ${SERVER_PORT}`);
    if (this.datapath) return own;
    const numbers = pod === this.client ? [3] : [1, 2];
    return [
      ...own,
      ...FAMILIES.flatMap((family) =>
        numbers.map((number) => `${serviceOf(family, number)} ${SERVICE_PORT}`),
      ),
    ];
  }

  #addServices(family: 4 | 6): void {
    for (const [number, pod] of [
      [1, this.server],
      [2, this.server],
      [3, this.client],
    ] as const) {
      const [service, backend] = [serviceOf(family, number), addressOf(pod, family)];
      for (const protocol of ['TCP', 'UDP'] as const)
        this.datapath?.addService({
          frontend: at(service, SERVICE_PORT),
          protocol,
          backends: [at(backend, SERVER_PORT)],
        });
      if (this.datapath) continue;
      ip(pod.namespace, `address add ${service} dev lo${family === 6 ? ' nodad' : ''}`);
      const way =
        this.#setting.attachment === 'veth' ? `via ${backend} dev tboserver onlink` : `via ${backend}`;
      if (pod === this.server) ip(this.network.router, `route add ${service} ${way}`);
    }
  }
}

function limit(namespace: TestNamespace, { ports, timeWait }: Setting): void {
  configure(namespace, [
    `net.ipv4.ip_local_port_range=${ports.join(' ')}`,
    ...(timeWait ? ['net.ipv4.tcp_tw_reuse=1'] : ['net.ipv4.tcp_max_tw_buckets=0']),
  ]);
}

export function addressOf(pod: Pod, family: 4 | 6): string {
  return family === 4 ? pod.ipv4 : pod.ipv6;
}

function serviceOf(family: 4 | 6, number: number): string {
  return family === 4 ? `10.96.0.${number}` : `fd00:96::${number}`;
}
