import type { Source } from '../ipam/binding.ts';
import type { NodeNetwork } from '../store/kinds/nodeNetwork.ts';

/** What the agent asks the operator for: `NodeNetwork.status.requests[]`. */
export type SegmentRequest = NonNullable<NonNullable<NodeNetwork['status']>['requests']>[number];

/** The most that one request may ask for; the kind has the same limit. */
const MOST = 65_536;

/** So long a refused attachment counts as one that waits: until kubelet has tried again, which takes it up to a minute. */
const REFUSED_MS = 60_000;

/** The attachments that wait for an address, and what they wait for. */
export class Shortage {
  readonly #waiting = new Map<() => void, Source>();
  /** One of each kind: whether kubelet's next ADD is for the same pod is not known. */
  readonly #refused = new Map<string, { readonly source: Source; readonly timer: NodeJS.Timeout }>();
  readonly #said: () => void;

  /** @param said Called when somebody begins to wait: what {@link requests} gives should be known at once. */
  constructor(said: () => void) {
    this.#said = said;
  }

  /**
   * One address per attachment that waits, added up by pool; where none waits, one for those that were refused lately. Whoever
   * may draw from several pools asks each of them.
   */
  requests(): SegmentRequest[] {
    const requests = new Map<string, SegmentRequest>();
    const waiting = [...this.#waiting.values()];
    const refused = [...this.#refused.values()].map(({ source }) => source);
    for (const { family, bound, pools } of waiting.length > 0 ? waiting : refused) {
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

  /** An attachment was refused, and comes again: the node goes on asking, so that people see what it is short of. */
  refused(source: Source): void {
    const key = `${source.family} ${source.bound} ${source.pools}`;
    clearTimeout(this.#refused.get(key)?.timer);
    const timer = setTimeout(() => this.#refused.delete(key), REFUSED_MS).unref();
    this.#refused.set(key, { source, timer });
    this.#said();
  }

  /** To be called when a segment has come, or an address has become free: whoever waits tries again. */
  relieve(): void {
    for (const { timer } of this.#refused.values()) clearTimeout(timer);
    this.#refused.clear();
    for (const done of [...this.#waiting.keys()]) done();
  }
}
