import { type IP, isIPv4 } from '../../address/ip.ts';
import type { NeighbourConfig, StationConfig } from '../config/router.ts';
import type { DownReason } from '../fsm/connection.ts';
import { rowOf } from '../rib/explain.ts';
import type { FamilyRib } from '../rib/familyRib.ts';
import { LOCAL } from '../rib/peers.ts';
import { rewrite } from '../rib/rewrite.ts';
import type { Rib } from '../rib/rib.ts';
import type { Session } from '../session/session.ts';
import { encodeEndOfRib } from '../wire/encodeUpdate.ts';
import { type AfiSafi, IPV4_UNICAST, IPV6_UNICAST } from '../wire/family.ts';
import { encodeMessage } from '../wire/message.ts';
import { encodeBmp, encodeInitiation } from './encode.ts';
import { type LocRib, locRibPeer, locRibPeerUp } from './locRib.ts';
import { type PeerDownReason, STATISTIC, type Statistic } from './message.ts';
import type { BmpView, PeerHeader } from './peerHeader.ts';
import { messagesOf, TableView } from './tableView.ts';

const FAMILIES = [IPV4_UNICAST, IPV6_UNICAST];
const TYPE_AT = 18;
const UPDATE = 2;

/** A neighbour with a session. */
export interface MonitoredPeer {
  readonly config: NeighbourConfig;
  readonly session: Session;
}

export interface ExporterParts {
  readonly rib: Rib;
  readonly config: StationConfig;
  readonly systemName: string;
  readonly systemDescription: string;
  readonly router: Pick<LocRib, 'asn' | 'identifier'>;
  /** Microseconds since 1970. */
  now(): bigint;
  /** Takes whole BMP messages; `false` says that more had better wait for {@link Exporter.resume}. */
  send(bytes: Buffer): boolean;
  /** Calls `task` in a later turn of the event loop. */
  soon(task: () => void): void;
}

interface View {
  readonly table: TableView;
  readonly header: () => PeerHeader;
  /** Told as it changes; what peers are sent is told as it is sent. */
  readonly followed: boolean;
  /** End-of-RIB is still to be said. */
  unfinished: boolean;
}

/**
 * What one station is told over one connection (RFC 7854, 8671, 9069). Tables that the RIB keeps are told by what they
 * hold, what peers were sent by the bytes they were sent.
 */
export class Exporter {
  readonly #parts: ExporterParts;
  readonly #peers = new Map<string, { readonly peer: MonitoredPeer; readonly views: readonly View[] }>();
  readonly #own: View[] = [];
  readonly #unwatch: (() => void)[] = [];
  #full = false;
  #scheduled = false;
  #ended = false;
  #forgotten = new Map<FamilyRib, number[]>();

  /** Begins with who we are, and who is up. */
  constructor(parts: ExporterParts, established: Iterable<MonitoredPeer>) {
    this.#parts = parts;
    const { systemName, systemDescription, rib } = parts;
    this.#send(encodeInitiation(systemName, systemDescription));
    if (this.#wants('loc-rib')) this.#beginLocRib();
    for (const peer of established) this.established(peer);
    for (const family of FAMILIES) {
      const table = rib.family(family);
      this.#unwatch.push(rib.watch(family, (prefix) => this.#changed(table, rowOf(table, prefix))));
    }
    this.#schedule();
  }

  established(peer: MonitoredPeer): void {
    const { session, config } = peer;
    this.#send(
      encodeBmp({
        type: 'peer-up',
        peer: this.#header(peer, 'adj-rib-in-pre'),
        localAddress: sameFamily(session.localAddress, config.address),
        localPort: session.ends.localPort,
        remotePort: session.ends.remotePort,
        sentOpen: encodeMessage(session.agreement.sent),
        receivedOpen: session.ends.receivedOpen,
        information: [],
      }),
    );
    const families = session.agreement.families.filter(({ family }) => FAMILIES.includes(family));
    const views = families.flatMap(({ family, addPathReceive, addPathSend }) => [
      ...this.#view(peer, 'adj-rib-in-pre', family, addPathReceive),
      ...this.#view(peer, 'adj-rib-in-post', family, addPathReceive),
      ...this.#view(peer, 'adj-rib-out-post', family, addPathSend),
    ]);
    for (const { table } of views) table.touchAll();
    this.#peers.set(config.name, { peer, views });
    this.#schedule();
  }

