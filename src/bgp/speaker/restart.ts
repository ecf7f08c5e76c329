import { readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs';

/** Changes with every boot of the machine. */
const BOOT_ID = '/proc/sys/kernel/random/boot_id';

/**
 * The memory of a speaker that ran before: a file that exists from its start until it says goodbye. Whoever finds
 * it comes back from a restart, planned or not, and since it names the boot, knows whether the kernel's routes
 * can have survived it.
 */
export class RestartMarker {
  readonly #path: string;

  constructor(path: string) {
    this.#path = path;
  }

  /** How the speaker before this one ended, and leaves the mark of this one. @throws {Error} If it cannot be written. */
  claim(): { readonly restarting: boolean; readonly sameBoot: boolean } {
    const boot = readFileSync(BOOT_ID, 'utf8').trim();
    const before = this.#read();
    writeFileSync(`${this.#path}.new`, `${boot}\n`);
    renameSync(`${this.#path}.new`, this.#path);
    return { restarting: before !== undefined, sameBoot: before === boot };
  }

  /** The sessions are ended for good: the next start is a first one. */
  clear(): void {
    rmSync(this.#path, { force: true });
  }

  #read(): string | undefined {
    try {
      return readFileSync(this.#path, 'utf8').trim();
    } catch {
      return undefined;
    }
  }
}
