import { familyOf, formatIP, type IP } from '../address/ip.ts';
import { contains, formatPrefix, samePrefix } from '../address/prefix.ts';
import type { Source } from './binding.ts';
import { type Cooldown, type Freshness, restIn, type Segment, SegmentState } from './segment.ts';

/** Whom addresses belong to. An attachment is identified by container and interface, never by a pod's name. */
export interface Owner {
  readonly containerID: string;
  readonly ifName: string;
  /** The network of the CNI configuration. */
  readonly network: string;
}

export interface PodReference {
  readonly namespace: string;
  readonly name: string;
  readonly uid?: string | undefined;
}

export interface Allocation {
  readonly owner: Owner;
  readonly pod?: PodReference | undefined;
  /** At most one of each family. */
  readonly addresses: readonly IP[];
  /** The claim, `namespace/name`, whose addresses these are: they outlive the attachment. */
  readonly claim?: string | undefined;
  /** Wall time in ms. */
  readonly at: number;
  /** The boot of the machine during which it was made; its sandbox does not outlive that. */
  readonly boot: string;
}

export interface Request {
  readonly owner: Owner;
  readonly pod?: PodReference | undefined;
  /** Addresses asked for by name; empty leaves the choice to the allocator, in every family there is. */
  readonly addresses: readonly IP[];
  /**
   * Whether the interface stands on a link with others. If so, segments with a gateway are drawn from, if not, segments
   * without; where the node has only the one sort of a family, from that.
   */
  readonly onLink?: boolean | undefined;
  /** Where the address of each family may come from; from any segment where absent. */
  readonly sources?: readonly Source[] | undefined;
  /** Beside {@link addresses}: where more come from, of other families. */
  readonly besides?: readonly Source[] | undefined;
  /** Only addresses that have rested, if the pools that they come from may have others. */
  readonly rested?: boolean | undefined;
  /** The claim that the addresses are for: they are set aside for it, those of this node's segments by this node. */
  readonly claim?: string | undefined;
  /** Whether {@link addresses} may be of other nodes' segments: who asks has won the claim they belong to. */
  readonly borrow?: boolean | undefined;
}

/** What happened, and all that needs to be remembered: the state is what its entries make of it. */
export type Entry =
  | { readonly op: 'segments'; readonly segments: readonly Segment[] }
  | { readonly op: 'allocate'; readonly allocation: Allocation }
  | { readonly op: 'release'; readonly owner: Owner; readonly at: number }
  /** The addresses belong to a claim: nobody else is given them, held or not. */
  | { readonly op: 'keep'; readonly claim: string; readonly addresses: readonly IP[] }
  | { readonly op: 'forget'; readonly claim: string; readonly addresses: readonly IP[]; readonly at: number };

export type RefusalReason =
  | 'no segment'
  | 'exhausted'
  | 'resting'
  | 'taken'
  | 'outside'
  | 'reserved'
  | 'held';

/** A request that cannot be met; callers branch on {@link reason}. */
export class Refusal extends Error {
  override readonly name = 'Refusal';
  readonly reason: RefusalReason;
  /** What the node lacks, where it lacks something: one more segment of this family would help. */
  readonly short: Source | undefined;

  constructor(reason: RefusalReason, message: string, short?: Source) {
    super(message);
    this.reason = reason;
    this.short = short;
  }
}

export function ownerKey({ containerID, ifName }: Pick<Owner, 'containerID' | 'ifName'>): string {
  return `${containerID}/${ifName}`;
}

/**
 * The addresses of one node: who holds which, and which comes next. Deciding and applying are apart, so that
 * what was decided can be written down first and read again after a crash: only {@link apply} changes anything.
 */
export class Allocator {
  #segments: SegmentState[] = [];
  readonly #byOwner = new Map<string, Allocation>();
  readonly #byAddress = new Map<IP, Allocation>();
  readonly #kept = new Map<IP, string>();
  readonly #taken = (address: IP) => this.#byAddress.has(address) || this.#kept.has(address);

  get segments(): readonly SegmentState[] {
    return this.#segments;
  }

  allocations(): IterableIterator<Allocation> {
    return this.#byOwner.values();
  }

  heldBy(owner: Pick<Owner, 'containerID' | 'ifName'>): Allocation | undefined {
    return this.#byOwner.get(ownerKey(owner));
  }

  holderOf(address: IP): Allocation | undefined {
    return this.#byAddress.get(address);
  }

  /** The addresses of this node's segments that belong to claims, held or not, and whose they are. */
  get kept(): ReadonlyMap<IP, string> {
    return this.#kept;
  }

