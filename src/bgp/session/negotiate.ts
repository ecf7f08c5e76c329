import type { IPv4 } from '../../address/ip.ts';
import type { RemoteAs, SessionConfig } from '../config/router.ts';
import type { OpenSummary } from '../fsm/peer.ts';
import type { PeerFamily } from '../rib/peer.ts';
import { type Capability, findCapability } from '../wire/capability.ts';
import { MessageError } from '../wire/error.ts';
import { AFI_IPV6, type AfiSafi, familyName, IPV4_UNICAST } from '../wire/family.ts';
import { MAX_EXTENDED_LENGTH, MAX_LENGTH } from '../wire/frame.ts';
import { asnOf, type Open, twoOctetAs } from '../wire/open.ts';

/** What is true of this speaker at the moment it sends an OPEN. */
export interface Speaker {
  readonly identifier: IPv4;
  /** It has restarted and its peers may still hold its routes (RFC 4724 §3, the R bit). */
  readonly restarting: boolean;
  /** Families whose kernel routes outlived the restart, known before the first socket opens (the F bit). */
  readonly preserved: ReadonlySet<AfiSafi>;
}

/** What both OPENs together amount to. */
export interface Agreement {
  readonly sent: Open;
  readonly received: Open;
  readonly type: 'ebgp' | 'ibgp';
  readonly remoteAs: number;
  readonly identifier: IPv4;
  /** Seconds. */
  readonly holdTime: number;
  readonly fourOctetAs: boolean;
  readonly maxMessageSize: number;
  readonly routeRefresh: boolean;
  readonly enhancedRefresh: boolean;
  readonly families: readonly PeerFamily[];
  /** The peer's side of graceful restart; absent where it has none, or we do not take part. */
  readonly restart: PeerRestart | undefined;
  /** Who speaks of graceful restart says End-of-RIB for every family (RFC 4724 §3); `restarted`: it has just come up. */
  readonly endOfRib: 'none' | 'due' | 'restarted';
  readonly longLived: boolean;
}

export interface PeerRestart {
  /** Seconds we wait for the peer to come back. */
  readonly restartTime: number;
  /** NOTIFICATIONs and hold timer expiry start graceful restart too, except for a Hard Reset (RFC 8538). */
  readonly notification: boolean;
  /** Families whose routes outlive the session, with seconds as routes of last resort after that (RFC 9494). */
  readonly families: readonly { readonly family: AfiSafi; readonly longLivedStaleTime: number }[];
}

/** The OPEN to send to a neighbour. */
export function offer(config: SessionConfig, speaker: Speaker): Open {
  return {
    type: 'OPEN',
    myAs: twoOctetAs(config.localAs),
    holdTime: config.holdTime,
    identifier: speaker.identifier,
    capabilities: capabilities(config, speaker),
  };
}

function capabilities(config: SessionConfig, { restarting, preserved }: Speaker): Capability[] {
  const families = config.families.map(({ family }) => family);
  const addPath = config.families.flatMap(({ family, addPath: mode }) => (mode ? [{ family, mode }] : []));
  const extended = config.families.flatMap(({ family, extendedNextHop }) =>
    extendedNextHop ? [{ family, nextHopAfi: AFI_IPV6 }] : [],
  );
  const graceful = config.gracefulRestart;
  return [
    ...families.map((family): Capability => ({ name: 'multiprotocol', family })),
    { name: 'route-refresh' },
    { name: 'enhanced-route-refresh' },
    { name: 'extended-message' },
    { name: 'four-octet-as', asn: config.localAs },
    ...(extended.length > 0 ? [{ name: 'extended-next-hop' as const, entries: extended }] : []),
    ...(addPath.length > 0 ? [{ name: 'add-path' as const, families: addPath }] : []),
    ...(graceful
      ? [
          {
            name: 'graceful-restart' as const,
            restarting,
            notification: graceful.notification ?? true,
            restartTime: graceful.restartTime,
            families: families.map((family) => ({ family, forwardingPreserved: preserved.has(family) })),
          },
        ]
      : []),
    ...(graceful && graceful.longLivedStaleTime > 0
      ? [
          {
            name: 'long-lived-graceful-restart' as const,
            families: families.map((family) => ({
              family,
              forwardingPreserved: preserved.has(family),
              staleTime: graceful.longLivedStaleTime,
            })),
          },
        ]
      : []),
  ];
}

/**
 * Holds the peer's OPEN against ours and the configuration.
 *
 * @throws {MessageError} 2/2, 2/3 or 2/7, with a message for the operator that names what was expected.
 */
