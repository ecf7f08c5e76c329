import { formatPrefix, type Prefix } from '../address/prefix.ts';
import type { Answer } from '../bgp/speaker/api.ts';

/** How long to wait before asking again, at first and at most, in ms. */
const FIRST_PAUSE_MS = 50;
const LAST_PAUSE_MS = 1_000;

export interface WithdrawalParts {
  ask(method: string, path: string): Promise<Answer>;
  /** A prefix has been withdrawn from everybody. */
  withdrawn(): void;
}

/**
 * Prefixes that this node has ceased to announce and is about to give back: each is asked after until no neighbour
 * holds it any more, for whoever gets it next must not share its traffic with us.
 */
export class Withdrawals {
  readonly #parts: WithdrawalParts;
  /** Asked after, and whether the answer was that nobody holds it. */
  readonly #leaving = new Map<string, boolean>();
  #timer: NodeJS.Timeout | undefined;
  #pause = FIRST_PAUSE_MS;
  #stopped = false;

  constructor(parts: WithdrawalParts) {
    this.#parts = parts;
  }

  /** To be called when the speaker has been told to announce none of these. One that is named no longer is forgotten. */
  expect(prefixes: readonly Prefix[]): void {
    const names = prefixes.map(formatPrefix);
    for (const name of this.#leaving.keys()) if (!names.includes(name)) this.#leaving.delete(name);
    const fresh = names.filter((name) => !this.#leaving.has(name));
    if (fresh.length === 0) return;
    for (const name of fresh) this.#leaving.set(name, false);
    this.#pause = FIRST_PAUSE_MS;
    this.#arm();
  }

  has(prefix: Prefix): boolean {
    return this.#leaving.get(formatPrefix(prefix)) ?? false;
  }

  stop(): void {
    this.#stopped = true;
    clearTimeout(this.#timer);
  }

  #arm(): void {
    clearTimeout(this.#timer);
    if (this.#stopped) return;
    this.#timer = setTimeout(() => void this.#askForAll(), this.#pause);
    this.#pause = Math.min(2 * this.#pause, LAST_PAUSE_MS);
  }

  async #askForAll(): Promise<void> {
    const open = [...this.#leaving].filter(([, gone]) => !gone).map(([name]) => name);
    const gone = await Promise.all(open.map((name) => this.#isGone(name)));
    const news = open.filter((name, index) => gone[index] && this.#leaving.has(name));
    for (const name of news) this.#leaving.set(name, true);
    if (news.length > 0) this.#parts.withdrawn();
    if ([...this.#leaving.values()].includes(false)) this.#arm();
  }

  async #isGone(name: string): Promise<boolean> {
    const { status, body } = await this.#parts.ask(
      'GET',
      `/v1/bgp/holders?${new URLSearchParams({ prefix: name })}`,
    );
    return status === 200 && (body as { holders: readonly string[] }).holders.length === 0;
  }
}
