import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { request } from 'node:http';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { parse } from 'yaml';
import type { NeighbourStatus, SpeakerStatus } from '../../src/bgp/speaker/status.ts';
import type { TestNamespace } from '../kernel/namespaces.ts';
import type { Daemon, Router } from './router.ts';
import { eventually } from './waiting.ts';

const TOMBOLO = fileURLToPath(new URL('../../dist/tombolo', import.meta.url));

/** A store that all nodes of a test share: files in a directory. */
export class ClusterStore {
  readonly directory = mkdtempSync('/run/tbbgp-store-');

  constructor() {
    process.on('exit', () => rmSync(this.directory, { recursive: true, force: true }));
  }

  /** Writes an object, by hand. */
  put(path: string, object: Record<string, unknown>): void {
    const file = join(this.directory, `${path}.yaml`);
    mkdirSync(dirname(file), { recursive: true });
    const [kind = '', ...names] = path.split('/');
    const [name = '', namespace] = names.toReversed();
    const metadata = { name, ...(namespace !== undefined && { namespace }), ...(object.metadata as object) };
    writeFileSync(file, JSON.stringify({ apiVersion: versionOf(kind), kind, ...object, metadata }));
  }

  // biome-ignore lint/suspicious/noExplicitAny: objects of all kinds.
  read(path: string): any {
    return parse(readFileSync(join(this.directory, `${path}.yaml`), 'utf8'));
  }

  /** Replaces labels or annotations of an object that an agent may have written to. */
  edit(path: string, metadata: Record<string, unknown>): void {
    const {
      status,
      spec,
      metadata: before,
    } = parse(readFileSync(join(this.directory, `${path}.yaml`), 'utf8'));
    this.put(path, {
      metadata: { ...before, ...metadata },
      ...(spec && { spec }),
      ...(status && { status }),
    });
  }

  remove(path: string): void {
    rmSync(join(this.directory, `${path}.yaml`), { force: true });
  }
}

function versionOf(kind: string): string {
  if (kind === 'EndpointSlice') return 'discovery.k8s.io/v1';
  const core = ['Node', 'Service', 'Secret', 'Pod', 'Namespace'].includes(kind);
  return core ? 'v1' : 'network.tombolo.dev/v1alpha1';
}

/** The agent as it is built, on a router of the lab. */
export class AgentNode {
  readonly router: Router;
  readonly name: string;
  daemon: Daemon;
  readonly #settings: Record<string, unknown>;
  readonly #socket: string;
  readonly #bpfDir: string;

  constructor(router: Router, store: ClusterStore, config: Record<string, unknown> = {}) {
    this.router = router;
    this.name = router.name;
    const { directory } = router;
    this.#socket = join(directory, 'run/agent.sock');
    this.#bpfDir = `/sys/fs/bpf/tbbgp-${process.pid}-${this.name}`;
    this.#settings = {
      nodeName: this.name,
      runDir: join(directory, 'run'),
      stateDir: join(directory, 'state'),
      store: `directory:${store.directory}`,
      bpfDir: this.#bpfDir,
      cgroup: 'off',
      bgp: '0.0.0.0:179',
      cooldownSeconds: 0,
      ...config,
    };
    process.on('exit', () => rmSync(this.#bpfDir, { recursive: true, force: true }));
    this.daemon = this.#start();
  }

  /** Starts it again, possibly otherwise. */
  restart(changes: Record<string, unknown> = {}): void {
    this.daemon = this.#start(changes);
  }

  /** Waits until it serves. */
  async ready(): Promise<void> {
    // The kernel looks at every program first: seconds of processor time, of which there may be others in need.
    const serves = async () => (await this.ask('GET', '/v1/status')).status === 200;
    await eventually(`${this.name} serves`, serves, 120_000);
  }

  async json<T>(path: string): Promise<T> {
    const { status, body } = await this.ask('GET', path);
    if (status !== 200) throw new Error(`GET ${path} of ${this.name}: ${status} ${body}`);
    return JSON.parse(body);
  }

  async neighbour(name: string): Promise<NeighbourStatus | undefined> {
    const { neighbours } = await this.json<SpeakerStatus>('/v1/bgp/neighbors');
    return neighbours.find((one) => one.name === name);
  }

  async isUp(name: string): Promise<boolean> {
    return (await this.neighbour(name))?.state === 'Established';
  }

  /** Runs the CLI against this agent; what it prints. */
  cli(...words: string[]): string {
    return this.router.namespace.run(
      'env',
      '-u',
      'NODE_EXTRA_CA_CERTS',
      `TOMBOLO_SOCKET=${this.#socket}`,
      process.execPath,
      TOMBOLO,
      ...words,
    );
  }

  /** Attaches a pod that lives in the namespace, with these addresses if any are named; its address. */
  async attach(pod: TestNamespace, ips: string[] = []): Promise<string> {
    const { status, body } = await this.#verb('ADD', pod, ips.length > 0 ? { runtimeConfig: { ips } } : {});
    if (status !== 200) throw new Error(`ADD on ${this.name}: ${body}`);
    return JSON.parse(body).ips[0].address.replace(/\/.*/, '');
  }

  async detach(pod: TestNamespace): Promise<void> {
    const { status, body } = await this.#verb('DEL', pod);
    if (status !== 200) throw new Error(`DEL on ${this.name}: ${body}`);
  }

  ask(
    method: string,
    path: string,
    headers: Record<string, string> = {},
    input = '',
  ): Promise<{ status: number; body: string }> {
    return new Promise((resolve, reject) => {
      // A connection for each: the agent may close one that is kept while this process waits for a command.
      const options = { socketPath: this.#socket, method, path, headers, timeout: 5000, agent: false };
      const asked = request(options, (response) => {
        const chunks: Buffer[] = [];
        response.on('data', (chunk: Buffer) => chunks.push(chunk));
        response.on('error', reject);
        response.on('end', () =>
          resolve({ status: response.statusCode ?? 0, body: Buffer.concat(chunks).toString() }),
        );
      });
      asked.on('timeout', () => asked.destroy(new Error(`${this.name} does not answer`)));
      asked.on('error', reject);
      asked.end(input);
    });
  }

  #verb(verb: string, pod: TestNamespace, more: object = {}): Promise<{ status: number; body: string }> {
    const headers = {
      CNI_COMMAND: verb,
      CNI_CONTAINERID: pod.name,
      CNI_NETNS: pod.path,
      CNI_IFNAME: 'eth0',
      CNI_PATH: '/usr/lib/cni',
    };
    const network = JSON.stringify({ cniVersion: '1.1.0', name: 'pods', type: 'tombolo', ...more });
    return this.ask('POST', `/cni/${verb}`, headers, network);
  }

  #start(changes: Record<string, unknown> = {}): Daemon {
    const config = this.router.file('agent.yaml', JSON.stringify({ ...this.#settings, ...changes }));
    return this.router.start('agent', process.execPath, [TOMBOLO, 'agent', '--config', config]);
  }
}