  down(name: string, reason: DownReason): void {
    const known = this.#peers.get(name);
    if (known === undefined) return;
    this.#peers.delete(name);
    for (const { table } of known.views) table.close();
    const peer = this.#header(known.peer, 'adj-rib-in-pre');
    this.#send(encodeBmp({ type: 'peer-down', peer, reason: downReason(reason) }));
  }

  /** A neighbour has been sent these messages. */
  sent(name: string, bytes: Uint8Array): void {
    const known = this.#peers.get(name);
    if (known === undefined || !this.#wants('adj-rib-out-post')) return;
    const header = this.#header(known.peer, 'adj-rib-out-post', !known.peer.session.agreement.fourOctetAs);
    this.#tell(
      header,
      messagesOf(bytes).filter((message) => message[TYPE_AT] === UPDATE),
    );
  }

  /** The station has taken what waited. */
  resume(): void {
    this.#full = false;
    this.#schedule();
  }

  /** Numbers about every session (RFC 7854 §4.8). */
  statistics(): void {
    for (const { peer } of this.#peers.values()) {
      const statistics = this.#statisticsOf(peer);
      const header = this.#header(peer, 'adj-rib-in-pre');
      this.#send(encodeBmp({ type: 'statistics', peer: header, statistics }));
    }
  }

  /** The connection is gone. */
  end(): void {
    this.#ended = true;
    for (const stop of this.#unwatch) stop();
    for (const { table } of this.#views()) table.close();
    this.#peers.clear();
    this.#own.length = 0;
  }

  #beginLocRib(): void {
    const { router, now } = this.#parts;
    const locRib: LocRib = { ...router, families: FAMILIES, addPath: [], tableName: 'global' };
    this.#send(encodeBmp(locRibPeerUp(locRib, now())));
    for (const family of FAMILIES) {
      const { parts } = this.#parts.rib;
      const rib = this.#parts.rib.family(family);
      const table = new TableView({
        parts,
        rib,
        addPath: false,
        paths: (row, show) => {
          const best = parts.decision.bestOf(rib.table, row);
          if (best !== 0) show(0, this.#complete(rib, best));
        },
      });
      this.#own.push({ table, header: () => locRibPeer(locRib, now()), followed: true, unfinished: true });
    }
  }

  /** Routes of our own have no next hop before they leave; a station reads none without. */
  #complete({ table }: FamilyRib, path: number): number {
    const { store, scratch } = this.#parts.rib.parts;
    const attributes = table.accepted[path] as number;
    if (store.nextHopLength[attributes] !== 0) return attributes;
    const nextHop = Buffer.alloc(table.family === IPV4_UNICAST ? 4 : 16);
    if (nextHop.length === 4) nextHop.writeUInt32BE(this.#parts.router.identifier);
    return rewrite(store, scratch, attributes, { edits: [], leaving: false, nextHop });
  }

  #view(peer: MonitoredPeer, view: BmpView, family: AfiSafi, addPath: boolean): View[] {
    if (!this.#wants(view)) return [];
    const { rib } = this.#parts;
    const options = { parts: rib.parts, rib: rib.family(family), addPath };
    const paths = view === 'adj-rib-out-post' ? this.#out(peer, family) : this.#in(peer, family, view);
    const header = () => this.#header(peer, view);
    const followed = view !== 'adj-rib-out-post';
    return [{ table: new TableView({ ...options, paths }), header, followed, unfinished: true }];
  }

  #in({ config }: MonitoredPeer, family: AfiSafi, view: BmpView) {
    const { rib } = this.#parts;
    const { table } = rib.family(family);
    const column = view === 'adj-rib-in-pre' ? table.received : table.accepted;
    return (row: number, show: (ordinal: number, attributes: number) => void) => {
      const number = rib.parts.peers.numberOf(config.name);
      for (let path = table.first[row] as number; path !== 0; path = table.next[path] as number) {
        if (table.peer[path] !== number || column[path] === 0) continue;
        show(table.ordinal[path] as number, column[path] as number);
      }
    };
  }

  #out({ config }: MonitoredPeer, family: AfiSafi) {
    const { rib } = this.#parts;
    return (row: number, show: (ordinal: number, attributes: number) => void) => {
      const peer = rib.peerRoutes(config.name);
      const key = peer?.families.get(family)?.groupKey;
      const sent = key === undefined ? undefined : rib.family(family).groups.get(key)?.sent;
      if (peer === undefined || sent === undefined) return;
      for (let entry = sent.firstOf(row); entry !== 0; entry = sent.next[entry] as number) {
        if (sent.from[entry] === peer.number && peer.number !== LOCAL) continue;
        show(sent.ordinal[entry] as number, sent.attributes[entry] as number);
      }
    };
  }

