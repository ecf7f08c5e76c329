import { AdjRibOut } from './adjRibOut.ts';
import { Bits } from './bits.ts';
import { Exporter } from './exporter.ts';
import type { Member, Outlet } from './groupMember.ts';
import { PREFIX_LIMIT } from './nlriKeys.ts';
import { Pages } from './pages.ts';
import type { PeerFamily, RibPeer } from './peer.ts';
import { LOCAL } from './peers.ts';
import type { RibParts } from './ribParts.ts';
import type { RouteTable } from './routeTable.ts';
import type { RouteTargets } from './routeTargets.ts';
import { UpdateBatch } from './updateBatch.ts';
import { UpdateLog, writeChunk } from './updateLog.ts';

/** A peer that lags further behind than this leaves the log: bytes, and milliseconds. */
const LOG_LIMIT = 4 << 20;
const LAG_LIMIT = 1000;
/** Destinations of one portion of work: half a millisecond, a few before V8 has compiled it. */
const PORTION = 1024;

/**
 * Peers that are told the same: one Adj-RIB-Out, one encoding of every change, and a log that each of them
 * reads at its own pace (RFC 4271 leaves this open; FRR calls it update groups).
 */
export class UpdateGroup {
  readonly sent: AdjRibOut;
  readonly exporter: Exporter;
  readonly members = new Map<number, Member>();
  /** Destinations that changed since the log was last written. */
  readonly pending = new Bits(PREFIX_LIMIT);
  readonly #parts: RibParts;
  readonly #table: RouteTable;
  readonly #addPath: boolean;
  readonly #paths: 'equal' | 'all';
  readonly #log = new UpdateLog();
  readonly #batch: UpdateBatch;
  readonly #rows = new Uint32Array(PORTION);
  /** While there are new members to read them. */
  readonly #pages: Pages;
  #order: Member[] = [];
  /** What members are owed; mostly none is owed anything. */
  readonly #owed = new Set<Bits>();
  #turn = 0;
  /** Routes whose attributes alone fill a message: they cannot be told at all. */
  unsendable = 0;

