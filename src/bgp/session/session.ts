import type { IP } from '../../address/ip.ts';
import type { Log } from '../../log.ts';
import type { NeighbourConfig } from '../config/router.ts';
import type { Retention, RibPeer, RibSession } from '../rib/peer.ts';
import type { Rib } from '../rib/rib.ts';
import { MessageError } from '../wire/error.ts';
import { type AfiSafi, familyName } from '../wire/family.ts';
import { encodeMessage } from '../wire/message.ts';
import { UPDATE_ERROR } from '../wire/notification.ts';
import { decodeRouteRefresh, REFRESH_BEGIN, REFRESH_END, REFRESH_REQUEST } from '../wire/refresh.ts';
import { scanUpdate } from '../wire/scan.ts';
import type { UpdateContext } from '../wire/update.ts';
import { UpdateScan } from '../wire/updateScan.ts';
import type { Counters } from './counters.ts';
import { linkOf } from './link.ts';
import type { Agreement } from './negotiate.ts';
import type { Transport } from './transport.ts';

export interface SessionSurroundings {
  readonly rib: Rib;
  readonly log: Log;
  now(): number;
  readonly counters: { readonly sent: Counters };
  limit(family: AfiSafi, count: number, mark: 'warning' | 'exceeded'): void;
  endOfRib(family: AfiSafi): void;
  /** Messages are on their way to the peer. */
  sent(bytes: Uint8Array): void;
}

/** A session as others saw it begin. */
export interface SessionEnds {
  readonly localPort: number;
  readonly remotePort: number;
  /** The peer's OPEN as it came. */
  readonly receivedOpen: Buffer;
}

/** An UPDATE's errors are logged at most this often per session, in ms: a broken peer repeats them. */
const COMPLAINT_PAUSE = 10_000;

/** An established session: routes in both directions between the peer and the RIB. */
export class Session {
  /** The id of its connection. */
  readonly id: number;
  readonly agreement: Agreement;
  readonly localAddress: IP;
  readonly ends: SessionEnds;
  /** UPDATEs that RFC 7606 had something to say about. */
  malformedUpdates = 0;
  readonly endOfRibs = new Set<AfiSafi>();

  readonly #name: string;
  readonly #transport: Transport;
  readonly #around: SessionSurroundings;
  readonly #rib: RibSession;
  readonly #context: UpdateContext;
  readonly #scan = new UpdateScan();
  readonly #disabled = new Set<AfiSafi>();
  #heard = false;
  #complainedAt = Number.NEGATIVE_INFINITY;