  #changed(family: FamilyRib, row: number): void {
    if (row === 0) return;
    for (const { table, followed } of this.#views())
      if (followed && table.family === family) table.touch(row);
    // The RIB lets go of it at the end of this turn, and may use its number again in the next one.
    if (family.table.first[row] === 0) this.#forget(family, row);
    else this.#schedule();
  }

  #forget(family: FamilyRib, row: number): void {
    const rows = this.#forgotten.get(family);
    if (rows) {
      rows.push(row);
      return;
    }
    this.#forgotten.set(family, [row]);
    queueMicrotask(() => {
      const forgotten = this.#forgotten.get(family) ?? [];
      this.#forgotten.delete(family);
      if (this.#ended) return;
      for (const { table, header } of this.#views()) {
        if (table.family === family) this.#tell(header(), table.last(forgotten));
      }
    });
  }

  #schedule(): void {
    if (this.#scheduled || this.#full || this.#ended) return;
    this.#scheduled = true;
    this.#parts.soon(() => {
      this.#scheduled = false;
      this.#work();
    });
  }

  /** A portion of every view that has something to say. */
  #work(): void {
    let more = false;
    for (const view of this.#views()) {
      if (this.#ended || this.#full) return;
      if (view.table.isPending) this.#tell(view.header(), view.table.next());
      if (view.table.isPending) more = true;
      else if (view.unfinished) {
        view.unfinished = false;
        this.#tell(view.header(), [encodeEndOfRib(view.table.family.table.family)]);
      }
    }
    if (more) this.#schedule();
  }

  *#views(): Generator<View> {
    yield* this.#own;
    for (const { views } of this.#peers.values()) yield* views;
  }

  #tell(peer: PeerHeader, messages: readonly Uint8Array[]): void {
    if (messages.length === 0) return;
    const all = messages.map((update) =>
      encodeBmp({ type: 'route-monitoring', peer, update: Buffer.from(update) }),
    );
    this.#send(Buffer.concat(all));
  }

  #send(bytes: Buffer): void {
    if (!this.#ended && !this.#parts.send(bytes)) this.#full = true;
  }

  #wants(view: BmpView): boolean {
    return this.#parts.config.views.some((one) => one === view);
  }

  #header({ config, session }: MonitoredPeer, view: BmpView, twoOctetAs = false): PeerHeader {
    const { remoteAs: asn, identifier } = session.agreement;
    const time = this.#parts.now();
    return {
      view,
      instance: 0,
      distinguisher: 0n,
      address: config.address,
      asn,
      identifier,
      twoOctetAs,
      time,
    };
  }

  #statisticsOf({ config, session }: MonitoredPeer): Statistic[] {
    const { rib } = this.#parts;
    const peer = rib.peerRoutes(config.name);
    const families = [...(peer?.families ?? [])].filter(([family]) => FAMILIES.includes(family));
    const received = families.map(([family, { routes }]) => ({ family, value: BigInt(routes.received) }));
    const sent = families.map(([family, { groupKey }]) => ({
      family,
      value: BigInt(
        rib
          .family(family)
          .groups.get(groupKey)
          ?.sent.sizeFor(peer?.number ?? 0) ?? 0,
      ),
    }));
    const sum = (all: readonly { value: bigint }[]) => all.reduce((total, { value }) => total + value, 0n);
    return [
      { type: STATISTIC.adjRibIn, value: sum(received) },
      ...received.map((one) => ({ type: STATISTIC.familyAdjRibIn, ...one })),
      { type: STATISTIC.updatesTreatedAsWithdraw, value: BigInt(session.malformedUpdates) },
      { type: STATISTIC.adjRibOutPostPolicy, value: sum(sent) },
      ...sent.map((one) => ({ type: STATISTIC.familyAdjRibOutPostPolicy, ...one })),
    ];
  }
}

function downReason(reason: DownReason): PeerDownReason {
  switch (reason.type) {
    case 'notificationSent':
      return { kind: 'local-notification', notification: encodeMessage(reason.notification) };
    case 'notificationReceived':
      return { kind: 'remote-notification', notification: encodeMessage(reason.notification) };
    case 'connectionLost':
      return { kind: 'remote-close' };
    default:
      // None of the FSM events of RFC 4271 §8.1 stands for these.
      return { kind: 'local-close', event: 0 };
  }
}

/** Both addresses of a session are of one family; an accepted IPv4 connection may look like IPv6. */
function sameFamily(local: IP, peer: IP): IP {
  return isIPv4(local) === isIPv4(peer) ? local : peer;
}