export function agree(config: SessionConfig, sent: Open, received: Open): Agreement {
  const remoteAs = asnOf(received);
  if (!allowed(config.remoteAs, remoteAs, config.localAs)) {
    throw refusal(2, `the peer is in AS ${remoteAs}, expected ${config.remoteAs}`);
  }
  const type = remoteAs === config.localAs ? 'ibgp' : 'ebgp';
  if (type === 'ibgp' && received.identifier === sent.identifier) {
    throw refusal(3, 'the peer has our own BGP identifier');
  }
  const families = commonFamilies(sent, received);
  if (families.length === 0) {
    const wanted = config.families.map(({ family }) => familyName(family)).join(', ');
    throw refusal(7, `no address family in common, expected one of ${wanted}`);
  }
  const both = (name: Capability['name']) => has(sent.capabilities, name) && has(received.capabilities, name);
  return {
    sent,
    received,
    type,
    remoteAs,
    identifier: received.identifier,
    holdTime: Math.min(sent.holdTime, received.holdTime),
    fourOctetAs: both('four-octet-as'),
    maxMessageSize: both('extended-message') ? MAX_EXTENDED_LENGTH : MAX_LENGTH,
    routeRefresh: both('route-refresh'),
    enhancedRefresh: both('enhanced-route-refresh'),
    families,
    restart: peerRestart(config, received, families),
    endOfRib: endOfRib(received),
    longLived: both('long-lived-graceful-restart'),
  };
}

function endOfRib({ capabilities }: Open): Agreement['endOfRib'] {
  const restart = findCapability(capabilities, 'graceful-restart');
  if (restart === undefined) return 'none';
  return restart.restarting ? 'restarted' : 'due';
}

/** What the FSM has to know of an agreement. */
export function summaryOf({ identifier, remoteAs, holdTime, restart }: Agreement): OpenSummary {
  return {
    identifier,
    asn: remoteAs,
    holdTime: holdTime * 1000,
    restartable: (restart?.families.length ?? 0) > 0,
  };
}

function allowed(expected: RemoteAs, actual: number, local: number): boolean {
  if (expected === 'internal') return actual === local;
  if (expected === 'external') return actual !== local;
  return actual === expected;
}

function commonFamilies(sent: Open, received: Open): PeerFamily[] {
  const theirs = familiesOf(received);
  const restart = findCapability(received.capabilities, 'graceful-restart');
  return [...familiesOf(sent)]
    .filter((family) => theirs.has(family))
    .map((family) => ({
      family,
      addPathReceive: sends(received, family) && receives(sent, family),
      addPathSend: sends(sent, family) && receives(received, family),
      extendedNextHop: takesIPv6(sent, family) && takesIPv6(received, family),
      preserved: restart?.families.some((one) => one.family === family && one.forwardingPreserved) ?? false,
    }));
}

/** Who sends no multiprotocol capability speaks IPv4 unicast (RFC 4760 §8). */
function familiesOf({ capabilities }: Open): Set<AfiSafi> {
  const named = capabilities.flatMap((one) => (one.name === 'multiprotocol' ? [one.family] : []));
  return new Set(named.length > 0 ? named : [IPV4_UNICAST]);
}

function sends(open: Open, family: AfiSafi): boolean {
  return ['send', 'both'].includes(addPathMode(open, family) ?? '');
}

function receives(open: Open, family: AfiSafi): boolean {
  return ['receive', 'both'].includes(addPathMode(open, family) ?? '');
}

function addPathMode({ capabilities }: Open, family: AfiSafi) {
  return findCapability(capabilities, 'add-path')?.families.find((one) => one.family === family)?.mode;
}

function takesIPv6({ capabilities }: Open, family: AfiSafi): boolean {
  const entries = findCapability(capabilities, 'extended-next-hop')?.entries ?? [];
  return entries.some((one) => one.family === family && one.nextHopAfi === AFI_IPV6);
}

function peerRestart(
  config: SessionConfig,
  { capabilities }: Open,
  common: readonly PeerFamily[],
): PeerRestart | undefined {
  const theirs = findCapability(capabilities, 'graceful-restart');
  if (theirs === undefined || config.gracefulRestart === undefined) return undefined;
  const { longLivedStaleTime, notification = true } = config.gracefulRestart;
  const longLived = findCapability(capabilities, 'long-lived-graceful-restart')?.families ?? [];
  const staleTime = (family: AfiSafi) => longLived.find((one) => one.family === family)?.staleTime ?? 0;
  return {
    restartTime: theirs.restartTime,
    notification: notification && theirs.notification,
    families: theirs.families
      .filter(({ family }) => common.some((one) => one.family === family))
      .map(({ family }) => ({ family, longLivedStaleTime: Math.min(longLivedStaleTime, staleTime(family)) })),
  };
}

function has(capabilities: readonly Capability[], name: Capability['name']): boolean {
  return capabilities.some((capability) => capability.name === name);
}

function refusal(subcode: number, reason: string): MessageError {
  return new MessageError({ code: 2, subcode }, `Cannot accept OPEN: ${reason}`, 19);
}
