import { readFileSync, renameSync, writeFileSync } from 'node:fs';
import { isDeepStrictEqual } from 'node:util';
import { deserialize, serialize } from 'node:v8';
import type { RouterConfig } from '../bgp/config/router.ts';
import type { Log } from '../log.ts';
import { commit, version } from '../version.ts';

interface Memory {
  readonly build: string;
  readonly config: RouterConfig;
}

/** The shape of a configuration may differ between two of them. */
const BUILD = `${version} ${commit}`;

/**
 * What the speaker was told last, for an agent that starts while the store is out of reach: peers wait two minutes for
 * the sessions, and pods run on. It has the passwords of sessions in it, so it belongs where only root reads and where
 * nothing outlives the machine.
 */
export class BgpMemory {
  readonly #file: string;
  readonly #log: Log;
  #last: RouterConfig | undefined;

  constructor(file: string, log: Log) {
    this.#file = file;
    this.#log = log;
  }

  remember(config: RouterConfig): void {
    if (isDeepStrictEqual(config, this.#last)) return;
    this.#last = config;
    try {
      writeFileSync(`${this.#file}.new`, serialize({ build: BUILD, config } satisfies Memory), {
        mode: 0o600,
      });
      renameSync(`${this.#file}.new`, this.#file);
    } catch (error) {
      this.#log.warning('the configuration cannot be remembered', { error });
    }
  }

  /** Nothing where nothing was remembered, or where an agent of another build did so. */
  recall(): RouterConfig | undefined {
    try {
      const { build, config }: Memory = deserialize(readFileSync(this.#file));
      return build === BUILD ? config : undefined;
    } catch {
      return undefined;
    }
  }
}
