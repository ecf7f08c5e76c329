import { formatIP, formatIPv4 } from '../../address/ip.ts';
import type { Rib } from '../rib/rib.ts';
import type { Counters } from '../session/counters.ts';
import { describeReset } from '../session/lastReset.ts';
import type { Agreement } from '../session/negotiate.ts';
import type { Neighbour } from '../session/neighbour.ts';
import type { Capability } from '../wire/capability.ts';
import { familyName } from '../wire/family.ts';
import type { Open } from '../wire/open.ts';
import { wallTime } from './clock.ts';
import type { Speaker } from './speaker.ts';

/** A speaker as operators see it; the JSON of `tombolo bgp neighbors -o json`. */
export interface SpeakerStatus {
  readonly asn: number;
  readonly routerId: string;
  /** It has restarted and still waits for what its peers have kept. */
  readonly deferring: boolean;
  readonly draining: boolean;
  readonly neighbours: readonly NeighbourStatus[];
}

export interface NeighbourStatus {
  readonly name: string;
  readonly description?: string;
  readonly address: string;
  readonly kind: string;
  /** The range it came out of. */
  readonly range?: string;
  /** As configured, until the peer has said which. */
  readonly remoteAs: number | string;
  readonly localAs: number;
  readonly state: string;
  /** When it went into this state, by the wall clock. */
  readonly since: string;
  readonly shutdown?: string;
  readonly identifier?: string;
  readonly localAddress?: string;
  readonly negotiated?: {
    readonly type: 'ebgp' | 'ibgp';
    readonly holdTime: number;
    readonly fourOctetAs: boolean;
    readonly maxMessageSize: number;
    readonly gracefulRestart: boolean;
    readonly capabilities: { readonly sent: readonly string[]; readonly received: readonly string[] };
  };
  /** Prefixes: received before policy, accepted after it, advertised. Only of an established session. */
  readonly families: readonly FamilyStatus[];
  readonly messages: { readonly sent: Counters; readonly received: Counters };
  readonly malformedUpdates: number;
  /** Bytes that wait for the peer to take them. */
  readonly backlog: number;
  readonly established: number;
  readonly lastReset?: { readonly at: string; readonly reason: string; readonly detail?: string };
}

export interface FamilyStatus {
  readonly family: string;
  readonly received: number;
  readonly accepted: number;
  readonly advertised: number;
  readonly endOfRib: boolean;
  readonly addPath?: { readonly receive: boolean; readonly send: boolean };
}

export function speakerStatus(speaker: Speaker, rib: Rib): SpeakerStatus {
  const { config } = speaker;
  return {
    asn: config?.asn ?? 0,
    routerId: config === undefined ? '' : formatIPv4(config.routerId),
    deferring: speaker.deferring,
    draining: config?.draining ?? false,
    neighbours: speaker
      .neighbours()
      .map(({ neighbour, range }) => neighbourStatus(neighbour, range, rib))
      .sort((a, b) => a.name.localeCompare(b.name, 'en', { numeric: true })),
  };
}

function neighbourStatus(neighbour: Neighbour, range: string | undefined, rib: Rib): NeighbourStatus {
  const { config, session, lastReset, counters } = neighbour;
  return {
    name: config.name,
    ...(config.description !== undefined && { description: config.description }),
    address: formatIP(config.address),
    kind: config.kind,
    ...(range !== undefined && { range }),
    remoteAs: session?.agreement.remoteAs ?? config.remoteAs,
    localAs: config.localAs,
    state: neighbour.state,
    since: wallTime(neighbour.since).toISOString(),
    ...(config.shutdown !== undefined && { shutdown: config.shutdown }),
    ...(session && {
      identifier: formatIPv4(session.agreement.identifier),
      localAddress: formatIP(session.localAddress),
      negotiated: negotiated(session.agreement),
    }),
    families: session ? families(neighbour, rib) : [],
    messages: { sent: counters.sent, received: counters.received },
    malformedUpdates: session?.malformedUpdates ?? 0,
    backlog: neighbour.transports().reduce((sum, { backlog }) => sum + backlog, 0),
    established: counters.established,
    ...(lastReset && {
      lastReset: {
        at: wallTime(lastReset.at).toISOString(),
        reason: describeReset(lastReset.reason),
        ...(lastReset.detail !== undefined && { detail: lastReset.detail }),
      },
    }),
  };
}

function negotiated(agreement: Agreement): NonNullable<NeighbourStatus['negotiated']> {
  const { type, holdTime, fourOctetAs, maxMessageSize, restart, sent, received } = agreement;
  return {
    type,
    holdTime,
    fourOctetAs,
    maxMessageSize,
    gracefulRestart: restart !== undefined,
    capabilities: { sent: capabilityNames(sent), received: capabilityNames(received) },
  };
}

function capabilityNames({ capabilities }: Open): string[] {
  return capabilities.map(capabilityName);
}

function capabilityName(capability: Capability): string {
  switch (capability.name) {
    case 'multiprotocol':
      return `multiprotocol ${familyName(capability.family)}`;
    case 'four-octet-as':
      return `four-octet-as ${capability.asn}`;
    case 'graceful-restart':
      return `graceful-restart ${capability.restartTime} s`;
    case 'unknown':
      return `unknown ${capability.code}`;
    default:
      return capability.name;
  }
}

function families({ config, session }: Neighbour, rib: Rib): FamilyStatus[] {
  const peer = rib.peerRoutes(config.name);
  return (session?.agreement.families ?? []).map(({ family, addPathReceive, addPathSend }) => {
    const known = peer?.families.get(family);
    const group = known && rib.family(family).groups.get(known.groupKey);
    return {
      family: familyName(family),
      received: known?.routes.received ?? 0,
      accepted: known?.routes.accepted ?? 0,
      advertised: (peer && group?.sent.sizeFor(peer.number)) ?? 0,
      endOfRib: session?.endOfRibs.has(family) ?? false,
      ...((addPathReceive || addPathSend) && { addPath: { receive: addPathReceive, send: addPathSend } }),
    };
  });
}
