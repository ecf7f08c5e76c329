import assert from 'node:assert/strict';
import { formatIP, type IP, type IPv4, parseIPv4 } from '../../address/ip.ts';
import { formatPrefix, parsePrefix } from '../../address/prefix.ts';
import { DEFAULT_POLICY } from '../policy/policy.ts';
import { type Attribute, findAttribute } from '../wire/attribute.ts';
import { encodeUpdate } from '../wire/encodeUpdate.ts';
import { IPV4_UNICAST } from '../wire/family.ts';
import type { Nlri, UnicastNlri } from '../wire/nlri.ts';
import { scanUpdate } from '../wire/scan.ts';
import { decodeUpdate, type Update, type UpdateContext } from '../wire/update.ts';
import type { PeerSink, RibPeer, RibSession } from './peer.ts';
import type { Clock, Rib } from './rib.ts';

/** Time that passes only when somebody works, and turns that come only when asked for. */
export class VirtualClock implements Clock {
  #now = 0;
  #turns: (() => void)[] = [];
  #timers = new Set<{ at: number; task: () => void }>();
  /** What every look at the clock costs: decides how much is done in one turn. */
  cost = 0.01;

  now(): number {
    this.#now += this.cost;
    return this.#now;
  }

  soon(task: () => void): void {
    this.#turns.push(task);
  }

