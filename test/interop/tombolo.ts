import { spawnSync } from 'node:child_process';
import { rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import type { SpeakerStatus } from '../../src/bgp/speaker/status.ts';
import type { Daemon, Router } from './router.ts';
import type { Speaker } from './speaker.ts';
import { awaitSocket } from './waiting.ts';

const PROGRAM = join(import.meta.dirname, '../../dist/tombolo');

/** Tombolo's own speaker, as `tombolo bgp run`. */
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

  /** Runs a command of the CLI. */
  cli(...words: string[]): string {
    return this.router.namespace.run('env', '-u', 'NODE_EXTRA_CA_CERTS', process.execPath, PROGRAM, ...words);
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
    rmSync(this.#socket, { force: true });
    const daemon = this.router.start('tombolo', process.execPath, [PROGRAM, ...args, ...state]);
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
