/**
 * One neighbour: up to a few connections, of which one may become the session. Both sides may dial at the same
 * moment, and a peer that restarts comes back while we still believe in its old connection; which
 * connection lives is decided here, above the connections' own state machines.
 */
import { unreachable } from '../../errors.ts';
import { CEASE, CEASE_SUBCODE, cease, type Notification } from '../wire/notification.ts';
import { afterError, type Backoff, noBackoff } from './backoff.ts';
import * as connection from './connection.ts';
import { type DownReason, deadlineOf, type State } from './connection.ts';
import { earliest, isDue, jittered, LARGE_HOLD_TIME, type Moment, type TimerOptions } from './timers.ts';

/** What an OPEN says that matters for which connection is kept. */
export interface OpenSummary {
  /** The peer's BGP Identifier, as an unsigned number. */
  readonly identifier: number;
  readonly asn: number;
  /** The hold time both sides agree on, in ms. */
  readonly holdTime: number;
  /** The peer keeps forwarding while it restarts: the OPEN carries a Graceful Restart capability with families. */
  readonly restartable: boolean;
}

export interface Connection {
  /** Unique within the neighbour, never used again. */
  readonly id: number;
  /** Who dialled. */
  readonly origin: 'local' | 'remote';
  readonly bornAt: number;
  readonly state: State;
  readonly open: OpenSummary | undefined;
}

export interface Peer {
  readonly enabled: boolean;
  readonly connections: readonly Connection[];
  readonly nextId: number;
  readonly backoff: Backoff;
  /** Until then incoming connections are refused too: the last ones ended in protocol errors. */
  readonly dampedUntil: number;
}

export type PeerEvent =
  | { readonly type: 'enable' }
  /** Ends everything, with this NOTIFICATION or without a word. */
  | { readonly type: 'disable'; readonly notification: Notification | undefined }
  /** Ends what there is, forgets earlier errors, and begins anew after `pause` ms; until then nobody is let in. */
  | { readonly type: 'reset'; readonly notification: Notification; readonly pause: number }
  /** The peer has connected to us. The connection gets the id in the answering `adopt` effect. */
  | { readonly type: 'accepted' }
  | { readonly type: 'tick' }
  /** A valid OPEN on a connection. */
  | { readonly type: 'open'; readonly id: number; readonly open: OpenSummary }
  | { readonly type: 'on'; readonly id: number; readonly event: ConnectionEvent };

/** What a connection itself reports. */
export type ConnectionEvent = Extract<
  connection.Event,
  { type: 'connected' | 'disconnected' | 'malformed' | 'notification' | 'keepalive' | 'update' | 'sent' }
>;

export type PeerEffect =
  /** The accepted connection is this one from now on. */
  | { readonly type: 'adopt'; readonly id: number }
  /** The accepted connection is unwanted: close it. */
  | { readonly type: 'refuse' }
  | ({ readonly id: number } & connection.Effect);

export interface PeerOptions extends TimerOptions {
  readonly local: { readonly identifier: number; readonly asn: number };
}

export interface PeerStep {
  readonly peer: Peer;
  readonly effects: readonly PeerEffect[];
}

export const disabledPeer: Peer = {
  enabled: false,
  connections: [],
  nextId: 1,
  backoff: noBackoff,
  dampedUntil: Number.NEGATIVE_INFINITY,
};

/** A session lost without an error is taken up again after this time, in ms, jittered. */
const RESUME_DELAY = 1_000;

/**
 * A peer that connects within this time of the session's birth, in ms, has not restarted: its SYN was on
 * the way when we became Established.
 */
const COLLISION_WINDOW = 2_000;

const collision = cease(CEASE_SUBCODE.collision);

/** The connection that is furthest on the way to a session; its state is the neighbour's. */
export function foremost(peer: Peer): Connection | undefined {
  return peer.connections.reduce<Connection | undefined>(
    (best, next) => (best === undefined || rank(next) > rank(best) ? next : best),
    undefined,
  );
}

/** The next moment at which the neighbour wants a `tick`. */
export function peerDeadline(peer: Peer): number | undefined {
  return earliest(...peer.connections.map(({ state }) => deadlineOf(state)));
}

