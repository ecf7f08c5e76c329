import { Turns } from '../../cni/turns.ts';
import type { Clock } from '../clock.ts';
import { claimKey } from '../ipam/claimObject.ts';
import type { Change } from '../store/follow.ts';
import type { IPClaim } from '../store/kinds/ipClaim.ts';

/** The claims there are, as far as this node has heard, and those that it is dealing with. */
export class Claims {
  readonly #clock: Pick<Clock, 'pause'>;
  readonly #known = new Map<string, IPClaim>();
  readonly #turns = new Turns();
  /** Claims whose turn it is: what they say and what the journal says may differ for a moment. */
  readonly #busy = new Set<string>();
  readonly #waiting = new Set<AbortController>();
  #listed = false;

  constructor(clock: Pick<Clock, 'pause'>) {
    this.#clock = clock;
  }

  /** Whether the store has said once which there are. */
  get listed(): boolean {
    return this.#listed;
  }

  all(): (readonly [key: string, claim: IPClaim])[] {
    return [...this.#known];
  }

  get(key: string): IPClaim | undefined {
    return this.#known.get(key);
  }

  onClaim(change: Change<IPClaim>): void {
    if (change.type === 'interrupted') return;
    if (change.type === 'replaced') {
      this.#listed = true;
      this.#known.clear();
      for (const claim of change.objects) this.#known.set(claimKey(claim), claim);
    } else if (change.type === 'applied') this.#known.set(claimKey(change.object), change.object);
    else this.#known.delete(claimKey(change.object));
    for (const heard of this.#waiting) heard.abort();
  }

  /** One container after the other is given a claim. */
  turn<T>(key: string, work: () => Promise<T>): Promise<T> {
    return this.#turns.take(key, async () => {
      this.#busy.add(key);
      try {
        return await work();
      } finally {
        this.#busy.delete(key);
      }
    });
  }

  isBusy(key: string): boolean {
    return this.#busy.has(key);
  }

  /** Returns when there is news of any claim, or after `ms`. */
  async news(ms: number): Promise<void> {
    const heard = new AbortController();
    this.#waiting.add(heard);
    await this.#clock.pause(ms, heard.signal);
    this.#waiting.delete(heard);
  }
}
