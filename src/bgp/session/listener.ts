import { closeSync } from 'node:fs';
import { formatIP, isIPv4 } from '../../address/ip.ts';
import { formatPrefix, type Prefix } from '../../address/prefix.ts';
import { koffi } from '../../ffi/koffi.ts';
import type { Endpoint } from '../config/router.ts';
import { type Accepted, acceptNext, openListenSocket, setKey } from './socket.ts';
import type { Turns } from './turns.ts';

/** A key for everybody in a prefix (RFC 2385); of several that fit, the kernel takes the longest. */
export interface Key {
  readonly peers: Prefix;
  readonly password: string;
}

/** A listening socket with the keys of those who must have one. Peers without a key on it connect without. */
export class Listener {
  readonly endpoint: Endpoint;
  readonly #fd: number;
  readonly #poll: { close(): void };
  #keys = new Map<string, Key>();

  /**
   * @param take Gets each accepted descriptor, and owns it.
   * @param turns Thousands of peers may come back at once: those beyond a turn's time wait in the kernel's queue.
   * @param failed Told when the kernel has no descriptor or memory for a connection.
   * @throws {SystemError} If the address is taken or not allowed.
   */
  constructor(
    endpoint: Endpoint,
    take: (accepted: Accepted) => void,
    failed: (error: unknown) => void,
    turns: Turns,
  ) {
    this.endpoint = endpoint;
    this.#fd = openListenSocket(endpoint);
    this.#poll = koffi().node.poll(this.#fd, { readable: true }, () => {
      try {
        while (!turns.over) {
          const accepted = acceptNext(this.#fd);
          if (accepted === undefined) return;
          take(accepted);
        }
      } catch (error) {
        failed(error);
      }
    });
  }

  /**
   * Makes these the only keys. A changed key holds for the next SYN; connections that are up keep theirs.
   *
   * @throws {SystemError}
   */
  setKeys(keys: readonly Key[]): void {
    const wanted = new Map(
      keys.filter(({ peers }) => this.#serves(peers)).map((key) => [formatPrefix(key.peers), key]),
    );
    for (const [name, { peers }] of this.#keys) if (!wanted.has(name)) setKey(this.#fd, peers, undefined);
    for (const [name, { peers, password }] of wanted) {
      if (this.#keys.get(name)?.password !== password) setKey(this.#fd, peers, password);
    }
    this.#keys = wanted;
  }

  close(): void {
    this.#poll.close();
    closeSync(this.#fd);
  }

  #serves({ address }: Prefix): boolean {
    return isIPv4(address) === isIPv4(this.endpoint.address);
  }
}

/** Two endpoints are the same when their text is. */
export function endpointText({ address, port }: Endpoint): string {
  return isIPv4(address) ? `${formatIP(address)}:${port}` : `[${formatIP(address)}]:${port}`;
}