  /** The addresses of a segment that are held, or kept for a claim. */
  taken({ prefix }: Segment): IP[] {
    const held = [...this.#byAddress.keys()].filter((address) => contains(prefix, address));
    const kept = [...this.#kept.keys()].filter(
      (address) => contains(prefix, address) && !this.#byAddress.has(address),
    );
    return [...held, ...kept];
  }

  /** Whether an address is one that pods may have, so far as this node's segments say. */
  usable(address: IP): boolean {
    return this.#segmentOf(address)?.usable(address) ?? false;
  }

  /**
   * Chooses one address of each family that the node has active segments of, or takes the ones asked for:
   * all of them or none.
   *
   * @param now Wall time in ms.
   * @param cooldown Not kept where nothing else is left, unless only {@link Request.rested} ones will do.
   * @throws {Refusal} If the request cannot be met. Nothing has changed.
   */
  choose(request: Request, now: number, cooldown: Cooldown): { addresses: IP[]; hot: IP[] } {
    const { sources = ANYWHERE, onLink = false } = request;
    if (request.addresses.length > 0) {
      expectOneOfEachFamily(request.addresses);
      for (const address of request.addresses) this.#expectFree(address, sources, request);
      const more = (request.besides ?? [])
        .filter((source) => source.pools.length > 0 || this.#active(source).length > 0)
        .map((source) => this.#pick(this.#suited(source, onLink), source, now, cooldown));
      return { addresses: [...request.addresses, ...more.map(({ address }) => address)], hot: [] };
    }
    const wanted = sources.filter((source) => source.pools.length > 0 || this.#active(source).length > 0);
    if (wanted.length === 0) {
      const open = request.sources ? ', and no pool is open to the pod here' : '';
      throw new Refusal(
        'no segment',
        `Cannot allocate an address: no segment is assigned to this node${open}`,
      );
    }
    const picks = wanted.map((source) => this.#pick(this.#suited(source, onLink), source, now, cooldown));
    if (request.rested) expectRested(wanted, picks);
    return {
      addresses: picks.map(({ address }) => address),
      hot: picks.flatMap(({ address, freshness }) => (freshness === 'hot' ? [address] : [])),
    };
  }

  /** Makes an entry come true. The same entries in the same order make the same state. */
  apply(entry: Entry): void {
    switch (entry.op) {
      case 'segments':
        this.#assign(entry.segments);
        break;
      case 'allocate':
        this.#hold(entry.allocation);
        break;
      case 'release':
        this.#free(entry.owner, entry.at);
        break;
      case 'keep':
        for (const address of entry.addresses) this.#keep(address, entry.claim);
        break;
      case 'forget':
        for (const address of entry.addresses) this.#forget(address, entry.claim, entry.at);
    }
  }

  /** Puts back a segment as it was remembered. */
  restore(segment: SegmentState): void {
    this.#segments.push(segment);
  }

  #assign(segments: readonly Segment[]): void {
    this.#segments = segments.map((segment) => {
      const before = this.#segments.find((state) => samePrefix(state.segment.prefix, segment.prefix));
      return new SegmentState(segment, before?.released);
    });
    for (const segment of this.#segments) segment.skip(this.#taken);
  }

  #hold(allocation: Allocation): void {
    this.#byOwner.set(ownerKey(allocation.owner), allocation);
    for (const address of allocation.addresses) {
      this.#byAddress.set(address, allocation);
      const segment = this.#segmentOf(address);
      // What is borrowed is kept where it comes from.
      if (segment && allocation.claim !== undefined) this.#kept.set(address, allocation.claim);
      segment?.take(address, this.#taken);
    }
  }

  #keep(address: IP, claim: string): void {
    this.#kept.set(address, claim);
    this.#segmentOf(address)?.take(address, this.#taken);
  }

  #forget(address: IP, claim: string, at: number): void {
    if (this.#kept.get(address) !== claim) return;
    this.#kept.delete(address);
    if (!this.#byAddress.has(address)) this.#segmentOf(address)?.release(address, at);
  }

  #free(owner: Owner, at: number): void {
    const allocation = this.heldBy(owner);
    if (!allocation) return;
    this.#byOwner.delete(ownerKey(owner));
    for (const address of allocation.addresses) {
      if (this.#byAddress.get(address) !== allocation) continue;
      this.#byAddress.delete(address);
      if (!this.#kept.has(address)) this.#segmentOf(address)?.release(address, at);
    }
  }

  #pick(
    segments: readonly SegmentState[],
    source: Source,
    now: number,
    cooldown: Cooldown,
  ): { address: IP; freshness: Freshness } {
    const picks = segments.flatMap(
      (state) => state.pick(now, restIn(state.segment, cooldown), this.#taken) ?? [],
    );
    const pick =
      picks.find(({ freshness }) => freshness === 'fresh') ??
      picks.find(({ freshness }) => freshness === 'rested') ??
      picks[0];
    if (pick) return pick;
    const verb = `Cannot allocate an IPv${source.family} address`;
    if (segments.length === 0) {
      throw new Refusal(
        'no segment',
        `${verb}: this node has no segment of ${describeSource(source)}`,
        source,
      );
    }
    const full = segments
      .map((state) => {
        const rest = restIn(state.segment, cooldown);
        const reserved = state.reserved(now, rest, this.taken(state.segment));
        return `${formatPrefix(state.segment.prefix)} (${state.size - reserved})`;
      })
      .join(', ');
    throw new Refusal('exhausted', `${verb}: every one is in use, of ${full}`, source);
  }

  #expectFree(address: IP, sources: readonly Source[], { claim, borrow = false }: Request): void {
    const segment = this.#segmentOf(address);
    const verb = `Cannot allocate ${formatIP(address)}`;
    const holder = this.#byAddress.get(address);
    if (holder) throw new Refusal('taken', `${verb}: ${describeHolder(holder)} holds it`);
    const keeper = this.#kept.get(address);
    if (keeper !== undefined && keeper === claim) return;
    if (keeper !== undefined) throw new Refusal('taken', `${verb}: it is kept for claim ${keeper}`);
    if (segment === undefined && borrow) return;
    if (segment?.segment.state !== 'active') {
      throw new Refusal('outside', `${verb}: it is in no active segment of this node`);
    }
    if (!segment.usable(address)) {
      throw new Refusal(
        'reserved',
        `${verb}: ${formatPrefix(segment.segment.prefix)} keeps it for itself, or its pool reserves it`,
      );
    }
    const source = sources.find(({ family }) => family === familyOf(address));
    if (source && !feeds(segment.segment, source)) {
      const pool = segment.segment.pool === undefined ? 'no pool' : `pool ${segment.segment.pool}`;
      throw new Refusal('outside', `${verb}: it is of ${pool}, and not of ${describeSource(source)}`);
    }
  }

  #active(source: Source): SegmentState[] {
    return this.#segments.filter(
      ({ segment }) =>
        segment.state === 'active' &&
        familyOf(segment.prefix.address) === source.family &&
        feeds(segment, source),
    );
  }

  #suited(source: Source, onLink: boolean): SegmentState[] {
    const active = this.#active(source);
    const suited = active.filter(({ segment }) => (segment.gateway !== undefined) === onLink);
    return suited.length > 0 ? suited : active;
  }

