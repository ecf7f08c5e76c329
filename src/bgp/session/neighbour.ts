import { unreachable } from '../../errors.ts';
import { changedFields, changesBetween } from '../config/diff.ts';
import type { NeighbourConfig } from '../config/router.ts';
import type { DownReason, StateName } from '../fsm/connection.ts';
import {
  disabledPeer,
  foremost,
  type Peer,
  type PeerEffect,
  type PeerEvent,
  type PeerOptions,
  peerDeadline,
  stepPeer,
} from '../fsm/peer.ts';
import { FullError } from '../rib/full.ts';
import type { MessageError } from '../wire/error.ts';
import { type AfiSafi, familyName } from '../wire/family.ts';
import type { MessageType } from '../wire/frame.ts';
import { encodeMessage, KEEPALIVE } from '../wire/message.ts';
import {
  CEASE_SUBCODE,
  cease,
  decodeNotification,
  hardReset,
  maximumPrefixes,
  type Notification,
} from '../wire/notification.ts';
import { decodeOpen, type Open } from '../wire/open.ts';
import { Alarm } from './alarm.ts';
import { noMessages } from './counters.ts';
import { isWorthTelling, type LastReset } from './lastReset.ts';
import { type Agreement, agree, offer, summaryOf } from './negotiate.ts';
import { retentionAfter } from './retention.ts';
import { Session } from './session.ts';
import type { Surroundings } from './surroundings.ts';
import type { Transport, TransportEvents } from './transport.ts';

/** A neighbour stays away this long, in ms, after it has sent more than it may, or than there is room for. */
const EXCESS_PAUSE = 60_000;

/**
 * Between two attempts, in ms, to reach a peer that restarts: it may forget our routes as soon as the peers that it knows are back,
 * and a leaf with dynamic neighbours knows of none.
 */
const RESTART_RETRY = 1_000;

const NOTHING = Buffer.alloc(0);

/** One connection as the neighbour sees it. */
interface Link {
  readonly transport: Transport;
  sent: Open | undefined;
  agreement: Agreement | undefined;
  receivedOpen: Buffer;
}

/** A neighbour at work: feeds its state machine with what sockets and the clock say, and does what it decides. */
export class Neighbour {
  config: NeighbourConfig;
  readonly counters = { established: 0, received: noMessages(), sent: noMessages() };
  lastReset: LastReset | undefined;
  /** When the session came up, or the last one ended. */
  since: number;
  session: Session | undefined;

  readonly #around: Surroundings;
  readonly #links = new Map<number, Link>();
  #peer: Peer = disabledPeer;
  #incoming: ((events: TransportEvents) => Transport) | undefined;
  /** Why a connection is being ended, beyond what its NOTIFICATION says. */
  #detail: { readonly id: number | undefined; readonly text: string } | undefined;
  /** Until when a peer that restarts is waited for; 0: it does not. */
  #awaitedUntil = 0;
  readonly #alarm: Alarm;
  readonly #events: PeerEvent[] = [];
  #stepping = false;

  constructor(config: NeighbourConfig, around: Surroundings) {
    this.config = config;
    this.#around = around;
    this.since = around.clock.now();
    this.#alarm = new Alarm(around.clock, () => this.#tick());
  }

