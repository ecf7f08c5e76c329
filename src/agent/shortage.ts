import type { Source } from '../ipam/binding.ts';
import type { NodeNetwork } from '../store/kinds/nodeNetwork.ts';

/** What the agent asks the operator for: `NodeNetwork.status.requests[]`. */
export type SegmentRequest = NonNullable<NonNullable<NodeNetwork['status']>['requests']>[number];

/** The most that one request may ask for; the kind has the same limit. */
const MOST = 65_536;

/** The attachments that wait for an address, and what they wait for. */
export class Shortage {
  readonly #waiting = new Map<() => void, Source>();
  readonly #said: () => void;

  /** @param said Called when somebody begins to wait: what {@link requests} gives should be known at once. */
  constructor(said: () => void) {
    this.#said = said;
  }

  /** One address per attachment that waits, added up by pool. Whoever may draw from several pools asks each of them. */
  requests(): SegmentRequest[] {
    const requests = new Map<string, SegmentRequest>();
    for (const { family, bound, pools } of this.#waiting.values()) {
      for (const pool of bound ? pools : [undefined]) {
        const key = `${family} ${pool}`;
        const addresses = Math.min((requests.get(key)?.addresses ?? 0) + 1, MOST);
        requests.set(key, { family, addresses, ...(pool !== undefined && { pool }) });
      }
    }
    return [...requests.values()];
  }

  /** Waits until something has changed that may help, but no longer than `ms`. */
  wait(source: Source, ms: number): Promise<void> {
    return new Promise((resolve) => {
      const done = () => {
        clearTimeout(timer);
        this.#waiting.delete(done);
        resolve();
      };
      const timer = setTimeout(done, ms);
      this.#waiting.set(done, source);
      this.#said();
    });
  }

  /** To be called when a segment has come, or an address has become free: whoever waits tries again. */
  relieve(): void {
    for (const done of [...this.#waiting.keys()]) done();
  }
}
