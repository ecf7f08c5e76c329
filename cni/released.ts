import {
  closeSync,
  fsyncSync,
  mkdirSync,
  openSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  writeSync,
} from 'node:fs';
import { join } from 'node:path';
import { attachmentId } from '../src/attach/attachment.ts';
import { because } from '../src/errors.ts';
import { hasCode } from '../src/ffi/systemError.ts';
import type { AddressOwner } from './addresses.ts';
import { parseContainerID, parseIfName } from './protocol/environment.ts';
import { isObject } from './protocol/members.ts';

/**
 * Attachments that were removed while no agent ran, as files under `<stateDir>/released`: their addresses are
 * the agent's to free, which it does when it starts, before it gives out any.
 */
export class Released {
  readonly #directory: string;

  constructor(stateDir: string) {
    this.#directory = join(stateDir, 'released');
  }

  /** Durable when it returns. */
  add(owner: AddressOwner): void {
    const path = join(this.#directory, `${attachmentId(owner.containerID, owner.ifName)}.json`);
    try {
      mkdirSync(this.#directory, { recursive: true, mode: 0o700 });
      const fd = openSync(`${path}.new`, 'w', 0o600);
      try {
        writeSync(fd, `${JSON.stringify(owner)}\n`);
        fsyncSync(fd);
      } finally {
        closeSync(fd);
      }
      renameSync(`${path}.new`, path);
    } catch (error) {
      throw because(`note the release in ${path}`, error);
    }
  }

  /**
   * Hands each one to `free`, then forgets it; what cannot be freed stays for the next time.
   *
   * @returns What went wrong, unreadable files included.
   */
  async drain(free: (owner: AddressOwner) => Promise<void>): Promise<Error[]> {
    const failures: Error[] = [];
    for (const name of this.#names()) {
      const path = join(this.#directory, name);
      try {
        await free(readOwner(readFileSync(path, 'utf8')));
        rmSync(path, { force: true });
      } catch (error) {
        failures.push(because(`free what ${path} names`, error));
      }
    }
    return failures;
  }

  #names(): string[] {
    try {
      return readdirSync(this.#directory).filter((name) => name.endsWith('.json'));
    } catch (error) {
      if (hasCode(error, 'ENOENT')) return [];
      throw because(`read ${this.#directory}`, error);
    }
  }
}

function readOwner(text: string): AddressOwner {
  const json: unknown = JSON.parse(text);
  const { network, containerID, ifName } = isObject(json) ? json : {};
  if (typeof network !== 'string' || typeof containerID !== 'string' || typeof ifName !== 'string') {
    throw new SyntaxError(
      `Cannot read owner: expected network, containerID and ifName (value ${text.trim()})`,
    );
  }
  return { network, containerID: parseContainerID(containerID), ifName: parseIfName(ifName) };
}