  get state(): StateName {
    return foremost(this.#peer)?.state.name ?? 'Idle';
  }

  get peer(): Peer {
    return this.#peer;
  }

  start(): void {
    if (this.config.shutdown === undefined) this.#feed({ type: 'enable' });
  }

  /**
   * Ends the session. With a NOTIFICATION the peer forgets our routes at once, without one it keeps them for a
   * graceful restart.
   */
  stop(notification: Notification | undefined): void {
    this.#feed({ type: 'disable', notification: notification && this.#final(notification) });
  }

  /** Ends the session and begins anew. */
  reset(notification: Notification, pause = 0): void {
    this.#feed({ type: 'reset', notification, pause });
  }

  /** The peer has connected. `open` makes the connection ours; if it is not called the socket is not wanted. */
  accept(open: (events: TransportEvents) => Transport): boolean {
    this.#incoming = open;
    this.#feed({ type: 'accepted' });
    const taken = this.#incoming === undefined;
    this.#incoming = undefined;
    return taken;
  }

  /** Takes a new configuration, and resets the session only if it must. */
  configure(config: NeighbourConfig): void {
    const before = this.config;
    const changes = changesBetween(before, config);
    this.config = config;
    if (changes.includes('policy')) this.session?.configure(config);
    const dialsAnew = before.passive !== config.passive && this.session === undefined;
    if (!changes.includes('reset') && !dialsAnew) return;
    const fields = changedFields(before, config).join(', ');
    this.#around.log.info('neighbour is reset for its configuration', { neighbour: config.name, fields });
    if (config.shutdown !== undefined) {
      this.stop(cease(CEASE_SUBCODE.administrativeShutdown, config.shutdown));
    } else if (!this.#peer.enabled) this.start();
    else this.#feed({ type: 'reset', notification: cease(CEASE_SUBCODE.configurationChange), pause: 0 });
  }

  /** Asks the peer to send its routes again. @returns Whether it can. */
  refresh(family: AfiSafi): boolean {
    return this.session?.requestRefresh(family) ?? false;
  }

  /** Every transport there is, for a new key. */
  transports(): Transport[] {
    return [...this.#links.values()].map(({ transport }) => transport);
  }

  #feed(event: PeerEvent): void {
    this.#events.push(event);
    if (this.#stepping) return;
    this.#stepping = true;
    const connected = this.#links.size > 0;
    try {
      for (let next = this.#events.shift(); next !== undefined; next = this.#events.shift()) {
        const at = { now: this.#around.clock.now(), random: this.#around.random() };
        const { peer, effects } = stepPeer(this.#peer, next, at, this.#options());
        this.#peer = peer;
        for (const effect of effects) this.#perform(effect);
      }
    } finally {
      this.#stepping = false;
    }
    this.#alarm.set(peerDeadline(this.#peer));
    if (connected && this.#links.size === 0) {
      this.#around.report({ type: 'idle', neighbour: this.config.name });
    }
  }

  #options(): PeerOptions {
    const { config } = this;
    const retryTime = config.connectRetryTime * 1000;
    const awaited = this.#around.clock.now() < this.#awaitedUntil;
    return {
      connectRetryTime: awaited ? Math.min(RESTART_RETRY, retryTime) : retryTime,
      passive: config.passive,
      delayOpenTime: config.delayOpenTime * 1000,
      ...(config.keepaliveTime !== undefined && { keepaliveTime: config.keepaliveTime * 1000 }),
      ...(config.sendHoldTime !== undefined && { sendHoldTime: config.sendHoldTime * 1000 }),
      local: { identifier: this.#around.speaker().identifier, asn: config.localAs },
    };
  }

  #perform(effect: PeerEffect): void {
    switch (effect.type) {
      case 'refuse':
        break;
      case 'adopt':
        this.#adopt(effect.id);
        break;
      case 'connect':
        this.#dial(effect.id);
        break;
      case 'sendOpen':
        this.#sendOpen(effect.id);
        break;
      case 'sendKeepalive':
        this.#send(effect.id, 'KEEPALIVE', KEEPALIVE);
        break;
      case 'sendNotification':
        this.#send(effect.id, 'NOTIFICATION', encodeMessage(effect.notification));
        break;
      case 'close':
        this.#links.get(effect.id)?.transport.close(effect.how);
        this.#links.delete(effect.id);
        break;
      case 'established':
        this.#established(effect.id);
        break;
      case 'down':
        this.#down(effect.id, effect.reason, effect.wasEstablished);
        break;
      default:
        unreachable(effect);
    }
  }

  #adopt(id: number): void {
    const open = this.#incoming;
    if (open === undefined) return;
    this.#incoming = undefined;
    this.#links.set(id, {
      transport: open(this.#eventsOf(id)),
      sent: undefined,
      agreement: undefined,
      receivedOpen: NOTHING,
    });
  }

  #dial(id: number): void {
    try {
      const transport = this.#around.dial(this.config, this.#eventsOf(id));
      this.#links.set(id, { transport, sent: undefined, agreement: undefined, receivedOpen: NOTHING });
    } catch (error) {
      const text = error instanceof Error ? error.message : String(error);
      this.#around.log.warning('cannot dial', { neighbour: this.config.name, error });
      this.#feed({ type: 'on', id, event: { type: 'disconnected', error: text } });
    }
  }

  #sendOpen(id: number): void {
    const link = this.#links.get(id);
    if (link === undefined) return;
    link.sent = offer(this.config, this.#around.speaker());
    this.#send(id, 'OPEN', encodeMessage(link.sent));
  }

  #send(id: number, type: MessageType, bytes: Buffer): void {
    this.counters.sent[type]++;
    this.#links.get(id)?.transport.writeUrgent(bytes);
  }

