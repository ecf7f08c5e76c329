import type { ChildProcess } from 'node:child_process';
import { closeSync, openSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import type { TestNamespace } from '../kernel/namespaces.ts';

const ROOT = join(import.meta.dirname, '../..');

/** A network namespace that forwards, a directory of its own, and what runs in it. */
export class Router {
  readonly name: string;
  readonly namespace: TestNamespace;
  /** Private to the router, and removed with the lab. */
  readonly directory: string;
  /** On the common LAN, where there is one. */
  readonly ipv4: string = '';
  readonly ipv6: string = '';
  readonly #register: (daemon: Daemon) => void;

  constructor(name: string, namespace: TestNamespace, directory: string, register: (daemon: Daemon) => void) {
    this.name = name;
    this.namespace = namespace;
    this.directory = directory;
    this.#register = register;
    namespace.run('sysctl', '-qw', 'net.ipv4.ip_forward=1', 'net.ipv6.conf.all.forwarding=1');
    namespace.run('sysctl', '-qw', 'net.ipv6.conf.default.accept_dad=0');
  }

  /** Gives a device addresses and brings it up. */
  configure(device: string, ...addresses: string[]): void {
    this.namespace.attempt('sysctl', '-qw', `net.ipv6.conf.${device}.accept_dad=0`);
    for (const address of addresses) this.namespace.run('ip', 'address', 'add', address, 'dev', device);
    this.namespace.run('ip', 'link', 'set', device, 'up');
  }

  /** Writes a file of the router's own, and says where it is. */
  file(name: string, content: string): string {
    const path = join(this.directory, name);
    writeFileSync(path, content);
    return path;
  }

  start(name: string, command: string, args: string[]): Daemon {
    const log = join(this.directory, `${name}.log`);
    const output = openSync(log, 'a');
    const { NODE_EXTRA_CA_CERTS: _slow, NODE_TEST_CONTEXT: _test, ...env } = process.env;
    const child = this.namespace.start(command, args, { stdio: ['ignore', output, output], env, cwd: ROOT });
    closeSync(output);
    const daemon = new Daemon(name, child, log);
    this.#register(daemon);
    return daemon;
  }
}

/** A process in a router. */
export class Daemon {
  readonly name: string;
  readonly child: ChildProcess;
  readonly #log: string;
  readonly #ended: Promise<void>;

  constructor(name: string, child: ChildProcess, log: string) {
    this.name = name;
    this.child = child;
    this.#log = log;
    this.#ended = new Promise((resolve) => child.once('exit', () => resolve()));
  }

  get running(): boolean {
    return this.child.exitCode === null && this.child.signalCode === null;
  }

  /** What it has printed. */
  get log(): string {
    return readFileSync(this.#log, 'utf8');
  }

  /** Asks it to end with a signal, and waits until it has. */
  async stop(signal: NodeJS.Signals = 'SIGTERM'): Promise<void> {
    this.child.kill(signal);
    const timer = setTimeout(() => this.child.kill('SIGKILL'), 10_000);
    await this.#ended;
    clearTimeout(timer);
  }

  /** As a crash does: the kernel closes its sockets. */
  async kill(): Promise<void> {
    this.child.kill('SIGKILL');
    await this.#ended;
  }
}