  #segmentOf(address: IP): SegmentState | undefined {
    return this.#segments.find(({ segment }) => contains(segment.prefix, address));
  }
}

/** Where nobody says who may draw from where. */
const ANYWHERE: readonly Source[] = ([4, 6] as const).map((family) => ({
  family,
  bound: false,
  pools: [],
  why: 'no pool is known',
}));

function expectOneOfEachFamily(addresses: readonly IP[]): void {
  const families = addresses.map(familyOf);
  if (new Set(families).size === families.length) return;
  const text = addresses.map(formatIP).join(', ');
  throw new Refusal('outside', `Cannot allocate ${text}: a pod has one address of each family`);
}

function expectRested(sources: readonly Source[], picks: readonly { readonly freshness: Freshness }[]): void {
  const source = sources.find(({ pools }, index) => pools.length > 0 && picks[index]?.freshness === 'hot');
  if (source === undefined) return;
  const verb = `Cannot allocate an IPv${source.family} address`;
  throw new Refusal('resting', `${verb}: those that are free were in use only just now`, source);
}

function feeds({ pool }: Segment, source: Source): boolean {
  if (ANYWHERE.includes(source)) return true;
  return pool === undefined ? !source.bound : source.pools.includes(pool);
}

function describeSource({ bound, pools, why }: Source): string {
  return `${bound || pools.length > 0 ? `pool ${pools.join(' or ')} ` : ''}(${why})`;
}

/** `pod default/web (container 0123456789ab)`. */
export function describeHolder({ owner, pod }: Pick<Allocation, 'owner' | 'pod'>): string {
  const container = `container ${owner.containerID.slice(0, 12)}`;
  return pod ? `pod ${pod.namespace}/${pod.name} (${container})` : container;
}