/** One step of the neighbour. Never throws. */
export function stepPeer(peer: Peer, event: PeerEvent, at: Moment, options: PeerOptions): PeerStep {
  const run = new Run(peer, at, options);
  run.handle(event);
  return { peer: run.peer, effects: run.effects };
}

function rank({ state }: Connection): number {
  return ['Idle', 'Connect', 'Active', 'OpenSent', 'OpenConfirm', 'Established'].indexOf(state.name);
}

const OPEN_CONFIRM = 4;

/** A step under way: the peer as it is so far, and what has been decided. */
class Run {
  peer: Peer;
  readonly effects: PeerEffect[] = [];
  readonly #at: Moment;
  readonly #options: PeerOptions;
  /** How long the next attempt of our own has to wait, in ms. */
  #delay = 0;

  constructor(peer: Peer, at: Moment, options: PeerOptions) {
    this.peer = peer;
    this.#at = at;
    this.#options = options;
  }

  handle(event: PeerEvent): void {
    switch (event.type) {
      case 'enable':
        this.peer = { ...this.peer, enabled: true };
        break;
      case 'disable':
        this.peer = { ...this.peer, enabled: false };
        this.#stopAll(event.notification);
        break;
      case 'reset':
        this.#stopAll(event.notification);
        this.peer = { ...this.peer, backoff: noBackoff, dampedUntil: this.#at.now + event.pause };
        this.#delay = event.pause;
        break;
      case 'accepted':
        this.#accept();
        break;
      case 'tick':
        for (const { id } of this.peer.connections) this.#step(id, { type: 'tick' });
        break;
      case 'open':
        this.#open(event.id, event.open);
        break;
      case 'on':
        this.#step(event.id, event.event);
        break;
      default:
        unreachable(event);
    }
    this.#keepTrying();
  }

  #find(id: number): Connection | undefined {
    return this.peer.connections.find((one) => one.id === id);
  }

