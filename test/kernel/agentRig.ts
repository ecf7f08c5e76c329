import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { request } from 'node:http';
import { dirname, join } from 'node:path';
import type { TestNamespace, TestNamespaces } from './namespaces.ts';
import { within } from './within.ts';

const ROOT = join(import.meta.dirname, '../..');
/** A start takes a second of a processor that others use, too; several, where the kernel verifies functions at each call. */
const START_LIMIT_MS = 150_000;

export interface Reply {
  readonly status: number;
  readonly body: string;
}

/** Where a node stands that is cabled already: its uplink is `up0`. */
export interface Place {
  readonly node: TestNamespace;
  readonly leaf: TestNamespace;
}

/** One node: a namespace with an uplink towards a leaf, directories of its own, and the agent as it is built. */
export class AgentRig {
  readonly node: TestNamespace;
  readonly leaf: TestNamespace;
  readonly directory: string;
  readonly bpfDir: string;
  readonly log: string[] = [];
  /** What is run as the agent. */
  program = join(ROOT, 'dist/tombolo');
  readonly #namespaces: TestNamespaces;
  readonly #name: string;
  readonly #config: Record<string, unknown>;
  #agent: ChildProcess | undefined;

  /** @param place Where the node is to stand; a new one behind a leaf of its own where absent. */
  constructor(
    namespaces: TestNamespaces,
    name: string,
    config: Record<string, unknown> = {},
    place: Place = standAlone(namespaces, name),
  ) {
    this.#namespaces = namespaces;
    this.#name = name;
    this.directory = mkdtempSync(`/run/tbagent-${name}-`);
    this.bpfDir = `/sys/fs/bpf/tbagent-${process.pid}-${name}`;
    this.node = place.node;
    this.leaf = place.leaf;
    this.#config = {
      nodeName: name,
      runDir: join(this.directory, 'run'),
      stateDir: join(this.directory, 'state'),
      store: `directory:${join(this.directory, 'store')}`,
      bpfDir: this.bpfDir,
      cgroup: 'off',
      bgp: 'off',
      segments: ['10.77.0.0/24'],
      cooldownSeconds: 0,
      ...config,
    };
  }

  get socket(): string {
    return join(this.directory, 'run/agent.sock');
  }

  get pid(): number {
    return this.#agent?.pid ?? 0;
  }

  /** Starts the agent, and waits until it serves. @param changes What its configuration says otherwise this time. */
  async start(changes: Record<string, unknown> = {}): Promise<void> {
    const file = join(this.directory, 'agent.yaml');
    writeFileSync(file, JSON.stringify({ ...this.#config, ...changes }));
    const { NODE_EXTRA_CA_CERTS: _, ...env } = process.env;
    const words = [this.program, 'agent', '--config', file];
    const agent = this.node.start(process.execPath, words, { env, stdio: ['ignore', 'ignore', 'pipe'] });
    this.#agent = agent;
    let rest = '';
    const ready = new Promise<void>((resolve, reject) => {
      agent.stderr?.setEncoding('utf8').on('data', (text: string) => {
        const lines = (rest + text).split('\n');
        rest = lines.pop() ?? '';
        this.log.push(...lines);
        if (lines.some((line) => line.includes('"message":"ready"'))) resolve();
      });
      agent.once('exit', (code) => reject(new Error(`the agent ended with ${code}: ${this.log.join('\n')}`)));
      setTimeout(
        () => reject(new Error(`the agent is not ready: ${this.log.join('\n')}`)),
        START_LIMIT_MS,
      ).unref();
    });
    await ready;
  }

  /** Ends the agent, and waits for that. @returns Its exit code, or the signal that ended it. */
  async end(signal: NodeJS.Signals): Promise<number | string | null> {
    const agent = this.#agent;
    if (!agent || agent.exitCode !== null || agent.signalCode !== null) return agent?.exitCode ?? null;
    const ended = once(agent, 'exit');
    agent.kill(signal);
    const [code, by] = await within(`the agent to end on ${signal}`, ended).catch((error: Error) => {
      agent.kill('SIGKILL');
      throw new Error(`${error.message}: ${this.log.slice(-20).join('\n')}`);
    });
    return code ?? by;
  }

  /** Runs the CLI against this node's store and socket. */
  async cli(words: string[], input = ''): Promise<{ status: number; stdout: string; stderr: string }> {
    const { NODE_EXTRA_CA_CERTS: _, ...env } = process.env;
    const child = spawn(process.execPath, [join(ROOT, 'dist/tombolo'), ...words], {
      env: { ...env, TOMBOLO_STORE: String(this.#config.store), TOMBOLO_SOCKET: this.socket },
    });
    const [out, err]: [string[], string[]] = [[], []];
    child.stdout.setEncoding('utf8').on('data', (text: string) => out.push(text));
    child.stderr.setEncoding('utf8').on('data', (text: string) => err.push(text));
    child.stdin.end(input);
    const [status] = await within(`tombolo ${words.join(' ')}`, once(child, 'close')).finally(() =>
      child.kill(),
    );
    return { status, stdout: out.join(''), stderr: err.join('') };
  }

  /** Drops a file into the store, by hand. */
  drop(path: string, text: string): void {
    const file = join(this.directory, 'store', path);
    mkdirSync(dirname(file), { recursive: true });
    writeFileSync(file, text);
  }

  get(path: string): Promise<Reply> {
    return this.#ask('GET', path, {}, '');
  }

  async json(path: string) {
    const { status, body } = await this.get(path);
    if (status !== 200) throw new Error(`GET ${path}: ${status} ${body}`);
    return JSON.parse(body);
  }

  /** A CNI verb, as the launcher hands it over. */
  verb(
    verb: string,
    containerID: string,
    netns: string,
    configuration: object = {},
    args = '',
  ): Promise<Reply> {
    const headers = {
      CNI_COMMAND: verb,
      CNI_CONTAINERID: containerID,
      CNI_NETNS: netns,
      CNI_IFNAME: 'eth0',
      CNI_PATH: '/usr/lib/cni',
      ...(args !== '' && { CNI_ARGS: args }),
    };
    const network = { cniVersion: '1.1.0', name: 'pods', type: 'tombolo', ...configuration };
    return this.#ask('POST', `/cni/${verb}`, headers, JSON.stringify(network));
  }

  /** A pod on this node, attached. @param configuration Of the plugin, beyond what every pod has. */
  async pod(
    name: string,
    configuration: object = {},
  ): Promise<{ namespace: TestNamespace; address: string; addresses: readonly string[] }> {
    const namespace = this.#namespaces.create(`${this.#name}-${name}`);
    const { status, body } = await this.verb('ADD', `${this.#name}-${name}`, namespace.path, configuration);
    if (status !== 200) throw new Error(`ADD ${name}: ${body}`);
    const ips: { readonly address: string }[] = JSON.parse(body).ips;
    const addresses = ips.map(({ address }) => address.replace(/\/.*/, ''));
    return { namespace, address: addresses[0] ?? '', addresses };
  }

  async remove(): Promise<void> {
    await this.end('SIGKILL');
    this.discard();
  }

  /** Removes what the agent has left in directories. */
  discard(): void {
    rmSync(this.bpfDir, { recursive: true, force: true });
    rmSync(this.directory, { recursive: true, force: true });
  }

  #ask(method: string, path: string, headers: Record<string, string>, body: string): Promise<Reply> {
    const reply = new Promise<Reply>((resolve, reject) => {
      // A connection of its own: one that is kept may be closed by the agent at this very moment.
      const asked = request({ socketPath: this.socket, method, path, headers, agent: false }, (response) => {
        const chunks: Buffer[] = [];
        response.on('data', (chunk: Buffer) => chunks.push(chunk));
        response.on('error', reject);
        response.on('end', () =>
          resolve({ status: response.statusCode ?? 0, body: Buffer.concat(chunks).toString() }),
        );
      });
      asked.on('error', reject);
      asked.end(body);
    });
    return within(`the agent to answer ${method} ${path}`, reply);
  }
}

/** A node behind a leaf of its own. */
export function standAlone(namespaces: TestNamespaces, name: string): Place {
  const [node, leaf] = [namespaces.create(`${name}-node`), namespaces.create(`${name}-leaf`)];
  node.run('ip', 'link', 'add', 'up0', 'type', 'veth', 'peer', 'name', 'down0', 'netns', leaf.name);
  leaf.run('ip', 'address', 'add', '192.0.2.1/24', 'dev', 'down0');
  leaf.run('ip', 'link', 'set', 'down0', 'up');
  node.run('ip', 'address', 'add', '192.0.2.2/24', 'dev', 'up0');
  node.run('ip', 'link', 'set', 'up0', 'up');
  node.run('ip', 'route', 'add', 'default', 'via', '192.0.2.1');
  return { node, leaf };
}

export function serviceYaml(name: string, address: string, port = 80): string {
  return JSON.stringify({
    apiVersion: 'v1',
    kind: 'Service',
    metadata: { name, namespace: 'default' },
    spec: { clusterIP: address, ports: [{ port, targetPort: 8080 }] },
  });
}

export function sliceYaml(service: string, addresses: string[], port = 8080): string {
  return JSON.stringify({
    apiVersion: 'discovery.k8s.io/v1',
    kind: 'EndpointSlice',
    metadata: {
      name: `${service}-1`,
      namespace: 'default',
      labels: { 'kubernetes.io/service-name': service },
    },
    addressType: 'IPv4',
    ports: [{ port, protocol: 'TCP' }],
    endpoints: addresses.map((address) => ({ addresses: [address] })),
  });
}
