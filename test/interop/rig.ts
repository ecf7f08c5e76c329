/**
 * A laboratory of routers: a network namespace each, joined by a bridge or by veth pairs, with FRR, BIRD, GoBGP
 * or Tombolo in them. Daemons run in the foreground out of private directories and are ended by their process,
 * so nothing outside the lab is touched and nothing is left, also after a failure.
 */
import { type ChildProcess, spawnSync } from 'node:child_process';
import {
  chmodSync,
  closeSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  openSync,
  readFileSync,
  rmSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import type { SpeakerStatus } from '../../src/bgp/speaker/status.ts';
import { type TestNamespace, TestNamespaces } from '../kernel/namespaces.ts';

const ROOT = fileURLToPath(new URL('../..', import.meta.url));

/** Routers in network namespaces, and everything in them. */
export class Lab {
  readonly #namespaces: TestNamespaces;
  readonly #directory: string;
  readonly #daemons = new Set<Daemon>();
  readonly #routers: Router[] = [];
  #switch: TestNamespace | undefined;
  #links = 0;

  /**
   * @param prefix Letters only, the test file's own.
   * @param namespaces Where there are others beside the routers; gone with the lab, too.
   */
  constructor(prefix: string, namespaces = new TestNamespaces(prefix)) {
    this.#namespaces = namespaces;
    this.#directory = mkdtempSync(join(tmpdir(), `tombolo-${prefix}-`));
    chmodSync(this.#directory, 0o755);
    process.on('exit', () => rmSync(this.#directory, { recursive: true, force: true }));
  }

  /** A router on the lab's common LAN: `10.99.0.<number>/24` and `2001:db8:99::<number>/64` on `eth0`. */
  router(name: string, number: number): Router {
    const router = this.island(name);
    this.#switch ??= this.#makeSwitch();
    const port = `p${number}`;
    router.namespace.run('ip', 'link', 'add', 'eth0', 'type', 'veth', 'peer', 'name', port);
    router.namespace.run('ip', 'link', 'set', port, 'netns', this.#switch.name);
    this.#switch.run('ip', 'link', 'set', port, 'master', 'lan', 'up');
    router.configure('eth0', `10.99.0.${number}/24`, `2001:db8:99::${number}/64`);
    return Object.assign(router, { ipv4: `10.99.0.${number}`, ipv6: `2001:db8:99::${number}` });
  }

  /** A router without any link. */
  island(name: string): Router {
    const directory = join(this.#directory, name);
    mkdirSync(directory);
    // zebra drops its privileges before it makes its sockets.
    chmodSync(directory, 0o777);
    const router = new Router(name, this.#namespaces.create(name), directory, (daemon) =>
      this.#daemons.add(daemon),
    );
    this.#routers.push(router);
    return router;
  }

  /** Joins two routers by a veth pair; each end gets the addresses given, and is up. */
  link(a: Router, addressesA: string[], b: Router, addressesB: string[]): [string, string] {
    const [ends, number] = [[`l${this.#links}a`, `l${this.#links}b`] as [string, string], this.#links++];
    a.namespace.run('ip', 'link', 'add', ends[0], 'type', 'veth', 'peer', 'name', `x${number}`);
    a.namespace.run('ip', 'link', 'set', `x${number}`, 'netns', b.namespace.name);
    b.namespace.run('ip', 'link', 'set', `x${number}`, 'name', ends[1]);
    a.configure(ends[0], ...addressesA);
    b.configure(ends[1], ...addressesB);
    return ends;
  }

  /** Ends the daemons, hardest first, and keeps the routers for the next scenario. */
  async reset(): Promise<void> {
    await Promise.all([...this.#daemons].map((daemon) => daemon.kill()));
    this.#daemons.clear();
    for (const { namespace } of this.#routers) {
      namespace.attempt('ip', 'route', 'flush', 'proto', 'bgp');
      namespace.attempt('ip', 'route', 'flush', 'proto', 'bird');
    }
  }

  async close(): Promise<void> {
    await this.reset();
    this.#namespaces.close();
    rmSync(this.#directory, { recursive: true, force: true });
  }

  #makeSwitch(): TestNamespace {
    const namespace = this.#namespaces.create('switch');
    namespace.run('ip', 'link', 'add', 'lan', 'type', 'bridge');
    namespace.run('ip', 'link', 'set', 'lan', 'up');
    return namespace;
  }
}

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

/** What every speaker under test can say, however its own tools put it. */
export interface Speaker {
  readonly daemon: Daemon;
  /** Whether the session with this address is established. */
  isUp(peer: string): boolean;
  /** The prefixes of a family in its table that came from peers. */
  learned(family: 4 | 6): string[];
  stop(signal?: NodeJS.Signals): Promise<void>;
}

/**
 * Waits until `probe` answers with something true, and hands it on.
 *
 * @throws {Error} With the last answer, after `limit` ms.
 */
export async function eventually<T>(
  what: string,
  probe: () => T | undefined | false | Promise<T | undefined | false>,
  limit = 15_000,
): Promise<T> {
  const deadline = Date.now() + limit;
  let last: unknown;
  for (;;) {
    try {
      const answer = await probe();
      if (answer) return answer;
      last = answer;
    } catch (error) {
      last = error;
    }
    if (Date.now() > deadline) throw new Error(`not within ${limit} ms: ${what} (last: ${String(last)})`);
    await sleep(100);
  }
}

/** Waits `time` ms, looking all the while: `probe` must stay true. */
export async function throughout(what: string, time: number, probe: () => boolean): Promise<void> {
  const deadline = Date.now() + time;
  while (Date.now() < deadline) {
    if (!probe()) throw new Error(`did not last ${time} ms: ${what}`);
    await sleep(100);
  }
}

/** Holds everything up until a daemon has opened its socket, or five seconds. */
function awaitSocket(path: string): void {
  const pause = new Int32Array(new SharedArrayBuffer(4));
  for (let tries = 0; tries < 250 && !existsSync(path); tries++) Atomics.wait(pause, 0, 0, 20);
}

/** Tombolo's own speaker, as `tombolo bgp run` out of the source tree. */
export class Tombolo implements Speaker {
  readonly router: Router;
  daemon: Daemon;
  readonly #config: string;
  readonly #socket: string;

  /** @param config YAML, without `routerId` and `asn` if they are to be derived from the address. */
  constructor(router: Router, config: string) {
    this.router = router;
    this.#config = router.file('tombolo.yaml', config);
    this.#socket = join(router.directory, 'tombolo.sock');
    rmSync(this.#state, { force: true });
    this.daemon = this.#start();
  }

  /** Runs it again, as an upgrade would, with the mark its predecessor left. */
  restart(): void {
    this.daemon = this.#start();
  }

  /** Writes a new configuration and has it read. */
  configure(config: string): void {
    writeFileSync(this.#config, config);
    this.daemon.child.kill('SIGHUP');
  }

  status(): SpeakerStatus {
    return JSON.parse(this.#get('GET', '/v1/bgp/neighbors'));
  }

  neighbour(name: string) {
    return this.status().neighbours.find((one) => one.name === name);
  }

  post(path: string): void {
    this.#get('POST', path);
  }

  /** Runs a command of the CLI out of the source tree. */
  cli(...words: string[]): string {
    const node = ['--import', 'tsx', join(ROOT, 'src/cli/main.ts')];
    return this.router.namespace.run(
      'env',
      '-C',
      ROOT,
      '-u',
      'NODE_EXTRA_CA_CERTS',
      process.execPath,
      ...node,
      ...words,
    );
  }

  isUp(peer: string): boolean {
    return this.neighbour(peer)?.state === 'Established';
  }

  learned(family: 4 | 6): string[] {
    const name = family === 4 ? 'ipv4-unicast' : 'ipv6-unicast';
    const counts = this.status().neighbours.flatMap(({ families }) =>
      families.filter((one) => one.family === name).map(({ accepted }) => accepted),
    );
    return Array.from({ length: counts.reduce((sum, count) => sum + count, 0) }, () => '');
  }

  stop(signal: NodeJS.Signals = 'SIGTERM'): Promise<void> {
    return this.daemon.stop(signal);
  }

  get #state(): string {
    return join(this.router.directory, 'tombolo.state');
  }

  #start(): Daemon {
    const args = ['bgp', 'run', '--config', this.#config, '--socket', this.#socket];
    const state = ['--state', this.#state, '--log-level', 'debug'];
    const node = ['--import', 'tsx', join(ROOT, 'src/cli/main.ts')];
    rmSync(this.#socket, { force: true });
    const daemon = this.router.start('tombolo', process.execPath, [...node, ...args, ...state]);
    awaitSocket(this.#socket);
    return daemon;
  }

  #get(method: string, path: string): string {
    const url = `http://bgp${path}`;
    const curl = ['-sS', '--fail-with-body', '-m', '5', '-X', method, '--unix-socket', this.#socket, url];
    const { status, stdout, stderr } = spawnSync('curl', curl, { encoding: 'utf8' });
    if (status !== 0) throw new Error(`Cannot ask tombolo in ${this.router.name}: ${stdout}${stderr}`);
    return stdout;
  }
}

/** FRR's bgpd, with zebra where routes are to reach the kernel. */
export class Frr implements Speaker {
  readonly router: Router;
  daemon: Daemon;
  readonly #zebra: Daemon | undefined;
  readonly #config: string;

  /** @param bgp The lines of bgpd.conf. */
  constructor(router: Router, bgp: string, options: { zebra?: boolean } = {}) {
    this.router = router;
    this.#config = router.file('bgpd.conf', `hostname ${router.name}\n${bgp}\n`);
    this.#zebra = options.zebra ? this.#startZebra() : undefined;
    this.daemon = this.#start();
  }

  restart(): void {
    this.daemon = this.#start();
  }

  /** Runs a command of vtysh. */
  vtysh(...commands: string[]): string {
    const words = commands.flatMap((command) => ['-c', command]);
    return this.router.namespace.run('vtysh', '--vty_socket', this.router.directory, ...words);
  }

  /** Runs a `show` command and parses its JSON. */
  // biome-ignore lint/suspicious/noExplicitAny: FRR's JSON has no types.
  json(command: string): any {
    return JSON.parse(this.vtysh(`${command} json`));
  }

  isUp(peer: string): boolean {
    return this.json(`show bgp neighbors ${peer}`)[peer]?.bgpState === 'Established';
  }

  learned(family: 4 | 6): string[] {
    const { routes = {} } = this.json(`show bgp ipv${family} unicast`);
    return Object.entries<{ peerId: string; valid?: boolean }[]>(routes)
      .filter(([, paths]) => paths.some(({ peerId }) => peerId !== '(unspec)'))
      .map(([prefix]) => prefix);
  }

  async stop(signal: NodeJS.Signals = 'SIGTERM'): Promise<void> {
    await this.daemon.stop(signal);
    await this.#zebra?.stop(signal);
  }

  #start(): Daemon {
    const { directory } = this.router;
    const zebra = this.#zebra ? [] : ['--no_zebra', '--no_kernel'];
    const files = ['-f', this.#config, '-i', join(directory, 'bgpd.pid'), '-z', join(directory, 'zserv.api')];
    const rest = ['-S', '-A', '127.0.0.1', '-P', '0', '--vty_socket', directory, '--log', 'stdout', ...zebra];
    return this.router.start('bgpd', '/usr/lib/frr/bgpd', [...files, ...rest]);
  }

  #startZebra(): Daemon {
    const { directory } = this.router;
    rmSync(join(directory, 'zserv.api'), { force: true });
    const config = this.router.file('zebra.conf', `hostname ${this.router.name}\n`);
    const files = ['-f', config, '-i', join(directory, 'zebra.pid'), '-z', join(directory, 'zserv.api')];
    const rest = ['-A', '127.0.0.1', '-P', '0', '--vty_socket', directory];
    const zebra = this.router.start('zebra', '/usr/lib/frr/zebra', [...files, ...rest]);
    // A bgpd that finds no zebra tries again only after ten seconds.
    awaitSocket(join(directory, 'zserv.api'));
    return zebra;
  }
}

/** BIRD 2. */
export class Bird implements Speaker {
  readonly router: Router;
  daemon: Daemon;
  readonly #config: string;
  readonly #control: string;

  constructor(router: Router, config: string) {
    this.router = router;
    this.#config = router.file('bird.conf', config);
    this.#control = join(router.directory, 'bird.ctl');
    this.daemon = this.#start([]);
  }

  /** Runs it again; `recover` is BIRD's `-R`: it has restarted gracefully. */
  restart(recover = true): void {
    this.daemon = this.#start(recover ? ['-R'] : []);
  }

  birdc(...words: string[]): string {
    return this.router.namespace.run('birdc', '-s', this.#control, ...words);
  }

  /** @param peer The name of the protocol. */
  isUp(peer: string): boolean {
    return / up\s.*Established/.test(this.birdc('show', 'protocols', peer));
  }

  learned(family: 4 | 6): string[] {
    const lines = this.birdc('show', 'route', 'table', `master${family}`, 'where', 'source', '=', 'RTS_BGP');
    return [...lines.matchAll(/^(\S+\/\d+)\s/gm)].map(([, prefix = '']) => prefix);
  }

  stop(signal: NodeJS.Signals = 'SIGTERM'): Promise<void> {
    return this.daemon.stop(signal);
  }

  #start(options: string[]): Daemon {
    const pid = join(this.router.directory, 'bird.pid');
    return this.router.start('bird', 'bird', [
      '-f',
      '-c',
      this.#config,
      '-s',
      this.#control,
      '-P',
      pid,
      ...options,
    ]);
  }
}

/** GoBGP. */
export class GoBgp implements Speaker {
  readonly router: Router;
  daemon: Daemon;
  readonly #config: string;

  /** @param config TOML. */
  constructor(router: Router, config: string) {
    this.router = router;
    this.#config = router.file('gobgpd.toml', config);
    this.daemon = this.#start();
  }

  restart(): void {
    this.daemon = this.#start(['-r']);
  }

  gobgp(...words: string[]): string {
    return this.router.namespace.run('gobgp', '-p', '50051', ...words);
  }

  isUp(peer: string): boolean {
    const neighbours: { state: { session_state?: number; neighbor_address?: string } }[] = JSON.parse(
      this.gobgp('-j', 'neighbor'),
    );
    return neighbours.some(({ state }) => state.neighbor_address === peer && state.session_state === 6);
  }

  learned(family: 4 | 6): string[] {
    const table: Record<string, { source?: { 'router-id'?: string }; 'source-id'?: string }[]> = JSON.parse(
      this.gobgp('-j', 'global', 'rib', '-a', `ipv${family}`) || '{}',
    );
    return Object.keys(table);
  }

  stop(signal: NodeJS.Signals = 'SIGTERM'): Promise<void> {
    return this.daemon.stop(signal);
  }

  #start(options: string[] = []): Daemon {
    return this.router.start('gobgpd', 'gobgpd', [
      '-f',
      this.#config,
      '--api-hosts',
      '127.0.0.1:50051',
      ...options,
    ]);
  }
}
