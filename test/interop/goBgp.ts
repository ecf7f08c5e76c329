import type { Daemon, Router } from './router.ts';
import type { Speaker } from './speaker.ts';

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
