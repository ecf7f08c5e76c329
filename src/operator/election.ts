import { ifThere } from '../store/ifThere.ts';
import type { Lease } from '../store/kinds/lease.ts';
import { isStoreError, type Store } from '../store/store.ts';

/** Where the lease lies, as kube-controller-manager and its like keep theirs. */
const KEY = { namespace: 'kube-system', name: 'tombolo-operator' };

export interface ElectionOptions {
  readonly store: Store;
  /** Unique per process: two operators of one name would both believe to lead. */
  readonly identity: string;
  /** How long a leader that says nothing stays one, in milliseconds. */
  readonly duration: number;
  /** Milliseconds of a clock that never jumps. */
  readonly monotonic: () => number;
  readonly wallTime: () => Date;
}

/**
 * Leader election by a lease with compare-and-swap. Another's lease counts as over when it has not changed for its whole
 * duration by our own clock: the times inside it come from a clock that may be wrong. Leading spares two operators the
 * quarrel; that no range is given out twice does not rest on it.
 */
export class Election {
  readonly #options: ElectionOptions;
  #seen: { version: string | undefined; at: number } | undefined;
  #leadsUntil = Number.NEGATIVE_INFINITY;

  constructor(options: ElectionOptions) {
    this.#options = options;
  }

  /** Whether this process leads right now, with a tenth of the duration to spare. */
  get leads(): boolean {
    return this.#options.monotonic() < this.#leadsUntil;
  }

  /**
   * Takes or renews the lease, if it may. Call it every third of the duration.
   *
   * @returns Whether this process leads.
   * @throws Whatever the store throws, except that somebody else was faster.
   */
  async campaign(): Promise<boolean> {
    const started = this.#options.monotonic();
    try {
      const lease = await this.#read();
      if (lease === undefined) await this.#options.store.create(this.#next(undefined));
      else if (this.#mayTake(lease)) await this.#options.store.update(this.#next(lease));
      else return this.leads;
      this.#leadsUntil = started + this.#options.duration * 0.9;
      return true;
    } catch (error) {
      if (isStoreError(error, 'Conflict', 'AlreadyExists')) return this.leads;
      throw error;
    }
  }

  /** Lets go of the lease, so that the next leader need not wait for it to run out. */
  async resign(): Promise<void> {
    if (!this.leads) return;
    this.#leadsUntil = Number.NEGATIVE_INFINITY;
    const lease = await this.#read();
    if (lease?.spec?.holderIdentity !== this.#options.identity) return;
    const { holderIdentity: _, ...spec } = lease.spec;
    try {
      await this.#options.store.update({ ...lease, spec });
    } catch (error) {
      // Somebody else has it already.
      if (!isStoreError(error, 'Conflict', 'NotFound')) throw error;
    }
  }

  #read(): Promise<Lease | undefined> {
    return ifThere(this.#options.store.get('Lease', KEY));
  }

  #mayTake({ metadata, spec }: Lease): boolean {
    const holder = spec?.holderIdentity;
    if (holder === undefined || holder === this.#options.identity) return true;
    const now = this.#options.monotonic();
    if (this.#seen?.version !== metadata.resourceVersion || this.#seen === undefined) {
      this.#seen = { version: metadata.resourceVersion, at: now };
    }
    return now - this.#seen.at >= (spec?.leaseDurationSeconds ?? this.#options.duration / 1000) * 1000;
  }

  #next(before: Lease | undefined): Lease {
    const { identity, duration, wallTime } = this.#options;
    const now = wallTime().toISOString().replace('Z', '000Z');
    const same = before?.spec?.holderIdentity === identity;
    const transitions = before?.spec?.leaseTransitions ?? 0;
    return {
      apiVersion: 'coordination.k8s.io/v1',
      kind: 'Lease',
      metadata: before?.metadata ?? KEY,
      spec: {
        holderIdentity: identity,
        leaseDurationSeconds: Math.ceil(duration / 1000),
        acquireTime: same ? (before?.spec?.acquireTime ?? now) : now,
        renewTime: now,
        leaseTransitions: before === undefined || same ? transitions : transitions + 1,
      },
    };
  }
}