  /** `peer` stands for all that will join. */
  constructor(
    parts: RibParts,
    table: RouteTable,
    peer: RibPeer,
    family: PeerFamily,
    interest: RouteTargets | undefined,
  ) {
    this.#parts = parts;
    this.#table = table;
    this.#addPath = family.addPathSend;
    this.#paths = peer.policy.addPathSend ?? 'equal';
    this.exporter = new Exporter(parts, peer, family, interest);
    this.sent = new AdjRibOut(parts.store);
    this.#batch = new UpdateBatch(parts.store, table, {
      family: family.family,
      maxMessageSize: peer.maxMessageSize,
      addPath: family.addPathSend,
      fourOctetAs: peer.fourOctetAs,
    });
    this.#pages = new Pages(this.sent, this.#batch, PORTION);
  }

  /** A new peer, owed everything that was sent so far; `told` is what it was told as a member of another group. */
  join(peer: number, outlet: Outlet, closing: Uint8Array | undefined, told?: AdjRibOut): void {
    const owed = new Bits(PREFIX_LIMIT);
    const member: Member = { peer, outlet, position: 0, owed, page: 0, closing };
    this.#owed.add(owed);
    this.members.set(peer, member);
    this.#order.push(member);
    if (told === undefined) return;
    this.oweAll(member);
    for (let destination = 0; destination < told.end; destination++) {
      if (told.firstOf(destination) !== 0) owed.add(destination);
    }
  }

  /** What a member is to read once it knows everything. */
  conclude(peer: number, closing: Uint8Array): void {
    const member = this.members.get(peer);
    if (member === undefined) return;
    this.#detach(member);
    member.closing = member.closing ? Buffer.concat([member.closing, closing]) : closing;
  }

  leave(peer: number): void {
    const owed = this.members.get(peer)?.owed;
    if (owed) this.#owed.delete(owed);
    this.members.delete(peer);
    this.#order = this.#order.filter((member) => member.peer !== peer);
    this.#trim();
  }

  /** Has everything sent again, and taken back what is no more. */
  oweAll(member: Member): void {
    const owed = this.#detach(member);
    member.page = Number.POSITIVE_INFINITY;
    for (let destination = 1; destination < this.sent.end; destination++) {
      const entry = this.sent.firstOf(destination);
      if (entry === 0) continue;
      if (this.sent.from[entry] !== member.peer || this.sent.next[entry] !== 0) owed.add(destination);
    }
  }

  /** Everything is to be compared with what policy says now. */
  reconsider(): void {
    for (let destination = 1; destination < this.#table.destinationEnd; destination++) {
      this.pending.add(destination);
    }
  }

  /** Writes a portion of what is pending to the log. */
  seal(): void {
    const count = this.pending.take(this.#rows);
    if (count === 0) return;
    const batch = this.#batch;
    batch.clear();
    this.#eachRow(count, this.pending, batch, (row) => this.#compare(row, batch));
    if (batch.isEmpty) return;
    const destinations = batch.destinations();
    let follows = false;
    for (const member of this.#order) {
      if (member.owed === undefined) follows = true;
      else this.#owe(member, member.owed, destinations);
    }
    if (!follows) return;
    const time = this.#parts.now();
    for (const chunk of batch.encode(time, (peer) => this.members.has(peer))) this.#log.append(chunk);
    this.unsendable += batch.unsendable;
  }

  /** Has members write until `deadline`; answers whether any could go on. */
  flush(deadline: number): boolean {
    for (let count = this.#order.length; count > 0; count--) {
      const member = this.#order[this.#turn++ % this.#order.length];
      if (member !== undefined) this.#advance(member, deadline);
      if (this.#parts.now() >= deadline) break;
    }
    if (this.#turn >= this.#order.length) this.#turn %= Math.max(1, this.#order.length);
    this.#trim();
    if (this.#owed.size === 0) this.#pages.clear();
    return this.isBehind;
  }

  /** The paths of a destination that this group may be told. */
  candidates(destination: number): readonly number[] {
    const { decision } = this.#parts;
    const table = this.#table;
    if (!this.#addPath) {
      const best = decision.bestOf(table, destination);
      return best === 0 ? [] : [best];
    }
    decision.run(table, destination);
    return this.#paths === 'all' ? decision.candidates : decision.equal;
  }

  /** Whether a destination still means something here, to somebody. */
  remembers(destination: number): boolean {
    if (this.sent.firstOf(destination) !== 0 || this.pending.has(destination)) return true;
    for (const owed of this.#owed) if (owed.has(destination)) return true;
    return false;
  }

  /** Whether a member has something to be written that could be. */
  get isBehind(): boolean {
    return this.#order.some((member) => !member.outlet.blocked && this.#isBehind(member));
  }

  /** Whether a member has been written all there is to tell it. */
  hasTold(peer: number): boolean {
    const member = this.members.get(peer);
    return member !== undefined && this.pending.size === 0 && !this.#isBehind(member);
  }

  /** Bytes of messages that wait for peers. */
  get backlog(): number {
    return this.#log.bytes;
  }

  #isBehind(member: Member): boolean {
    return member.owed !== undefined || member.position < this.#log.end;
  }

  #advance(member: Member, deadline: number): void {
    if (member.outlet.blocked) return;
    while (member.owed !== undefined && !member.outlet.blocked) {
      this.#catchUp(member, member.owed);
      if (this.#parts.now() >= deadline) return;
    }
    while (!member.outlet.blocked) {
      const chunk = this.#log.at(member.position);
      if (chunk === undefined) return;
      member.position++;
      writeChunk(chunk, member.peer, (bytes) => this.#write(member, bytes));
    }
  }

  /** What a new member will get with its page anyway is not owed besides. */
  #owe({ page }: Member, owed: Bits, destinations: Uint32Array): void {
    for (const destination of destinations) if (destination < page * PORTION) owed.add(destination);
  }

  #catchUp(member: Member, owed: Bits): void {
    if (member.page * PORTION < this.sent.end) {
      const chunks = this.#pages.at(member.page++);
      for (const chunk of chunks) writeChunk(chunk, member.peer, (bytes) => this.#write(member, bytes));
      return;
    }
    const count = owed.take(this.#rows);
    const batch = this.#batch;
    batch.clear();
    this.#eachRow(count, owed, batch, (row) => this.#tell(member, row, batch));
    for (const chunk of batch.encode(0, () => false)) this.#write(member, chunk.bytes);
    if (owed.size > 0) return;
    this.#owed.delete(owed);
    member.owed = undefined;
    member.page = Number.POSITIVE_INFINITY;
    member.position = this.#log.end;
    if (member.closing) this.#write(member, member.closing);
    member.closing = undefined;
  }

  #write(member: Member, bytes: Uint8Array): boolean {
    const room = member.outlet.sink.write(bytes);
    if (!room) member.outlet.blocked = true;
    return room;
  }

  /** Visits the rows that were taken from `bits`, and puts those back that the batch has no room for. */
  #eachRow(count: number, bits: Bits, batch: UpdateBatch, visit: (row: number) => void): void {
    for (let index = 0; index < count; index++) {
      const row = this.#rows[index] as number;
      if (batch.isFull) bits.add(row);
      else visit(row);
    }
  }

  /** What a member has to hear of a destination, whatever it heard before. */
  #tell(member: Member, destination: number, batch: UpdateBatch): void {
    const { sent } = this;
    const addPath = this.#addPath;
    const top = addPath ? (this.#table.topOrdinal[destination] as number) : 0;
    for (let ordinal = addPath ? 1 : 0; ordinal <= top; ordinal++) {
      const entry = sent.find(destination, ordinal);
      if (entry === 0 || sent.from[entry] === member.peer) batch.withdraw(destination, ordinal, 0);
      else batch.announce(destination, ordinal, sent.attributes[entry] as number, 0);
    }
  }

  /** Finds what a destination's paths should look like to this group, and notes the difference. */
  #compare(destination: number, batch: UpdateBatch): void {
    if (this.#addPath) this.#comparePaths(destination, batch);
    else this.#compareBest(destination, batch);
  }

  #compareBest(destination: number, batch: UpdateBatch): void {
    const table = this.#table;
    const path = this.#parts.decision.bestOf(table, destination);
    const attributes = path === 0 ? 0 : this.exporter.send(table, path);
    this.#settle(destination, 0, attributes, attributes === 0 ? 0 : this.#sourceOf(path), batch);
  }

  #comparePaths(destination: number, batch: UpdateBatch): void {
    const table = this.#table;
    const wanted = new Set<number>();
    for (const path of this.candidates(destination)) {
      const attributes = this.exporter.send(table, path);
      if (attributes === 0) continue;
      const ordinal = table.ordinal[path] as number;
      wanted.add(ordinal);
      this.#settle(destination, ordinal, attributes, this.#sourceOf(path), batch);
    }
    const { sent } = this;
    for (let entry = sent.firstOf(destination); entry !== 0; ) {
      const next = sent.next[entry] as number;
      const ordinal = sent.ordinal[entry] as number;
      if (!wanted.has(ordinal)) this.#settle(destination, ordinal, 0, 0, batch);
      entry = next;
    }
  }

  /** Who is not told of a path. */
  #sourceOf(path: number): number {
    return this.exporter.tellsSource ? LOCAL : (this.#table.peer[path] as number);
  }

  #settle(destination: number, ordinal: number, attributes: number, from: number, batch: UpdateBatch): void {
    const { sent } = this;
    const entry = sent.find(destination, ordinal);
    if (entry === 0) {
      if (attributes === 0) return;
      this.#pages.changed(destination);
      sent.add(destination, ordinal, attributes, from);
      batch.announce(destination, ordinal, attributes, from);
      return;
    }
    this.#pages.changed(destination);
    const before = sent.attributes[entry] as number;
    const fromBefore = sent.from[entry] as number;
    if (attributes === 0) {
      batch.withdraw(destination, ordinal, before);
      sent.remove(destination, entry);
    } else if (before !== attributes || fromBefore !== from) {
      sent.replace(entry, attributes, from);
      batch.announce(destination, ordinal, attributes, from);
      // The peer whose route is now the best one must forget what it was told before.
      if (from !== fromBefore && this.members.has(from))
        batch.withdrawFrom(from, destination, ordinal, before);
    }
  }

  /** Takes a member off the log; what it has not read of it is owed. */
  #detach(member: Member): Bits {
    if (member.owed !== undefined) return member.owed;
    const owed = new Bits(PREFIX_LIMIT);
    for (let position = member.position; position < this.#log.end; position++) {
      for (const destination of this.#log.at(position)?.destinations ?? []) owed.add(destination);
    }
    member.owed = owed;
    this.#owed.add(owed);
    return owed;
  }

  #trim(): void {
    if (this.#log.end === this.#log.start) return;
    const oldest = this.#log.at(this.#log.start);
    const late = oldest !== undefined && this.#parts.now() - oldest.time > LAG_LIMIT;
    if (late || this.#log.bytes > LOG_LIMIT) {
      for (const member of this.#order) {
        if (member.owed === undefined && member.position === this.#log.start) this.#detach(member);
      }
    }
    let position = this.#log.end;
    for (const member of this.#order) {
      if (member.owed === undefined) position = Math.min(position, member.position);
    }
    this.#log.trim(position);
  }
}
