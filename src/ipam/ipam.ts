import { isDeepStrictEqual } from 'node:util';
import { formatIP, type IP } from '../address/ip.ts';
import { contains, overlaps } from '../address/prefix.ts';
import type { Log } from '../log.ts';
import {
  type Allocation,
  Allocator,
  describeHolder,
  type Entry,
  type Owner,
  Refusal,
  type Request,
} from './allocator.ts';
import type { Source } from './binding.ts';
import type { Chapter, History } from './history.ts';
import { Journal } from './journal.ts';
import { type JournalFiles, openJournalFiles } from './journalFiles.ts';
import {
  type EntryRecord,
  entryFromRecord,
  entryToRecord,
  restoreState,
  type StateRecord,
  stateToRecord,
} from './record.ts';
import { type Cooldown, restIn, type Segment } from './segment.ts';

export interface IpamOptions {
  /** Where the journal lives. */
  readonly directory: string;
  readonly cooldown: Cooldown;
  /** The boot id of the machine, `/proc/sys/kernel/random/boot_id`. */
  readonly boot: string;
  /** Wall time in ms: it must mean something to the next process. */
  readonly now: () => number;
  readonly log: Log;
  /** The directory's, where absent. */
  readonly files?: JournalFiles;
  /** Remembers what is over. */
  readonly history?: Pick<History, 'note'>;
}

/** Addresses that are given out, and will be found given out by whoever runs next, save after a power cut. */
export interface Reservation {
  readonly allocation: Allocation;
  /** When it is on the disk; where it rejects, {@link Ipam.release} takes the addresses back. */
  readonly durable: Promise<void>;
}

export interface SegmentUsage {
  readonly segment: Segment;
  /** How many addresses pods may have: all but those that are reserved, unless somebody has one of them already. */
  readonly capacity: bigint;
  readonly used: number;
  /** Released, and resting still. */
  readonly resting: number;
  /** Nobody is given them, and nobody has them from before they were reserved. */
  readonly reserved: bigint;
}

/** How often the unusual has happened, for metrics. */
export interface IpamCounters {
  allocations: number;
  releases: number;
  exhausted: number;
  hot: number;
}

/**
 * The addresses of this node. What it says has been given out or taken back is on the disk: a process that
 * is killed at any moment finds everything it has answered for when it starts again.
 */
export class Ipam {
  readonly counters: IpamCounters = { allocations: 0, releases: 0, exhausted: 0, hot: 0 };
  readonly #allocator = new Allocator();
  readonly #journal: Journal<EntryRecord, StateRecord>;
  readonly #options: IpamOptions;

  /** @throws {Error} If the journal is damaged, or open in another process. */
  constructor(options: IpamOptions) {
    this.#options = options;
    this.#journal = new Journal(options.files ?? openJournalFiles(options.directory), {
      restore: (state) => restoreState(this.#allocator, state),
      replay: (record) => this.#allocator.apply(entryFromRecord(record)),
      state: () => stateToRecord(this.#allocator),
    });
  }

  /**
   * The addresses of an attachment: those it holds already, or new ones, of every family the node has.
   *
   * @throws {Refusal} If there are none, or not the ones asked for.
   */
  async allocate(request: Request): Promise<Allocation> {
    const held = this.#allocator.heldBy(request.owner);
    const { allocation, durable } = this.reserve(request);
    try {
      await durable;
    } catch (error) {
      if (!held) this.#withdraw(allocation);
      throw error;
    }
    return allocation;
  }

