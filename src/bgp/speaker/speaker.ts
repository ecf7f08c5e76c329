import { closeSync } from 'node:fs';
import { isDeepStrictEqual } from 'node:util';
import { formatIP, type IP } from '../../address/ip.ts';
import { contains, formatPrefix, hostPrefix } from '../../address/prefix.ts';
import { because } from '../../errors.ts';
import type { Log } from '../../log.ts';
import { sameSession } from '../config/diff.ts';
import type { NeighbourConfig, RangeConfig, RouterConfig, SessionConfig } from '../config/router.ts';
import type { Clock, Rib } from '../rib/rib.ts';
import { describeReset } from '../session/lastReset.ts';
import { scopeOf } from '../session/link.ts';
import { endpointText, type Key, Listener } from '../session/listener.ts';
import type { Speaker as Identity } from '../session/negotiate.ts';
import { Neighbour } from '../session/neighbour.ts';
import { type Accepted, openDialSocket, prepareAccepted, type Reach } from '../session/socket.ts';
import type { NeighbourEvent } from '../session/surroundings.ts';
import { Transport, type TransportEvents } from '../session/transport.ts';
import { Turns } from '../session/turns.ts';
import type { AfiSafi } from '../wire/family.ts';
import { CEASE_SUBCODE, cease } from '../wire/notification.ts';
import {
  beginDeferral,
  cameUp,
  type Deferral,
  forgotten,
  isOver,
  lost,
  nextCheck,
  saidEndOfRib,
} from './deferral.ts';
import { type Member, Members } from './members.ts';

export interface SpeakerOptions {
  readonly clock: Clock;
  random(): number;
  readonly rib: Rib;
  readonly log: Log;
  /** The speaker comes back from a restart that its peers may have bridged. */
  readonly restarting: boolean;
  /** Families that are forwarded now as they were before the restart. Asked whenever an OPEN is sent. */
  preserved(): ReadonlySet<AfiSafi>;
  report?(event: SpeakerEvent): void;
  /** Messages of a session are on their way. */
  sent?(neighbour: string, bytes: Uint8Array): void;
}

export type SpeakerEvent =
  | NeighbourEvent
  /** After a restart: the peers have said what they have to say, or time is up. */
  | { readonly type: 'converged' };

/** A BGP speaker: neighbours, listeners, and the RIB between them. */
export class Speaker {
  readonly #options: SpeakerOptions;
  readonly #turns: Turns;
  readonly #members = new Members();
  readonly #listeners = new Map<string, Listener>();
  #config: RouterConfig | undefined;
  #deferral: Deferral | undefined;
  #cancelCheck: () => void = () => {};
  #stopping = false;

  constructor(options: SpeakerOptions) {
    this.#options = options;
    this.#turns = new Turns(options.clock);
  }

  get config(): RouterConfig | undefined {
    return this.#config;
  }

  /** While it lasts, nothing is announced (RFC 4724 §4.1). */
  get deferring(): boolean {
    return this.#deferral !== undefined;
  }

