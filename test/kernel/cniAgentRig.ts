import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdirSync, writeFileSync } from 'node:fs';
import { createConnection } from 'node:net';
import { join, resolve } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import type { JsonObject } from '../../cni/protocol/members.ts';
import type { TestNamespace } from './namespaces.ts';
import { within } from './within.ts';

export interface AgentOptions {
  readonly node: TestNamespace;
  /** Everything the agent writes apart from its pins goes below. */
  readonly directory: string;
  readonly bpfDir: string;
  readonly segments: readonly (string | { readonly cidr: string; readonly gateway: string })[];
  readonly config?: JsonObject;
  /** A boot id in place of the kernel's, for what happens after a reboot. */
  readonly boot?: string;
}

/** The real agent, in the namespace of a node. */
export class TestAgent {
  readonly #process: ChildProcess;
  readonly #log: string[] = [];

  constructor(process: ChildProcess) {
    this.#process = process;
    process.stderr?.on('data', (chunk: Buffer) => this.#log.push(chunk.toString()));
  }

  /** Resolves when its socket takes connections. */
  static async start({ node, directory, bpfDir, segments, config, boot }: AgentOptions): Promise<TestAgent> {
    const store = join(directory, 'store');
    mkdirSync(store, { recursive: true });
    const file = join(directory, 'agent.yaml');
    const settings = {
      nodeName: node.name,
      segments,
      store: `directory:${store}`,
      runDir: join(directory, 'run'),
      stateDir: join(directory, 'state'),
      bpfDir,
      cgroup: 'off',
      ...config,
    };
    writeFileSync(file, JSON.stringify(settings));
    const command = [`--net=${node.path}`, resolve('dist/tombolo'), 'agent', '--config', file];
    const bootFile = join(directory, 'boot_id');
    if (boot !== undefined) writeFileSync(bootFile, `${boot}\n`);
    const script = `mount --bind ${bootFile} /proc/sys/kernel/random/boot_id && exec nsenter "$@"`;
    const child =
      boot === undefined
        ? spawn('nsenter', command, { stdio: ['ignore', 'ignore', 'pipe'] })
        : spawn('unshare', ['--mount', '--propagation', 'slave', 'sh', '-c', script, 'agent', ...command], {
            stdio: ['ignore', 'ignore', 'pipe'],
          });
    const agent = new TestAgent(child);
    for (let waited = 0; waited < 150_000; waited += 50) {
      if (await accepts(join(directory, 'run', 'agent.sock'))) return agent;
      if (child.exitCode !== null) break;
      await delay(50);
    }
    await agent.kill();
    throw new Error(`Cannot start the agent: ${agent.log}`);
  }

  get log(): string {
    return this.#log.join('');
  }

  stop(): Promise<void> {
    return this.#end('SIGTERM');
  }

  kill(): Promise<void> {
    return this.#end('SIGKILL');
  }

  async #end(signal: NodeJS.Signals): Promise<void> {
    if (this.#process.exitCode !== null || this.#process.signalCode !== null) return;
    const ended = once(this.#process, 'exit');
    this.#process.kill(signal);
    await within(`the agent to end on ${signal}`, ended);
  }
}

function accepts(path: string): Promise<boolean> {
  return new Promise((done) => {
    const socket = createConnection(path);
    socket.once('connect', () => {
      socket.destroy();
      done(true);
    });
    socket.once('error', () => done(false));
  });
}
