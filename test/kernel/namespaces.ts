import { type ChildProcess, type SpawnOptions, spawn, spawnSync } from 'node:child_process';
import { existsSync, readdirSync } from 'node:fs';
import { withNamespace } from '../../src/netlink/namespace.ts';

const DIRECTORY = '/run/netns';
const COMMAND_LIMIT_MS = 60_000;

export interface Outcome {
  readonly status: number | null;
  readonly stdout: string;
  readonly stderr: string;
}

/**
 * Network namespaces for one test file, all gone when the process ends, however it ends. Names are
 * `<prefix><pid>-<name>`; what a killed run of the same prefix has left behind is removed first.
 */
export class TestNamespaces {
  readonly #stem: string;
  readonly #open = new Set<TestNamespace>();
  readonly #atExit = () => this.close();

  /** @param prefix Letters only, the test file's own: `netlink`. */
  constructor(prefix: string) {
    if (!/^[a-z]+$/.test(prefix)) throw new Error(`Cannot use prefix: letters only (value ${prefix})`);
    this.#stem = `${prefix}${process.pid}`;
    removeLeftovers(prefix);
    process.on('exit', this.#atExit);
    for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) {
      process.once(signal, () => process.exit(1));
    }
  }

  /** A new namespace with `lo` up. */
  create(name: string): TestNamespace {
    const namespace = new TestNamespace(`${this.#stem}-${name}`, (gone) => this.#open.delete(gone));
    this.#open.add(namespace);
    return namespace;
  }

  /** Removes every namespace and ends what still runs in them. */
  close(): void {
    for (const namespace of [...this.#open]) namespace.remove();
    process.off('exit', this.#atExit);
  }
}

export class TestNamespace {
  readonly name: string;
  /** For `CNI_NETNS`, `setns` and the like. */
  readonly path: string;
  readonly #children = new Set<ChildProcess>();
  readonly #removed: (self: TestNamespace) => void;

  constructor(name: string, removed: (self: TestNamespace) => void) {
    this.name = name;
    this.path = `${DIRECTORY}/${name}`;
    this.#removed = removed;
    succeeded('ip', ['netns', 'add', name], outcome('ip', ['netns', 'add', name]));
    this.run('ip', 'link', 'set', 'lo', 'up');
  }

  /** Runs a command inside; its standard output. @throws {Error} With its stderr, unless it exits 0. */
  run(command: string, ...args: string[]): string {
    return succeeded(command, args, this.attempt(command, ...args)).stdout;
  }

  /** Runs a command inside that may fail. */
  attempt(command: string, ...args: string[]): Outcome {
    return outcome('nsenter', [`--net=${this.path}`, command, ...args]);
  }

  /** Runs `ip -j` with these words and parses what it prints; an empty answer is an empty list. */
  // biome-ignore lint/suspicious/noExplicitAny: iproute2's JSON has no types.
  ip(words: string): any[] {
    const text = this.run('ip', '-j', ...words.split(' ')).trim();
    return text === '' ? [] : JSON.parse(text);
  }

  /** Whether `address` answers a ping within five seconds, one a second: a busy machine loses the first now and then. */
  pings(address: string, ...options: string[]): boolean {
    return this.attempt('ping', '-n', '-c', '1', '-w', '5', ...options, address).status === 0;
  }

  /** Starts a command inside that is ended with the namespace at the latest. */
  start(command: string, args: string[], options: SpawnOptions = {}): ChildProcess {
    const child = spawn('nsenter', [`--net=${this.path}`, command, ...args], options);
    this.#children.add(child);
    child.once('exit', () => this.#children.delete(child));
    return child;
  }

  /** Runs a synchronous piece of this process inside. */
  inside<T>(body: () => T): T {
    return withNamespace(this.path, body);
  }

  /** Removes it; once more does nothing. */
  remove(): void {
    for (const child of this.#children) child.kill('SIGKILL');
    if (existsSync(this.path)) outcome('ip', ['netns', 'delete', this.name]);
    this.#removed(this);
  }
}

function outcome(command: string, args: string[]): Outcome {
  const { status, stdout, stderr, error } = spawnSync(command, args, {
    encoding: 'utf8',
    timeout: COMMAND_LIMIT_MS,
    killSignal: 'SIGKILL',
  });
  if (error) throw new Error(`Cannot run ${command} ${args.join(' ')}: ${error.message}`, { cause: error });
  return { status, stdout, stderr };
}

function succeeded(command: string, args: string[], result: Outcome): Outcome {
  if (result.status === 0) return result;
  const said = (result.stderr || result.stdout).trim();
  throw new Error(`Cannot run ${command} ${args.join(' ')}: exit ${result.status} (${said})`);
}

function removeLeftovers(prefix: string): void {
  if (!existsSync(DIRECTORY)) return;
  for (const name of readdirSync(DIRECTORY)) {
    const pid = new RegExp(`^${prefix}(\\d+)-`).exec(name)?.[1];
    if (pid !== undefined && !existsSync(`/proc/${pid}`)) outcome('ip', ['netns', 'delete', name]);
  }
}