  #others(id: number): readonly Connection[] {
    return this.peer.connections.filter((one) => one.id !== id);
  }

  #stopAll(notification: Notification | undefined): void {
    for (const { id } of this.peer.connections) this.#step(id, { type: 'stop', notification });
    this.peer = { ...this.peer, connections: [] };
  }

  #add(origin: Connection['origin'], state: State): Connection {
    const id = this.peer.nextId;
    const added: Connection = { id, origin, bornAt: this.#at.now, state, open: undefined };
    this.peer = { ...this.peer, nextId: id + 1, connections: [...this.peer.connections, added] };
    return added;
  }

  #accept(): void {
    const damped = this.#at.now < this.peer.dampedUntil;
    const rivals = this.peer.connections.filter(({ origin }) => origin === 'remote');
    if (!this.peer.enabled || damped || rivals.some(({ state }) => state.name === 'OpenConfirm')) {
      this.effects.push({ type: 'refuse' });
      return;
    }
    const { id } = this.#add('remote', { name: 'Active', wait: { for: 'tcp', retryAt: undefined } });
    this.effects.push({ type: 'adopt', id });
    // A peer that dials again has given up its earlier attempt, whether or not its FIN has reached us.
    for (const rival of rivals) {
      if (rank(rival) < OPEN_CONFIRM) this.#step(rival.id, { type: 'superseded' });
    }
    this.#step(id, { type: 'connected' });
  }

  /** Connection collision detection (RFC 4271 §6.8, RFC 6286), then the OPEN itself. */
  #open(id: number, open: OpenSummary): void {
    const opened = this.#find(id);
    if (opened === undefined) return;
    for (const other of this.#others(id)) {
      if (this.#prevails(opened, open, other)) continue;
      this.#step(id, { type: 'stop', notification: collision });
      return;
    }
    this.#update(id, { open });
    this.#step(id, { type: 'open', holdTime: open.holdTime });
  }

  /** Whether the connection an OPEN has come on outlives `other`, which is ended in that case if it must be. */
  #prevails(opened: Connection, open: OpenSummary, other: Connection): boolean {
    switch (other.state.name) {
      case 'Idle':
      case 'Connect':
      case 'Active':
        this.#step(other.id, { type: 'stop', notification: undefined });
        return true;
      case 'OpenSent': {
        // §6.8 lets us look at this state too, now that the identifier is known. Deciding at once keeps the two sides
        // from confirming one connection each; but one that has been silent for long is not worth a session.
        const age = this.#at.now + LARGE_HOLD_TIME - other.state.holdAt;
        return age > COLLISION_WINDOW || this.#dominant(open) === opened.origin;
      }
      case 'OpenConfirm':
        if (this.#dominant(open) !== opened.origin) return false;
        this.#step(other.id, { type: 'stop', notification: collision });
        return true;
      case 'Established': {
        const later = opened.bornAt - other.state.since > COLLISION_WINDOW;
        if (opened.origin === 'remote' && later && other.open?.restartable) {
          this.#step(other.id, { type: 'superseded' });
          return true;
        }
        // Where the peer has forgotten the session, its TCP answers this with a reset within a round trip.
        this.effects.push({ type: 'sendKeepalive', id: other.id });
        return false;
      }
      default:
        return unreachable(other.state);
    }
  }

  /** Whose connection is kept: that of the side with the higher identifier, or AS number if they are the same. */
  #dominant({ identifier, asn }: OpenSummary): Connection['origin'] {
    const { local } = this.#options;
    const peer = local.identifier < identifier || (local.identifier === identifier && local.asn < asn);
    return peer ? 'remote' : 'local';
  }

  #step(id: number, event: connection.Event): void {
    const before = this.#find(id);
    if (before === undefined) return;
    const { state, effects } = connection.step(before.state, event, this.#at, this.#options);
    this.#update(id, { state });
    for (const effect of effects) this.effects.push({ id, ...effect });
    if (state.name === 'Established' && before.state.name !== 'Established') {
      for (const other of this.#others(id)) this.#step(other.id, { type: 'stop', notification: collision });
    }
    const down = effects.find((effect) => effect.type === 'down');
    if (down?.type === 'down') this.#ended(id, down.reason, down.wasEstablished);
    else if (state.name === 'Idle' && state.startAt === undefined) this.#remove(id);
  }

  #update(id: number, change: Partial<Connection>): void {
    const connections = this.peer.connections.map((one) => (one.id === id ? { ...one, ...change } : one));
    this.peer = { ...this.peer, connections };
  }

  #remove(id: number): void {
    this.peer = { ...this.peer, connections: this.#others(id) };
  }

  #ended(id: number, reason: DownReason, wasEstablished: boolean): void {
    const ended = this.#find(id);
    if (ended?.origin === 'local' && ended.state.name === 'Active') return;
    this.#remove(id);
    if (isError(reason)) {
      const backoff = afterError(this.peer.backoff, this.#at.now);
      this.#delay = jittered(backoff.delay, this.#at);
      this.peer = { ...this.peer, backoff, dampedUntil: this.#at.now + this.#delay };
    } else {
      const { connectRetryTime } = this.#options;
      const time = wasEstablished ? Math.min(RESUME_DELAY, connectRetryTime) : connectRetryTime;
      this.#delay = Math.max(this.#delay, jittered(time, this.#at));
    }
  }

  /** While nothing is close to a session, one connection of our own is being brought up, or waited for. */
  #keepTrying(): void {
    const busy = this.peer.connections.some((one) => one.origin === 'local' || rank(one) >= OPEN_CONFIRM);
    if (!this.peer.enabled || busy) return;
    const startAt = this.#at.now + this.#delay;
    const { id } = this.#add('local', { name: 'Idle', startAt });
    if (isDue(startAt, this.#at)) this.#step(id, { type: 'start' });
  }
}

/**
 * Whether the end of a connection speaks of two speakers that cannot agree. A Cease does not: it is sent by
 * people and by routine (RFC 4486), and the way back must be short.
 */
function isError(reason: DownReason): boolean {
  if (reason.type === 'sendHoldTimerExpired') return true;
  if (reason.type !== 'notificationSent' && reason.type !== 'notificationReceived') return false;
  return reason.notification.code !== CEASE;
}
