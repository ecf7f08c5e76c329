import { join } from 'node:path';
import type { Daemon, Router } from './router.ts';
import type { Speaker } from './speaker.ts';

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
