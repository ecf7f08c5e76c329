import type { ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import type { TestNamespace } from './namespaces.ts';
import type { Calls } from './podMain.ts';
import { within } from './within.ts';

export interface Call {
  readonly id: number;
  readonly name: string;
  readonly args: unknown[];
}

export interface Answer {
  id: number;
  value?: unknown;
  error?: string;
}

export interface ConnectOptions {
  readonly localPort?: number;
  readonly localAddress?: string;
}

export interface UdpOptions {
  readonly localPort?: number;
  readonly connected?: boolean;
}

/** A connection as both of its ends see it. */
export interface Connection {
  readonly id: number;
  readonly tookMs: number;
  readonly seenAddress: string;
  readonly seenPort: number;
  readonly localPort: number;
  readonly peerAddress: string;
  readonly peerPort: number;
}

/** A process in a pod, for sockets whose namespace and cgroup matter. It ends with the namespace at the latest. */
export class PodProcess {
  readonly #child: ChildProcess;
  readonly #waiting = new Map<number, (answer: Answer) => void>();
  readonly #ready: Promise<void>;
  readonly #ended: Promise<never>;
  #next = 1;

  constructor(namespace: TestNamespace) {
    const main = join(import.meta.dirname, 'podMain.ts');
    const { NODE_EXTRA_CA_CERTS: _, ...env } = process.env;
    this.#child = namespace.start(process.execPath, ['--import', 'tsx', main], {
      stdio: ['ignore', 'inherit', 'inherit', 'ipc'],
      env,
    });
    this.#ready = new Promise((resolve) => this.#waiting.set(0, () => resolve()));
    this.#ended = once(this.#child, 'exit').then(([code, signal]) => {
      throw new Error(`Cannot go on in the pod: its process has ended with ${code ?? signal}`);
    });
    this.#ended.catch(() => {});
    this.#child.on('message', (answer: Answer) => {
      this.#waiting.get(answer.id)?.(answer);
      this.#waiting.delete(answer.id);
    });
  }

  /** Moves the process, and with it the sockets it opens from now on. */
  async enter(cgroup: string): Promise<void> {
    await this.#until('the process in the pod', this.#ready);
    writeFileSync(join(cgroup, 'cgroup.procs'), String(this.#child.pid));
  }

  /** @throws {Error} If the call failed in the pod. */
  async call<Name extends keyof Calls>(
    name: Name,
    ...args: Parameters<Calls[Name]>
  ): Promise<Awaited<ReturnType<Calls[Name]>>> {
    await this.#until('the process in the pod', this.#ready);
    const id = this.#next++;
    const answered = new Promise<Answer>((resolve) => {
      this.#waiting.set(id, resolve);
      this.#child.send({ id, name, args } satisfies Call);
    });
    const answer = await this.#until(`the pod to ${name} ${args.join(' ')}`, answered);
    if (answer.error !== undefined) throw new Error(`Cannot ${name} in the pod: ${answer.error}`);
    return answer.value as Awaited<ReturnType<Calls[Name]>>;
  }

  /** Connects, or fails the test. */
  async connect(host: string, port: number, options: ConnectOptions = {}): Promise<Connection> {
    const result = await this.call('connect', host, port, options);
    if ('error' in result) throw new Error(`Cannot connect to ${host} port ${port}: ${result.error}`);
    return result;
  }

  /** @throws {Error} If the process ends before, or it takes too long. */
  #until<T>(what: string, promise: Promise<T>): Promise<T> {
    return within(what, Promise.race([promise, this.#ended]));
  }

  end(): void {
    this.#child.kill('SIGKILL');
  }
}
