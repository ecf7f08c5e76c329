import { isDeepStrictEqual } from 'node:util';
import type { Log } from '../log.ts';
import type { BGPConfiguration } from '../store/kinds/bgpConfiguration.ts';
import type { BGPPeer } from '../store/kinds/bgpPeer.ts';
import { type Secret, secretValue } from '../store/kinds/secret.ts';
import { isStoreError, type Store } from '../store/store.ts';

/** Where the secrets of sessions are: beside the agent, as Calico wants them. */
const NAMESPACE = 'kube-system';

/** How often is looked whether a key was changed, in ms. */
const ROTATION_MS = 10_000;

/**
 * The secrets that sessions name, and no others: each is read by its name, so that an agent needs no right to list them.
 */
export class BgpSecrets {
  readonly #store: Store;
  readonly #log: Log;
  readonly #changed: () => void;
  /** Those that are wanted; without an object where there is none. */
  #known = new Map<string, Secret | undefined>();
  #timer: NodeJS.Timeout | undefined;

  /** @param changed Called when a secret that was read before is another one now. */
  constructor(store: Store, changed: () => void, log: Log) {
    this.#store = store;
    this.#changed = changed;
    this.#log = log;
  }

  value(name: string, key: string): string | undefined {
    const secret = this.#known.get(name);
    return secret && secretValue(secret, key);
  }

  /** Reads those that are named and not known yet, and forgets the others. */
  async want(names: ReadonlySet<string>): Promise<void> {
    const known = [...names].map(
      async (name): Promise<[string, Secret | undefined]> => [
        name,
        this.#known.has(name) ? this.#known.get(name) : await this.#read(name),
      ],
    );
    this.#known = new Map(await Promise.all(known));
    if (names.size === 0) this.stop();
    else this.#timer ??= setInterval(() => void this.#look(), ROTATION_MS);
  }

  stop(): void {
    clearInterval(this.#timer);
    this.#timer = undefined;
  }

  async #look(): Promise<void> {
    const values = ({ data, stringData }: Partial<Secret> = {}) => [data, stringData];
    let changed = false;
    for (const [name, before] of [...this.#known]) {
      const now = await this.#read(name);
      if (!this.#known.has(name) || isDeepStrictEqual(values(before), values(now))) continue;
      this.#known.set(name, now);
      changed = true;
    }
    if (changed) this.#changed();
  }

  /** While the store is out of reach, what was known stays known. */
  async #read(name: string): Promise<Secret | undefined> {
    try {
      return await this.#store.get('Secret', { namespace: NAMESPACE, name });
    } catch (error) {
      if (isStoreError(error, 'NotFound')) return undefined;
      this.#log.warning('a secret cannot be read', { name, error });
      return this.#known.get(name);
    }
  }
}

/** The names of all secrets that sessions refer to. */
export function secretNames(
  peers: readonly BGPPeer[],
  configurations: readonly BGPConfiguration[],
): Set<string> {
  const references = [
    ...peers.map(({ spec }) => spec.password),
    ...configurations.map(({ spec }) => spec.nodeMeshPassword),
  ];
  return new Set(references.flatMap((reference) => reference?.secretKeyRef?.name ?? []));
}