  #eventsOf(id: number): TransportEvents {
    return {
      connected: () => this.#feed({ type: 'on', id, event: { type: 'connected' } }),
      message: (message, type) => this.#receive(id, message, type),
      broken: (error) => this.#malformed(id, error),
      settled: () => {
        if (this.session?.id === id && this.session.heard()) {
          this.#feed({ type: 'on', id, event: { type: 'update' } });
        }
      },
      sent: () => this.#feed({ type: 'on', id, event: { type: 'sent' } }),
      room: () => {
        if (this.session?.id === id) this.session.drained();
      },
      closed: (error) => this.#feed({ type: 'on', id, event: { type: 'disconnected', error } }),
    };
  }

  /** @throws {MessageError} Of the message, for `broken`. */
  #receive(id: number, message: Buffer, type: MessageType): void {
    this.counters.received[type]++;
    if (type === 'OPEN') this.#receiveOpen(id, decodeOpen(message), Buffer.from(message));
    else if (type === 'KEEPALIVE') this.#feed({ type: 'on', id, event: { type: 'keepalive' } });
    else if (type === 'NOTIFICATION') {
      const notification = decodeNotification(message);
      this.#feed({ type: 'on', id, event: { type: 'notification', notification } });
    } else if (this.session?.id !== id) this.#feed({ type: 'on', id, event: { type: 'update' } });
    else if (type === 'UPDATE') this.#withinRoom(id, () => this.session?.update(message));
    else this.session.routeRefresh(message);
  }

  #receiveOpen(id: number, received: Open, bytes: Buffer): void {
    const link = this.#links.get(id);
    if (link === undefined) return;
    const sent = link.sent ?? offer(this.config, this.#around.speaker());
    link.agreement = agree(this.config, sent, received);
    link.receivedOpen = bytes;
    this.#feed({ type: 'open', id, open: summaryOf(link.agreement) });
  }

  #malformed(id: number, error: MessageError): void {
    this.#detail = { id, text: error.message };
    const { code, subcode, data } = error;
    const notification: Notification = { type: 'NOTIFICATION', code, subcode, data };
    this.#feed({ type: 'on', id, event: { type: 'malformed', notification } });
  }

  #established(id: number): void {
    const link = this.#links.get(id);
    if (link?.agreement === undefined) return;
    const { clock, rib, log } = this.#around;
    this.since = clock.now();
    this.counters.established++;
    link.transport.maxMessageSize = link.agreement.maxMessageSize;
    const { agreement, transport, receivedOpen } = link;
    this.#withinRoom(id, () => {
      this.session = new Session(id, this.config, agreement, transport, receivedOpen, {
        rib,
        log,
        now: () => clock.now(),
        counters: this.counters,
        limit: (family, count, mark) => this.#prefixLimit(family, count, mark),
        endOfRib: (family) => this.#around.report({ type: 'endOfRib', neighbour: this.config.name, family }),
        sent: (bytes) => this.#around.sent?.(this.config.name, bytes),
      });
    });
    this.#around.report({ type: 'established', neighbour: this.config.name, agreement });
  }

  #down(id: number, reason: DownReason, wasEstablished: boolean): void {
    const { clock, report } = this.#around;
    const detail = this.#detail?.id === id ? this.#detail.text : undefined;
    if (detail !== undefined) this.#detail = undefined;
    if (wasEstablished || isWorthTelling(reason, this.lastReset)) {
      this.lastReset = { reason, at: clock.now(), ...(detail !== undefined && { detail }) };
    }
    if (!wasEstablished || this.session?.id !== id) return;
    const { agreement } = this.session;
    const retention = retentionAfter(reason, agreement);
    this.session.down(retention);
    const restartTime = retention.kind === 'none' ? 0 : (agreement.restart?.restartTime ?? 0);
    this.#awaitedUntil = clock.now() + restartTime * 1000;
    this.session = undefined;
    this.since = clock.now();
    report({ type: 'down', neighbour: this.config.name, reason, restarts: retention.kind !== 'none' });
  }

  #prefixLimit(family: AfiSafi, count: number, mark: 'warning' | 'exceeded'): void {
    const { name, prefixLimitAction } = this.config;
    this.#around.report({ type: 'prefixLimit', neighbour: name, family, count, mark });
    if (mark === 'warning' || prefixLimitAction === 'warn') return;
    const detail = `${count} prefixes of ${familyName(family)} are more than allowed`;
    const notification = maximumPrefixes(family, this.config.policy.prefixLimit?.limit ?? 0);
    this.#sendAway(this.session?.id, notification, detail);
  }

  /** Does what a peer has asked for; if a table of ours is full, that peer's session pays for it and no other. */
  #withinRoom(id: number, action: () => void): void {
    try {
      action();
    } catch (error) {
      if (!(error instanceof FullError)) throw error;
      this.#around.log.error('out of resources', { neighbour: this.config.name, error });
      this.#sendAway(id, cease(CEASE_SUBCODE.outOfResources), error.message);
    }
  }

  #sendAway(id: number | undefined, notification: Notification, text: string): void {
    this.#detail = { id, text };
    this.#feed({ type: 'reset', notification: this.#final(notification), pause: EXCESS_PAUSE });
  }

  /** A NOTIFICATION after which the peer must not wait for us, whatever was agreed about restarts (RFC 8538). */
  #final(notification: Notification): Notification {
    return this.session?.agreement.restart?.notification ? hardReset(notification) : notification;
  }

  /** What the peer has sent meanwhile is read before time is held against it. */
  #tick(): void {
    for (const [id, { transport }] of this.#links) {
      if (transport.unread) this.#feed({ type: 'on', id, event: { type: 'update' } });
    }
    this.#feed({ type: 'tick' });
  }
}
