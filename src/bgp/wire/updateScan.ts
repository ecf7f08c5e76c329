import { type AfiSafi, IPV4_UNICAST } from './family.ts';
import type { Action, Flaw, Reason } from './reason.ts';

/** A range of bytes of a message. */
export interface ByteRange {
  readonly start: number;
  readonly end: number;
}

/** Routes of one family, each with a path identifier in front where the session's `addPath` has the family. */
export interface RouteRange extends ByteRange {
  readonly family: AfiSafi;
}

export interface AnnouncedRange extends RouteRange {
  /** The next hop's bytes, length octet excluded. */
  readonly nextHop: ByteRange;
}

/** A field or attribute with routes; the same object for every message. */
export class RouteField implements AnnouncedRange {
  family: AfiSafi = IPV4_UNICAST;
  start = 0;
  end = 0;
  readonly nextHop = { start: 0, end: 0 };
  /** Whether the message has it and its bounds are sound. */
  located = false;

  locate(family: AfiSafi, start: number, end: number): void {
    this.family = family;
    this.start = start;
    this.end = end;
    this.located = true;
  }

  get empty(): boolean {
    return !this.located || this.start === this.end;
  }
}

/** An attribute as it stands in a message. */
export interface AttributeSpan {
  readonly code: number;
  readonly flags: number;
  /** Where its flags are. */
  readonly at: number;
  /** Where its value is. */
  readonly start: number;
  readonly end: number;
}

const MP_UNREACH_NLRI = 15;

/**
 * What an UPDATE says, as ranges of its bytes, and what RFC 7606 wants done about it. One object serves all
 * messages of a session: everything in it is valid until the next scan.
 */
export class UpdateScan {
  /** What all ranges refer to: the message, and possibly others around it. */
  message: Buffer = Buffer.alloc(0);
  /** Where in `message` it starts; offsets in reasons count from here. */
  base = 0;
  /** The strongest of the reasons' actions; `undefined` for a message without fault. */
  action: Action | undefined;
  reasons: Reason[] = [];
  /** All path attributes, those to discard included. */
  readonly attributes = { start: 0, end: 0 };
  /** Types of attributes to leave out. Of a type that repeats, the first counts. */
  discard: number[] = [];
  /** Withdrawals first; on treat-as-withdraw also what the message meant to announce. */
  readonly withdrawn: RouteRange[] = [];
  readonly announced: AnnouncedRange[] = [];
  /** Families whose attribute is broken beyond use: RFC 7606's AFI/SAFI disable. */
  disabled: AfiSafi[] = [];
  /** The family whose End-of-RIB this is (RFC 4724 §2). */
  endOfRib: AfiSafi | undefined;

  readonly withdrawnField = new RouteField();
  readonly nlriField = new RouteField();
  readonly mpReach = new RouteField();
  readonly mpUnreach = new RouteField();
  /** How many of `spans` are in use: the attributes that are sound, the first of their type, in order. */
  kept = 0;
  readonly spans: { code: number; flags: number; at: number; start: number; end: number }[] = [];

  /** `seen[code] === #round`: the attribute stands in this message. Saves clearing 256 places each time. */
  readonly #seen = new Uint32Array(256);
  #round = 0;
  #others = false;

  begin(message: Buffer, base: number): void {
    this.message = message;
    this.base = base;
    this.action = undefined;
    this.endOfRib = undefined;
    if (this.reasons.length > 0) {
      this.reasons = [];
      this.discard = [];
      this.disabled = [];
    }
    // Setting the length, even to what it is, costs more than everything else here.
    while (this.withdrawn.length > 0) this.withdrawn.pop();
    while (this.announced.length > 0) this.announced.pop();
    this.withdrawnField.located = false;
    this.nlriField.located = false;
    this.mpReach.located = false;
    this.mpUnreach.located = false;
    this.kept = 0;
    this.#others = false;
    this.#round++;
    if (this.#round > 0xffffffff) {
      this.#seen.fill(0);
      this.#round = 1;
    }
  }

  /** Notes that an attribute stands in the message; `false` if it has before. */
  see(code: number): boolean {
    if (this.#seen[code] === this.#round) return false;
    this.#seen[code] = this.#round;
    if (code !== MP_UNREACH_NLRI) this.#others = true;
    return true;
  }

  has(code: number): boolean {
    return this.#seen[code] === this.#round;
  }

  /** Whether attributes other than MP_UNREACH_NLRI stand in the message, or may. */
  get others(): boolean {
    return this.#others;
  }

  /** The place for one more attribute; it counts once {@link keep} has been called. */
  span(code: number, flags: number, at: number, start: number, end: number): AttributeSpan {
    let span = this.spans[this.kept];
    if (span === undefined) {
      span = { code, flags, at, start, end };
      this.spans.push(span);
      return span;
    }
    span.code = code;
    span.flags = flags;
    span.at = at;
    span.start = start;
    span.end = end;
    return span;
  }

  keep(): void {
    this.kept++;
  }

  blame(action: Action, flaw: Flaw, offset: number, data?: Buffer): void {
    this.reasons.push({ action, ...flaw, offset: offset - this.base, data: Buffer.from(data ?? []) });
  }

  /** Blames an attribute and quotes it. */
  blameAttribute(action: Action, flaw: Flaw, { code, at, end }: AttributeSpan): void {
    const data = Buffer.from(this.message.subarray(at, end));
    this.reasons.push({ action, ...flaw, attribute: code, offset: at - this.base, data });
  }

  /** What follows cannot be told apart any more: other attributes may have stood there. */
  loseFraming(message: string, offset: number): void {
    this.#others = true;
    this.blame('treat-as-withdraw', { subcode: 1, message }, offset);
  }
}