  after(milliseconds: number, task: () => void): () => void {
    const timer = { at: this.#now + milliseconds, task };
    this.#timers.add(timer);
    return () => this.#timers.delete(timer);
  }

  /** One turn of the event loop. */
  turn(): void {
    const turns = this.#turns;
    this.#turns = [];
    for (const task of turns) task();
  }

  /** Turns until nothing is left but timers further away than `patience` milliseconds. */
  settle(patience = 100): void {
    for (let count = 0; count < 100_000; count++) {
      if (this.#turns.length > 0) this.turn();
      else if (!this.#fire(patience)) return;
    }
    throw new Error('The RIB does not come to rest');
  }

  advance(milliseconds: number): void {
    const until = this.#now + milliseconds;
    this.settle();
    while (this.#fire(until - this.#now)) this.settle();
    this.#now = Math.max(this.#now, until);
  }

  #fire(patience: number): boolean {
    const next = [...this.#timers].sort((a, b) => a.at - b.at)[0];
    if (next === undefined || next.at > this.#now + patience) return false;
    this.#timers.delete(next);
    this.#now = Math.max(this.#now, next.at);
    next.task();
    return true;
  }
}

export function ribPeer(name: string, changes: Partial<RibPeer> = {}): RibPeer {
  const number = Number.parseInt(name.replace(/\D/g, ''), 10) || 1;
  const type = changes.type ?? 'ebgp';
  return {
    name,
    type,
    address: parseIPv4(`10.0.0.${number}`),
    localAddress: parseIPv4('10.0.0.254'),
    remoteAs: type === 'ibgp' ? 64512 : 65000 + number,
    localAs: 64512,
    identifier: parseIPv4(`10.0.0.${number}`),
    reflectorClient: false,
    fourOctetAs: true,
    maxMessageSize: 4096,
    longLivedGracefulRestart: false,
    families: [
      {
        family: IPV4_UNICAST,
        addPathReceive: false,
        addPathSend: false,
        extendedNextHop: false,
        preserved: false,
      },
    ],
    policy: DEFAULT_POLICY,
    ...changes,
  };
}

/** A neighbour that speaks in whole messages and remembers what it was told, as a real one would. */
export class Neighbour implements PeerSink {
  readonly peer: RibPeer;
  session: RibSession | undefined;
  /** `prefix` or `prefix#id` to the attributes it was announced with. */
  readonly told = new Map<string, readonly Attribute[]>();
  readonly messages: Buffer[] = [];
  readonly limits: string[] = [];
  endOfRibs = 0;
  /** The sink is full: the RIB must not write until told. */
  full = false;
  #saidFull = false;
  #excess = 0;
  #refreshing: Set<string> | undefined;

  constructor(peer: RibPeer) {
    this.peer = peer;
  }

  up(rib: Rib, changes: Partial<RibPeer> = {}): this {
    this.told.clear();
    this.#saidFull = false;
    this.full = false;
    this.session = rib.peerUp({ ...this.peer, ...changes }, this);
    return this;
  }

  write(bytes: Uint8Array): boolean {
    if (this.#saidFull) this.#excess += bytes.length;
    assert.ok(this.#excess < 1 << 18, 'a full sink is left alone');
    for (let at = 0; at < bytes.length; ) {
      const length = ((bytes[at + 16] as number) << 8) | (bytes[at + 17] as number);
      assert.ok(length >= 19 && at + length <= bytes.length, 'messages are whole');
      this.#hear(Buffer.from(bytes.subarray(at, at + length)));
      at += length;
    }
    this.#saidFull = this.full;
    return !this.full;
  }

  drain(): void {
    this.full = false;
    this.#saidFull = false;
    this.#excess = 0;
    this.session?.drained();
  }

  prefixLimit(family: number, count: number, mark: 'warning' | 'exceeded'): void {
    this.limits.push(`${family} ${count} ${mark}`);
  }

  /** Sends an UPDATE to the RIB, by way of its encoding. */
  say(update: Partial<Update>): void {
    const whole: Update = { type: 'UPDATE', withdrawn: [], attributes: [], nlri: [], ...update };
    for (const bytes of encodeUpdate(whole, this.#context('addPathReceive'))) {
      const scan = scanUpdate(bytes, this.#context('addPathReceive'));
      assert.equal(scan.action, undefined);
      this.session?.update(scan);
    }
  }

  announce(prefixes: readonly string[], attributes: readonly Attribute[], pathId?: number): void {
    this.say({ attributes, nlri: prefixes.map((prefix) => nlriOf(prefix, pathId)) });
  }

  withdraw(prefixes: readonly string[], pathId?: number): void {
    this.say({ withdrawn: prefixes.map((prefix) => nlriOf(prefix, pathId)) });
  }

  #hear(message: Buffer): void {
    this.messages.push(message);
    if (message[18] === 5) this.#hearRefresh(message[21] ?? 0);
    else this.#hearUpdate(message);
  }

  #hearUpdate(message: Buffer): void {
    assert.ok(message.length <= this.peer.maxMessageSize);
    const { update, action, endOfRib } = decodeUpdate(message, this.#context('addPathSend'));
    assert.equal(action, undefined);
    assert.ok(update);
    if (endOfRib !== undefined) this.endOfRibs++;
    const unreach = findAttribute(update.attributes, 'MP_UNREACH_NLRI')?.nlri ?? [];
    for (const nlri of [...update.withdrawn, ...unreach]) this.told.delete(keyOf(nlri));
    const reach = findAttribute(update.attributes, 'MP_REACH_NLRI');
    const rest = update.attributes.filter(({ type }) => type !== 'MP_UNREACH_NLRI');
    for (const nlri of [...update.nlri, ...(reach?.nlri ?? [])]) {
      this.told.set(keyOf(nlri), rest);
      this.#refreshing?.delete(keyOf(nlri));
    }
  }

  #hearRefresh(subtype: number): void {
    if (subtype === 1) this.#refreshing = new Set(this.told.keys());
    for (const key of this.#refreshing ?? []) if (subtype === 2) this.told.delete(key);
  }

  #context(direction: 'addPathReceive' | 'addPathSend'): UpdateContext {
    const { type, fourOctetAs, families } = this.peer;
    const having = (flag: 'addPathReceive' | 'addPathSend' | 'extendedNextHop') =>
      new Set(families.filter((one) => one[flag]).map(({ family }) => family));
    return {
      session: type,
      asn4: fourOctetAs,
      addPath: having(direction),
      extendedNextHop: having('extendedNextHop'),
    };
  }
}

export function nlriOf(prefix: string, pathId?: number): UnicastNlri {
  return { kind: 'prefix', prefix: parsePrefix(prefix), ...(pathId !== undefined && { pathId }) };
}

function keyOf(nlri: Nlri): string {
  const id = 'pathId' in nlri && nlri.pathId !== undefined ? `#${nlri.pathId}` : '';
  if (nlri.kind === 'prefix') return `${formatPrefix(nlri.prefix)}${id}`;
  // What identifies a route: labels and the like belong to what is said about it.
  const {
    labels: _labels,
    label: _label,
    segment: _segment,
    ...key
  } = nlri as Nlri & Record<string, unknown>;
  const text = JSON.stringify(key, (_key, value) => (typeof value === 'bigint' ? `${value}` : value));
  return `${text}${id}`;
}

export interface Simple {
  readonly path?: readonly number[];
  readonly nextHop?: string;
  readonly med?: number;
  readonly localPreference?: number;
  readonly communities?: readonly number[];
  readonly origin?: 'IGP' | 'EGP' | 'INCOMPLETE';
  readonly originator?: IPv4;
  readonly clusters?: readonly IPv4[];
}

/** Attributes of an IPv4 route, from the few that a test cares about. */
export function attributesOf(simple: Simple): Attribute[] {
  const { path = [], nextHop = '10.0.0.1', origin = 'IGP' } = simple;
  const attributes: Attribute[] = [
    { type: 'ORIGIN', origin },
    { type: 'AS_PATH', segments: path.length > 0 ? [{ type: 'AS_SEQUENCE', asns: path }] : [] },
    { type: 'NEXT_HOP', address: parseIPv4(nextHop) },
  ];
  if (simple.med !== undefined) attributes.push({ type: 'MULTI_EXIT_DISC', value: simple.med });
  if (simple.localPreference !== undefined) {
    attributes.push({ type: 'LOCAL_PREF', value: simple.localPreference });
  }
  if (simple.communities?.length) {
    attributes.push({ type: 'COMMUNITIES', communities: simple.communities });
  }
  if (simple.originator !== undefined) {
    attributes.push({ type: 'ORIGINATOR_ID', identifier: simple.originator });
  }
  if (simple.clusters?.length) attributes.push({ type: 'CLUSTER_LIST', clusters: simple.clusters });
  return attributes;
}

/** The other way round, as text that compares. */
export function summaryOf(attributes: readonly Attribute[]): string {
  const pathOf = (type: 'AS_PATH' | 'AS4_PATH') =>
    findAttribute(attributes, type)?.segments.flatMap(({ asns }) => asns) ?? [];
  const tail = pathOf('AS4_PATH');
  const path = [...pathOf('AS_PATH').slice(0, pathOf('AS_PATH').length - tail.length), ...tail];
  const nextHop: IP | undefined = findAttribute(attributes, 'NEXT_HOP')?.address;
  return JSON.stringify({
    path,
    nextHop: nextHop === undefined ? undefined : formatIP(nextHop),
    origin: findAttribute(attributes, 'ORIGIN')?.origin,
    med: findAttribute(attributes, 'MULTI_EXIT_DISC')?.value,
    localPreference: findAttribute(attributes, 'LOCAL_PREF')?.value,
    communities: findAttribute(attributes, 'COMMUNITIES')?.communities ?? [],
    originator: findAttribute(attributes, 'ORIGINATOR_ID')?.identifier,
    clusters: findAttribute(attributes, 'CLUSTER_LIST')?.clusters ?? [],
  });
}
