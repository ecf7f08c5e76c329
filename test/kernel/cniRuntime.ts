import { spawn } from 'node:child_process';
import { existsSync, mkdtempSync, readdirSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { isObject, type JsonObject } from '../../cni/protocol/members.ts';
import type { TestNamespace } from './namespaces.ts';
import { within } from './within.ts';

export interface Outcome {
  readonly code: number | null;
  readonly output: string;
  readonly errors: string;
  /** The output, where it is a JSON object. */
  readonly json: JsonObject;
}

export interface Pod {
  readonly id: string;
  readonly netns: string;
  readonly ifName?: string;
}

export interface CallOptions {
  readonly config?: JsonObject;
  /** Overrides; `undefined` unsets. */
  readonly variables?: Readonly<Record<string, string | undefined>>;
  /** Standard input as it is; `null` keeps the pipe open and says nothing. */
  readonly input?: string | null;
  /** Sees the process when it has just been started. */
  readonly started?: (child: ReturnType<typeof spawn>) => void;
}

/** A container runtime in miniature: it runs the plugin as kubelet's would, with a node's namespace as the host. */
export class Runtime {
  readonly directory: string;
  readonly program: string;
  readonly node: TestNamespace;
  config: JsonObject;

  /** @param config Merged into a network configuration with directories of the test's own. */
  constructor(program: string, node: TestNamespace, config: JsonObject = {}) {
    this.program = program;
    this.node = node;
    this.directory = mkdtempSync(join(tmpdir(), 'tombolo-cni-'));
    this.config = {
      cniVersion: '1.1.0',
      name: 'pods',
      type: 'tombolo',
      agentSocket: join(this.directory, 'agent.sock'),
      stateDir: join(this.directory, 'state'),
      bpfDir: `/sys/fs/bpf/${node.name}`,
      ...config,
    };
  }

  /** A network of which host-local gives the addresses. */
  hostLocal(subnet: string, ...more: string[]): JsonObject {
    return {
      type: 'host-local',
      dataDir: join(this.directory, 'ipam'),
      ranges: [subnet, ...more].map((one) => [{ subnet: one }]),
      routes: [{ dst: '0.0.0.0/0' }],
    };
  }

  call(verb: string | undefined, pod?: Pod, options: CallOptions = {}): Promise<Outcome> {
    const variables: Record<string, string | undefined> = {
      PATH: process.env.PATH,
      CNI_COMMAND: verb,
      CNI_PATH: '/usr/lib/cni',
      ...(pod && { CNI_CONTAINERID: pod.id, CNI_NETNS: pod.netns, CNI_IFNAME: pod.ifName ?? 'eth0' }),
      ...options.variables,
    };
    const child = spawn('nsenter', [`--net=${this.node.path}`, this.program], {
      env: Object.fromEntries(Object.entries(variables).filter(([, value]) => value !== undefined)),
      stdio: ['pipe', 'pipe', 'pipe'],
    });
    options.started?.(child);
    child.stdin.on('error', () => {});
    if (options.input !== null) {
      child.stdin.end(options.input ?? JSON.stringify({ ...this.config, ...options.config }));
    }
    const output: Buffer[] = [];
    const errors: Buffer[] = [];
    child.stdout.on('data', (chunk: Buffer) => output.push(chunk));
    child.stderr.on('data', (chunk: Buffer) => errors.push(chunk));
    const outcome = new Promise<Outcome>((resolve, reject) => {
      child.once('error', reject);
      child.once('close', (code) => {
        child.stdin.destroy();
        const text = Buffer.concat(output).toString();
        resolve({ code, output: text, errors: Buffer.concat(errors).toString(), json: parsed(text) });
      });
    });
    return within(`${verb} by ${this.program}`, outcome).finally(() => child.kill('SIGKILL'));
  }

  /** A verb that must succeed; its result. */
  async succeed(verb: string, pod?: Pod, options?: CallOptions): Promise<JsonObject> {
    const { code, output, errors, json } = await this.call(verb, pod, options);
    if (code === 0) return json;
    throw new Error(`${verb} of ${pod?.id} failed with ${code}: ${output}${errors}`);
  }

  /** A verb that must fail as CNI failures do; its error. */
  async fail(
    verb: string | undefined,
    pod?: Pod,
    options?: CallOptions,
  ): Promise<{ code: number; msg: string; details: string; cniVersion: unknown }> {
    const { code: exit, output, errors, json } = await this.call(verb, pod, options);
    const { code, msg, details = '', cniVersion } = json;
    if (exit === 1 && typeof code === 'number' && typeof msg === 'string') {
      return { code, msg, details: String(details), cniVersion };
    }
    throw new Error(
      `${verb} of ${pod?.id} did not fail with an error object: exit ${exit}, ${output}${errors}`,
    );
  }

  /** Waits until links that were just switched on are, so that nothing moves by itself afterwards. */
  settle(): void {
    while (this.node.run('ip', '-br', 'link').includes('LOWERLAYERDOWN'));
  }

  /** Everything a plugin could leave on the node, in a form to compare. */
  traces(): JsonObject {
    const { node } = this;
    const lines = (words: string) =>
      node
        .run('ip', ...words.split(' '))
        .split('\n')
        .map((line) => line.trim())
        .filter((line) => line !== '')
        .sort();
    return {
      links: lines('-o link').map((line) => line.split(':')[1]?.trim()),
      // The state of a link and the kernel's own addresses and routes of it come a moment later, and go with it.
      addresses: lines('-o -br address').map((line) =>
        line
          .replace(/^(\S+)\s+\S+/, '$1')
          .replace(/ fe80::\S+/g, '')
          .trim(),
      ),
      routes: [...lines('-4 route show table all'), ...lines('-6 route show table all')].filter(
        // The agent discards what comes for addresses nobody has, from some moment after its start.
        (route) => !/fe80::|ff00::|^blackhole .* proto 111 /.test(route),
      ),
      neighbours: lines('neigh show nud permanent'),
      records: files(join(this.directory, 'state', 'attachments')),
      addressesHeld: this.held(),
      pins: files(join(String(this.config.bpfDir), 'links')),
    };
  }

  /** What host-local has given out. */
  held(): string[] {
    return files(join(this.directory, 'ipam', String(this.config.name))).filter((name) =>
      /^[0-9a-f.:]+$/.test(name),
    );
  }

  close(): void {
    rmSync(this.directory, { recursive: true, force: true });
    rmSync(String(this.config.bpfDir), { recursive: true, force: true });
  }
}

function files(directory: string): string[] {
  return existsSync(directory) ? readdirSync(directory, { recursive: true }).map(String).sort() : [];
}

function parsed(text: string): JsonObject {
  try {
    const json: unknown = JSON.parse(text);
    return isObject(json) ? json : {};
  } catch {
    return {};
  }
}