  constructor(
    id: number,
    config: NeighbourConfig,
    agreement: Agreement,
    transport: Transport,
    receivedOpen: Buffer,
    around: SessionSurroundings,
  ) {
    this.id = id;
    this.agreement = agreement;
    this.localAddress = transport.localAddress;
    this.ends = { ...transport.ports, receivedOpen };
    this.#name = config.name;
    this.#transport = transport;
    this.#around = around;
    this.#context = contextOf(agreement);
    this.#rib = around.rib.peerUp(ribPeer(config, agreement, this.localAddress), {
      write: (bytes) => this.#write(bytes),
      prefixLimit: (family, count, mark) => this.#prefixLimit(family, count, mark),
    });
  }

  /** Whether the peer has said anything since the last call. */
  heard(): boolean {
    const heard = this.#heard;
    this.#heard = false;
    return heard;
  }

  /** @throws {MessageError} If RFC 7606 leaves nothing but to end the session. */
  update(message: Buffer): void {
    this.#heard = true;
    const scan = scanUpdate(message, this.#context, this.#scan);
    if (scan.action !== undefined) this.#complain(scan);
    for (const family of scan.disabled) this.#disable(family);
    const { withdrawn, announced } = this.#disabled.size === 0 ? scan : this.#enabledOf(scan);
    if (scan.endOfRib !== undefined) {
      this.endOfRibs.add(scan.endOfRib);
      this.#rib.endOfRib(scan.endOfRib);
      this.#around.endOfRib(scan.endOfRib);
    } else if (withdrawn.length > 0 || announced.length > 0) {
      const { message: bytes, attributes, discard } = scan;
      this.#rib.update({ message: bytes, attributes, discard, withdrawn, announced });
    }
  }

  /** @throws {MessageError} 7/1. */
  routeRefresh(message: Buffer): void {
    this.#heard = true;
    const { family, subtype } = decodeRouteRefresh(message);
    const { enhancedRefresh, families } = this.agreement;
    if (!families.some((one) => one.family === family)) return;
    if (subtype === REFRESH_REQUEST || !enhancedRefresh) this.#rib.refresh(family, enhancedRefresh);
    else if (subtype === REFRESH_BEGIN) this.#rib.beginRefresh(family);
    else if (subtype === REFRESH_END) this.#rib.endRefresh(family);
  }

  /** Asks the peer for its routes. @returns Whether it has promised to answer (RFC 2918). */
  requestRefresh(family: AfiSafi): boolean {
    const { routeRefresh, families } = this.agreement;
    if (!routeRefresh || !families.some((one) => one.family === family)) return false;
    const message = encodeMessage({ type: 'ROUTE-REFRESH', family, subtype: REFRESH_REQUEST });
    this.#around.counters.sent['ROUTE-REFRESH']++;
    this.#transport.writeUrgent(message);
    return true;
  }

  drained(): void {
    this.#rib.drained();
  }

  configure({ policy, reflectorClient }: NeighbourConfig): void {
    this.#rib.configure(policy, reflectorClient && this.agreement.type === 'ibgp');
  }

  down(retention: Retention): void {
    this.#rib.down(retention);
  }

  #write(bytes: Uint8Array): boolean {
    this.#around.counters.sent.UPDATE++;
    this.#around.sent(bytes);
    return this.#transport.write(bytes);
  }

  /** RFC 7606 §2: the family's routes go, and nothing more of it is listened to until the next session. */
  #disable(family: AfiSafi): void {
    if (this.#disabled.has(family)) return;
    this.#disabled.add(family);
    this.#around.log.error('family is switched off for the rest of the session', {
      neighbour: this.#name,
      family: familyName(family),
    });
    this.#rib.beginRefresh(family);
    this.#rib.endRefresh(family);
  }

  #enabledOf({ withdrawn, announced }: UpdateScan): Pick<UpdateScan, 'withdrawn' | 'announced'> {
    const enabled = ({ family }: { family: AfiSafi }) => !this.#disabled.has(family);
    return { withdrawn: withdrawn.filter(enabled), announced: announced.filter(enabled) };
  }

  /** The RIB is in the middle of an UPDATE when it says this: the session may end only after that. */
  #prefixLimit(family: AfiSafi, count: number, mark: 'warning' | 'exceeded'): void {
    queueMicrotask(() => this.#around.limit(family, count, mark));
  }

  #complain({ action, reasons, message }: UpdateScan): void {
    this.malformedUpdates++;
    const [worst] = reasons.filter((reason) => reason.action === action);
    const now = this.#around.now();
    if (now - this.#complainedAt >= COMPLAINT_PAUSE) {
      this.#complainedAt = now;
      this.#around.log.warning('malformed UPDATE', {
        neighbour: this.#name,
        action,
        reason: worst?.message,
        bytes: message.subarray(0, 256).toString('hex'),
      });
    }
    if (action === 'session-reset') {
      const { subcode = 1, data, message: text = 'malformed', offset = 0 } = worst ?? {};
      throw new MessageError(
        { code: UPDATE_ERROR, subcode, ...(data && { data }) },
        `Cannot take UPDATE: ${text}`,
        offset,
      );
    }
  }
}

function contextOf({ type, fourOctetAs, families }: Agreement): UpdateContext {
  const having = (flag: 'addPathReceive' | 'extendedNextHop') =>
    new Set(families.filter((one) => one[flag]).map(({ family }) => family));
  return {
    session: type,
    asn4: fourOctetAs,
    addPath: having('addPathReceive'),
    extendedNextHop: having('extendedNextHop'),
  };
}

function ribPeer(config: NeighbourConfig, agreement: Agreement, localAddress: IP): RibPeer {
  const { device, ipv4, ipv6 } = linkOf(localAddress);
  const through = config.interface ?? device;
  return {
    name: config.name,
    type: agreement.type,
    address: config.address,
    localAddress,
    ...(ipv4 !== undefined && { localAddress4: ipv4 }),
    ...(ipv6 !== undefined && { localAddress6: ipv6 }),
    remoteAs: agreement.remoteAs,
    localAs: config.localAs,
    identifier: agreement.identifier,
    reflectorClient: config.reflectorClient && agreement.type === 'ibgp',
    fourOctetAs: agreement.fourOctetAs,
    maxMessageSize: agreement.maxMessageSize,
    longLivedGracefulRestart: agreement.longLived,
    families: agreement.families,
    policy: config.policy,
    ...(through !== undefined && { interface: through }),
  };
}
