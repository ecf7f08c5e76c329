import { createHash } from 'node:crypto';
import { messageOf } from '../errors.ts';
import type { Log } from '../log.ts';
import type { Event } from './kinds/event.ts';
import { isStoreError, type Store } from './store.ts';

/** Whom an event is about. */
export interface Involved {
  readonly kind: string;
  readonly name: string;
  /** Absent for objects without one: their events are in `default`, as Kubernetes has it. */
  readonly namespace?: string | undefined;
  readonly uid?: string | undefined;
}

export interface Happening {
  readonly type: 'Normal' | 'Warning';
  /** One word, for machines: `IPAllocationFailed`. */
  readonly reason: string;
  /** The words that the error and the log have, too. */
  readonly message: string;
}

export interface EventRecorderOptions {
  readonly store: Store;
  /** `tombolo-agent` or `tombolo-operator`. */
  readonly component: string;
  readonly host?: string;
  /** Wall time in ms. */
  readonly now: () => number;
  readonly log: Log;
}

/** The same again within this, in ms, is counted, and written with the next that comes later. */
const REPEAT_MS = 60_000;
/** So many events about one object at once, and one more for each of {@link REFILL_MS}: as client-go's spam filter. */
const BURST = 25;
const REFILL_MS = 300_000;
/** And so many writes a second in all: whatever goes wrong, events must not be what stops the API server. */
const PER_SECOND = 10;
/** Objects remembered; the one heard of least lately goes first. */
const REMEMBERED = 4096;
/** Kubernetes forgets an event after an hour by itself; where nobody does, the recorder that wrote it does. */
const LIFETIME_MS = 3_600_000;

interface Seen {
  count: number;
  written: number;
  first: number;
}

interface Budget {
  left: number;
  at: number;
}

/**
 * Tells people what happened, as Kubernetes Events. Never in the way: nothing waits for it, what repeats itself is
 * counted, what is too much is dropped (and counted, too).
 */
export class EventRecorder {
  readonly #options: EventRecorderOptions;
  readonly #seen = new Map<string, Seen>();
  readonly #budgets = new Map<string, Budget>();
  readonly #counts = { written: 0, repeated: 0, dropped: 0, failed: 0 };
  #second: Budget = { left: PER_SECOND, at: 0 };
  #writing: Promise<void> = Promise.resolve();
  #pruned = Number.NEGATIVE_INFINITY;

  constructor(options: EventRecorderOptions) {
    this.#options = options;
  }

  /** For metrics. */
  get counts(): Readonly<Record<'written' | 'repeated' | 'dropped' | 'failed', number>> {
    return this.#counts;
  }

  record(involved: Involved, happening: Happening): void {
    const now = this.#options.now();
    const key = [involved.kind, involved.namespace, involved.name, happening.reason, happening.message].join(
      '\n',
    );
    const seen = this.#seen.get(key) ?? { count: 0, written: Number.NEGATIVE_INFINITY, first: now };
    seen.count++;
    this.#seen.delete(key);
    this.#seen.set(key, seen);
    if (now - seen.written < REPEAT_MS && now >= seen.written) {
      this.#counts.repeated++;
      return;
    }
    const object = `${involved.kind}/${involved.namespace}/${involved.name}`;
    if (!this.#affordable(object, now)) {
      this.#counts.dropped++;
      return;
    }
    seen.written = now;
    const event = this.#eventOf(key, involved, happening, seen, now);
    this.#writing = this.#writing.then(() => this.#write(event));
    forgetOldest(this.#seen);
    forgetOldest(this.#budgets);
  }

  /** Resolves when all that was recorded is written, or has failed. */
  async settled(): Promise<void> {
    await this.#writing;
  }

  #affordable(object: string, now: number): boolean {
    const budget = this.#budgets.get(object) ?? { left: BURST, at: now };
    this.#budgets.delete(object);
    this.#budgets.set(object, budget);
    const refill = Math.floor(Math.max(0, now - budget.at) / REFILL_MS);
    if (refill > 0) Object.assign(budget, { left: Math.min(BURST, budget.left + refill), at: now });
    if (Math.abs(now - this.#second.at) >= 1000) this.#second = { left: PER_SECOND, at: now };
    if (budget.left === 0 || this.#second.left === 0) return false;
    budget.left--;
    this.#second.left--;
    return true;
  }

  #eventOf(key: string, involved: Involved, happening: Happening, seen: Seen, now: number): Event {
    const { component, host } = this.#options;
    const { namespace = 'default', kind, name, uid } = involved;
    // One name for one thing that happens to one object: who counts on after a restart finds it again.
    const hash = createHash('sha256').update(`${component}\n${host}\n${key}`).digest('hex').slice(0, 16);
    return {
      apiVersion: 'v1',
      kind: 'Event',
      metadata: { namespace, name: `${name}.${hash}` },
      involvedObject: {
        kind,
        name,
        ...(involved.namespace !== undefined && { namespace: involved.namespace }),
        ...(uid !== undefined && { uid }),
      },
      ...happening,
      count: seen.count,
      firstTimestamp: timestamp(seen.first),
      lastTimestamp: timestamp(now),
      source: { component, ...(host !== undefined && { host }) },
      reportingComponent: component,
      reportingInstance: host ?? component,
    };
  }

  async #write(event: Event): Promise<void> {
    const { store, log } = this.#options;
    try {
      await createOrCountOn(store, event);
      this.#counts.written++;
      await this.#prune();
    } catch (error) {
      this.#counts.failed++;
      log.warning('an event cannot be written', { reason: event.reason, error: messageOf(error) });
    }
  }

  async #prune(): Promise<void> {
    const { store, component, now } = this.#options;
    if (!store.location.startsWith('directory:') || now() - this.#pruned < REPEAT_MS) return;
    this.#pruned = now();
    const { items } = await store.list('Event');
    for (const { metadata, source, lastTimestamp } of items) {
      const age = now() - Date.parse(lastTimestamp ?? '');
      if (source?.component !== component || !(age > LIFETIME_MS)) continue;
      await store
        .delete('Event', { namespace: metadata.namespace, name: metadata.name })
        .catch((error: unknown) => {
          if (!isStoreError(error, 'NotFound')) throw error;
        });
    }
  }
}

async function createOrCountOn(store: Store, event: Event): Promise<void> {
  try {
    await store.create(event);
  } catch (error) {
    if (!isStoreError(error, 'AlreadyExists')) throw error;
    const { namespace, name } = event.metadata;
    const before = await store.get('Event', { namespace, name });
    const count = Math.max(event.count ?? 1, (before.count ?? 1) + 1);
    const { firstTimestamp = event.lastTimestamp } = before;
    const counted = { ...event, metadata: before.metadata, count };
    await store.update(firstTimestamp === undefined ? counted : { ...counted, firstTimestamp });
  }
}

/** Kubernetes' `metav1.Time` has whole seconds. */
function timestamp(ms: number): string {
  return `${new Date(ms).toISOString().slice(0, 19)}Z`;
}

function forgetOldest(map: Map<string, unknown>): void {
  if (map.size <= REMEMBERED) return;
  const [oldest] = map.keys();
  if (oldest !== undefined) map.delete(oldest);
}