  neighbours(): readonly Member[] {
    return [...this.#members];
  }

  neighbour(name: string): Neighbour | undefined {
    return this.#members.get(name)?.neighbour;
  }

  /**
   * Takes a configuration and does what follows from the difference to the one before, no more.
   *
   * @throws {Error} If a listening address cannot be had; everything else has been done by then.
   */
  configure(config: RouterConfig): void {
    const before = this.#config;
    this.#config = config;
    if (before === undefined && this.#options.restarting) this.#defer(config);
    if (before !== undefined) this.#identify(before, config);
    this.#configureNeighbours(config);
    this.#configureRanges(before, config);
    this.#originate(before, config);
    if (!isDeepStrictEqual(before?.exportRanges, config.exportRanges))
      this.#options.rib.guard(config.exportRanges);
    if (before?.draining !== config.draining) this.#options.rib.drain(config.draining);
    this.#listen(config);
  }

  /** Ends all sessions. `restart` leaves without a word, so that peers keep our routes until we are back. */
  async stop(how: 'restart' | 'shutdown', text = ''): Promise<void> {
    this.#stopping = true;
    this.#cancelCheck();
    for (const listener of this.#listeners.values()) listener.close();
    this.#listeners.clear();
    const farewell = how === 'restart' ? undefined : cease(CEASE_SUBCODE.administrativeShutdown, text);
    for (const { neighbour } of this.#members) neighbour.stop(farewell);
    this.#members.clear();
    // One turn for the NOTIFICATIONs to reach the kernel.
    await new Promise<void>((resolve) => this.#options.clock.soon(resolve));
  }

  #configureNeighbours({ neighbours }: RouterConfig): void {
    const wanted = new Map(neighbours.map((one) => [one.name, one]));
    for (const { neighbour, range } of this.#members) {
      const { name } = neighbour.config;
      if (range !== undefined || wanted.has(name)) continue;
      this.#members.remove(name);
      neighbour.stop(cease(CEASE_SUBCODE.peerDeconfigured));
      this.#options.rib.forget(name);
      if (this.#deferral) this.#progress(forgotten(this.#deferral, name));
    }
    for (const config of neighbours) {
      const member = this.#members.get(config.name);
      if (member?.range === undefined && member !== undefined) this.#reconfigure(member.neighbour, config);
      else {
        member?.neighbour.stop(cease(CEASE_SUBCODE.configurationChange));
        this.#add(config, undefined).start();
      }
    }
  }

  #reconfigure(neighbour: Neighbour, config: NeighbourConfig): void {
    // Mostly one of thousands has changed.
    if (isDeepStrictEqual(neighbour.config, config)) return;
    if (neighbour.config.password !== config.password) {
      for (const transport of neighbour.transports()) {
        transport.setKey(hostPrefix(config.address), config.password);
      }
    }
    neighbour.configure(config);
    this.#members.put(neighbour, undefined);
  }

  #configureRanges(before: RouterConfig | undefined, { ranges }: RouterConfig): void {
    for (const old of before?.ranges ?? []) {
      const now = ranges.find(({ name }) => name === old.name);
      const unchanged = now && formatPrefix(now.prefix) === formatPrefix(old.prefix) && sameSession(old, now);
      if (unchanged) continue;
      for (const { neighbour, range } of this.#members) {
        if (range !== old.name) continue;
        neighbour.stop(cease(now ? CEASE_SUBCODE.configurationChange : CEASE_SUBCODE.peerDeconfigured));
        this.#members.remove(neighbour.config.name);
      }
    }
  }

  #originate(before: RouterConfig | undefined, { originate }: RouterConfig): void {
    const { rib } = this.#options;
    const text = (route: RouterConfig['originate'][number]) => formatPrefix(route.prefix);
    const wanted = new Set(originate.map(text));
    const had = new Map((before?.originate ?? []).map((route) => [text(route), route]));
    for (const [name, { prefix }] of had) if (!wanted.has(name)) rib.withdraw(prefix);
    for (const route of originate) if (!isDeepStrictEqual(had.get(text(route)), route)) rib.originate(route);
  }

  #listen({ listen, neighbours, ranges }: RouterConfig): void {
    const wanted = new Map(listen.map((endpoint) => [endpointText(endpoint), endpoint]));
    for (const [text, listener] of this.#listeners) {
      if (wanted.has(text)) continue;
      listener.close();
      this.#listeners.delete(text);
    }
    const keys = [
      ...neighbours.flatMap(({ address, password }) => keyOf(hostPrefix(address), password)),
      ...ranges.flatMap(({ prefix, password }) => keyOf(prefix, password)),
    ];
    for (const [text, endpoint] of wanted) {
      const listener = this.#listeners.get(text) ?? this.#open(endpoint);
      this.#listeners.set(text, listener);
      listener.setKeys(keys);
    }
  }

  #open(endpoint: RouterConfig['listen'][number]): Listener {
    try {
      return new Listener(
        endpoint,
        (accepted) => this.#accept(accepted),
        (error) => this.#options.log.error('cannot accept a connection', { error }),
        this.#turns,
      );
    } catch (error) {
      throw because(`listen on ${endpointText(endpoint)}`, error);
    }
  }

  #accept(accepted: Accepted): void {
    const neighbour = this.#expected(accepted);
    if (neighbour === undefined) {
      this.#options.log.debug('refused a stranger', { peer: formatIP(accepted.peer) });
      closeSync(accepted.fd);
      return;
    }
    try {
      prepareAccepted(accepted.fd, accepted.peer, reachOf(neighbour.config));
    } catch (error) {
      this.#options.log.warning('cannot prepare a connection', { neighbour: neighbour.config.name, error });
      closeSync(accepted.fd);
      return;
    }
    const taken = neighbour.accept((events) => {
      const transport = new Transport(accepted.fd, this.#turns, events);
      transport.start();
      return transport;
    });
    if (!taken) closeSync(accepted.fd);
  }

