import { rmSync } from 'node:fs';
import { join } from 'node:path';
import type { Daemon, Router } from './router.ts';
import type { Speaker } from './speaker.ts';
import { awaitSocket } from './waiting.ts';

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