  /**
   * Like {@link allocate}, without waiting for the disk: there is much to be done meanwhile. Whoever answers for
   * the addresses waits until they are durable.
   *
   * @throws {Refusal} As above.
   */
  reserve(request: Request): Reservation {
    const held = this.#allocator.heldBy(request.owner);
    if (held) {
      return { allocation: this.#asAskedFor(held, request.addresses), durable: this.#journal.settle() };
    }
    const { now, cooldown, boot, log } = this.#options;
    const at = now();
    const { addresses, hot } = this.#choose(request, at, cooldown);
    const allocation: Allocation = {
      owner: request.owner,
      ...(request.pod && { pod: request.pod }),
      addresses,
      ...(request.claim !== undefined && { claim: request.claim }),
      at,
      boot,
    };
    const durable = this.#record({ op: 'allocate', allocation });
    // Nobody waits for it yet.
    durable.then(
      () => this.#note('given', at, addresses, allocation),
      () => {},
    );
    this.counters.allocations++;
    this.counters.hot += hot.length;
    for (const address of hot) {
      log.warning('address used again before it has rested: no other is left', {
        address: formatIP(address),
      });
    }
    return { allocation, durable };
  }

  /**
   * Takes back what an attachment holds; nothing, if it holds nothing. Where the disk does not take that,
   * the addresses are free all the same, since somebody may hold them by now: call again until it does.
   */
  async release(owner: Pick<Owner, 'containerID' | 'ifName'>): Promise<Allocation | undefined> {
    const allocation = this.#allocator.heldBy(owner);
    if (!allocation) {
      await this.#journal.settle();
      return undefined;
    }
    const at = this.#options.now();
    await this.#record({ op: 'release', owner: allocation.owner, at });
    this.#note('released', at, allocation.addresses, allocation);
    this.counters.releases++;
    return allocation;
  }

  /**
   * Marks addresses as held that somebody is known to use although the journal does not say so: its directory
   * was lost, or is older than the attachments.
   *
   * @throws {Refusal} If somebody else holds one of them.
   */
  async adopt(owner: Owner, addresses: readonly IP[]): Promise<void> {
    for (const address of addresses) {
      const holder = this.#allocator.holderOf(address);
      if (holder) {
        const reason = `${describeHolder(holder)} holds it, and so does ${describeHolder({ owner })}`;
        throw new Refusal('taken', `Cannot adopt ${formatIP(address)}: ${reason}`);
      }
    }
    const at = this.#options.now();
    const allocation: Allocation = { owner, addresses, at, boot: this.#options.boot };
    await this.#hold(allocation);
    this.#note('given', at, addresses, allocation);
  }

  /**
   * Sets addresses aside for a claim: whoever holds it gets them, nobody else does, here or on another node.
   *
   * @param container Holds them by right, although the journal may not know by which: it was lost.
   * @throws {Refusal} If somebody without this claim holds one of them.
   */
  async keep(claim: string, addresses: readonly IP[], container?: string): Promise<void> {
    for (const address of addresses) {
      const keeper = this.#allocator.kept.get(address);
      const holder = this.#allocator.holderOf(address);
      const rightful = holder && (holder.claim === claim || holder.owner.containerID === container);
      const other = holder && !rightful ? `${describeHolder(holder)} holds it` : undefined;
      const reason = keeper !== undefined && keeper !== claim ? `it is kept for claim ${keeper}` : other;
      if (reason !== undefined) {
        throw new Refusal('taken', `Cannot set aside ${formatIP(address)} for claim ${claim}: ${reason}`);
      }
    }
    const missing = addresses.filter((address) => !this.#allocator.kept.has(address));
    if (missing.length === 0) return;
    await this.#record({ op: 'keep', claim, addresses: missing });
    this.#note('kept', this.#options.now(), missing, { claim });
  }

  /**
   * Sets one address aside for a claim of another node that names none: the one it was given before, or one that is free.
   *
   * @throws {Refusal} If there is none.
   */
  async lend(claim: string, source: Source): Promise<IP> {
    const given = [...this.kept()].find(([, key]) => key === claim)?.[0];
    if (given !== undefined) {
      await this.#journal.settle();
      return given;
    }
    const request = { owner: NOBODY, addresses: [], sources: [source], rested: true };
    const [address] = this.#choose(request, this.#options.now(), this.#options.cooldown).addresses;
    if (address === undefined)
      throw new Refusal('no segment', 'Cannot lend an address: there is none', source);
    await this.keep(claim, [address]);
    return address;
  }

  /** The claim is no more, or these are no addresses of it: they rest and become free. */
  async forget(claim: string, addresses: readonly IP[]): Promise<void> {
    const known = addresses.filter((address) => this.#allocator.kept.get(address) === claim);
    if (known.length === 0) return;
    const at = this.#options.now();
    await this.#record({ op: 'forget', claim, addresses: known, at });
    this.#note('forgotten', at, known, { claim });
  }

  /** The addresses that belong to claims, and whose they are. */
  kept(): ReadonlyMap<IP, string> {
    return this.#allocator.kept;
  }

  /** The addresses held here that lie in no segment of this node. */
  borrowed(): IP[] {
    return this.allocations()
      .filter(({ claim }) => claim !== undefined)
      .flatMap(({ addresses }) => addresses)
      .filter((address) => !this.owns(address));
  }

  /**
   * The segments to give addresses from now on. Another one that still has holders stays, and gives out nothing: whoever
   * asks what this node uses must hear of it.
   */
  async assign(segments: readonly Segment[]): Promise<void> {
    const next = [...segments, ...this.#leftBehind(segments)];
    if (isDeepStrictEqual(next, this.segments())) await this.#journal.settle();
    else await this.#record({ op: 'segments', segments: next });
  }

  /** Whether an address lies in a segment of this node. */
  owns(address: IP): boolean {
    return this.segments().some(({ prefix }) => contains(prefix, address));
  }

  segments(): Segment[] {
    return this.#allocator.segments.map(({ segment }) => segment);
  }

  allocations(): Allocation[] {
    return [...this.#allocator.allocations()];
  }

  heldBy(owner: Pick<Owner, 'containerID' | 'ifName'>): Allocation | undefined {
    return this.#allocator.heldBy(owner);
  }

  usage(): SegmentUsage[] {
    const { now, cooldown } = this.#options;
    return this.#allocator.segments.map((state) => {
      const taken = this.#allocator.taken(state.segment);
      const rest = restIn(state.segment, cooldown);
      const resting = state.resting(now(), rest);
      const reserved = state.reserved(now(), rest, taken);
      const { segment, size } = state;
      return { segment, capacity: size - reserved, used: taken.length, resting, reserved };
    });
  }

  /** Whether an address is one that pods may have, so far as this node's segments say. */
  usable(address: IP): boolean {
    return this.#allocator.usable(address);
  }

  /** When a released address may be given out again, wall time in ms; undefined where it does not rest. */
  restingUntil(address: IP): number | undefined {
    const { now, cooldown } = this.#options;
    const state = this.#allocator.segments.find(({ released }) => released.has(address));
    const at = state?.released.get(address);
    if (state === undefined || at === undefined) return undefined;
    const until = at + restIn(state.segment, cooldown);
    return now() < until ? until : undefined;
  }

  /** Why nobody could be given these addresses now; undefined where somebody could. */
  objectionTo(addresses: readonly IP[]): string | undefined {
    const { now, cooldown } = this.#options;
    try {
      this.#allocator.choose({ owner: NOBODY, addresses }, now(), cooldown);
      return undefined;
    } catch (error) {
      if (error instanceof Refusal) return error.message;
      throw error;
    }
  }

  /** Whether an allocation could be made now. */
  available(): boolean {
    const { now, cooldown } = this.#options;
    try {
      this.#allocator.choose({ owner: NOBODY, addresses: [] }, now(), cooldown);
      return true;
    } catch {
      return false;
    }
  }

  close(): Promise<void> {
    return this.#journal.close();
  }

  #leftBehind(segments: readonly Segment[]): Segment[] {
    return this.segments()
      .filter((segment) => this.#allocator.taken(segment).length > 0)
      .filter(({ prefix }) => !segments.some((other) => overlaps(prefix, other.prefix)))
      .map((segment) => ({ ...segment, state: 'releasing' }));
  }

  #choose(request: Request, now: number, cooldown: Cooldown) {
    try {
      return this.#allocator.choose(request, now, cooldown);
    } catch (error) {
      if (error instanceof Refusal && error.reason === 'exhausted') this.counters.exhausted++;
      throw error;
    }
  }

  #asAskedFor(held: Allocation, asked: readonly IP[]): Allocation {
    if (asked.every((address) => held.addresses.includes(address))) return held;
    const has = held.addresses.map(formatIP).join(', ');
    throw new Refusal(
      'held',
      `Cannot allocate ${asked.map(formatIP).join(', ')}: the attachment holds ${has}`,
    );
  }

  async #hold(allocation: Allocation): Promise<void> {
    try {
      await this.#record({ op: 'allocate', allocation });
    } catch (error) {
      this.#withdraw(allocation);
      throw error;
    }
  }

  /** What the disk refused may have reached it after all, and whoever reads that must read this as well. */
  #withdraw({ owner, at }: Allocation): void {
    this.#record({ op: 'release', owner, at }).catch(() => {});
  }

  #note(event: Chapter['event'], at: number, addresses: readonly IP[], of: Partial<Allocation>): void {
    try {
      this.#options.history?.note(event, at, addresses, of);
    } catch (error) {
      this.#options.log.warning('an event is missing from the history of addresses', { event, error });
    }
  }

  /** Applies first, so that nobody else is given the same while the disk is at work. */
  #record(entry: Entry): Promise<void> {
    this.#allocator.apply(entry);
    return this.#journal.append(entryToRecord(entry));
  }
}

const NOBODY: Owner = { containerID: '', ifName: '', network: '' };