  /** The neighbour that may connect from there; for a range's newcomer, one made for the purpose. */
  #expected({ peer, scope }: Accepted): Neighbour | undefined {
    const known = this.#members.at(peer).find(({ config: { interface: device } }) => {
      return scope === 0 || device === undefined || scopeOf(device) === scope;
    });
    if (known !== undefined) return known;
    const range = this.#config?.ranges
      .filter(({ prefix }) => contains(prefix, peer))
      .sort((a, b) => b.prefix.length - a.prefix.length)[0];
    if (range === undefined || this.#stopping) return undefined;
    if (this.#members.countOf(range.name) >= range.limit) {
      this.#options.log.warning('range is full', {
        range: range.name,
        limit: range.limit,
        peer: formatIP(peer),
      });
      return undefined;
    }
    const neighbour = this.#add(memberConfig(range, peer), range.name);
    neighbour.start();
    return neighbour;
  }

  #add(config: NeighbourConfig, range: string | undefined): Neighbour {
    const { clock, rib, log, random, preserved, sent } = this.#options;
    const neighbour = new Neighbour(config, {
      clock,
      rib,
      log,
      random,
      speaker: (): Identity => ({
        identifier: this.#config?.routerId ?? (0 as never),
        restarting: this.deferring,
        preserved: preserved(),
      }),
      dial: (to, events) => this.#dial(to, events),
      report: (event) => this.#report(event),
      ...(sent && { sent }),
    });
    this.#members.put(neighbour, range);
    return neighbour;
  }

  #dial(config: NeighbourConfig, events: TransportEvents): Transport {
    const fd = openDialSocket(config.address, {
      ...reachOf(config),
      ...(config.password !== undefined && { password: config.password }),
      ...(config.sourceAddress !== undefined && { sourceAddress: config.sourceAddress }),
      ...(config.interface !== undefined && { device: config.interface }),
    });
    const transport = new Transport(fd, this.#turns, events);
    transport.dial(config, config.interface);
    return transport;
  }

  #report(event: NeighbourEvent): void {
    const { clock, log } = this.#options;
    const { neighbour } = event;
    if (event.type === 'established') {
      const { remoteAs, endOfRib, families } = event.agreement;
      log.info('session established', { neighbour, remoteAs });
      const due = endOfRib === 'none' ? [] : families.map(({ family }) => family);
      const hello = { families: due, restarted: endOfRib === 'restarted', now: clock.now() };
      if (this.#deferral) this.#progress(cameUp(this.#deferral, neighbour, hello));
    } else if (event.type === 'endOfRib') {
      if (this.#deferral) this.#progress(saidEndOfRib(this.#deferral, neighbour, event.family));
    } else if (event.type === 'down') {
      log.warning('session down', { neighbour, reason: describeReset(event.reason) });
      if (this.#deferral) {
        const left = event.restarts
          ? lost(this.#deferral, neighbour, clock.now())
          : forgotten(this.#deferral, neighbour);
        this.#progress(left);
      }
    } else if (event.type === 'prefixLimit') {
      const { family, count, mark } = event;
      log.warning('prefix limit', { neighbour, family, count, mark });
    } else if (this.#members.get(neighbour)?.range !== undefined) {
      this.#members.get(neighbour)?.neighbour.stop(undefined);
      this.#members.remove(neighbour);
    }
    this.#options.report?.(event);
  }

  #defer({ neighbours, deferralTime }: RouterConfig): void {
    const names = neighbours.filter(({ shutdown }) => shutdown === undefined).map(({ name }) => name);
    this.#options.rib.hold();
    this.#options.log.info('restarted: waiting for the peers before announcing', { peers: names.length });
    this.#progress(beginDeferral(names, this.#options.clock.now(), deferralTime * 1000));
  }

  #progress(deferral: Deferral): void {
    const { clock, rib, log } = this.#options;
    this.#deferral = deferral;
    this.#cancelCheck();
    const now = clock.now();
    if (!isOver(deferral, now)) {
      this.#cancelCheck = clock.after(nextCheck(deferral, now) - now, () => {
        if (this.#deferral) this.#progress(this.#deferral);
      });
      return;
    }
    this.#deferral = undefined;
    log.info('announcing', {
      absent: [...deferral.absent],
      withoutEndOfRib: [...deferral.owed, ...deferral.hoped],
    });
    rib.release();
    this.#options.report?.({ type: 'converged' });
  }

  /** Peers know us by our identifier, so a new one needs new sessions; a new cluster only changes what is announced. */
  #identify(before: RouterConfig, { routerId: identifier, clusterId = identifier }: RouterConfig): void {
    if (before.routerId === identifier && (before.clusterId ?? before.routerId) === clusterId) return;
    this.#options.rib.identify({ identifier, clusterId });
    if (before.routerId === identifier) return;
    this.#options.log.info('sessions are reset for a new router identifier', {
      routerId: formatIP(identifier),
    });
    for (const { neighbour } of this.#members) neighbour.reset(cease(CEASE_SUBCODE.configurationChange));
  }
}

/** How far a session's packets go: one hop to an external peer unless told otherwise, anywhere to an internal one. */
function reachOf({ remoteAs, localAs, multihop, ttlSecurity }: SessionConfig): Reach {
  if (ttlSecurity !== undefined) return { ttl: 255, minimumTtl: 256 - ttlSecurity };
  const internal = remoteAs === 'internal' || remoteAs === localAs;
  return { ttl: internal ? 255 : multihop, minimumTtl: 0 };
}

function keyOf(peers: Key['peers'], password: string | undefined): Key[] {
  return password === undefined ? [] : [{ peers, password }];
}

function memberConfig(
  { prefix: _prefix, limit: _limit, name, ...session }: RangeConfig,
  address: IP,
): NeighbourConfig {
  return {
    ...session,
    name: formatIP(address),
    description: `from range ${name}`,
    kind: 'dynamic',
    address,
    port: 0,
    passive: true,
  };
}
