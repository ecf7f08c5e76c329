import type { IPv4 } from '../../address/ip.ts';
import type { Capability } from '../wire/capability.ts';
import type { AfiSafi } from '../wire/family.ts';
import { encodeMessage } from '../wire/message.ts';
import { twoOctetAs } from '../wire/open.ts';
import { informationText } from './encode.ts';
import { INFORMATION, type PeerUp } from './message.ts';
import type { PeerHeader } from './peerHeader.ts';

export interface LocRib {
  readonly asn: number;
  readonly identifier: IPv4;
  /** The families whose routes will be reported. */
  readonly families: readonly AfiSafi[];
  /** Those of them whose routes carry path identifiers. */
  readonly addPath: readonly AfiSafi[];
  /** RFC 9069 §4.4: `global` for the only table there is. */
  readonly tableName: string;
}

/**
 * The Peer Up by which the router introduces its own table (RFC 9069 §4.4): nobody sent these OPENs, so they are
 * made up. A station reads the routes by them: AS numbers have four octets, and add-path is what follows.
 */
export function locRibPeerUp(locRib: LocRib, time: bigint): PeerUp {
  const open = encodeMessage({
    type: 'OPEN',
    myAs: twoOctetAs(locRib.asn),
    holdTime: 0,
    identifier: locRib.identifier,
    capabilities: capabilitiesOf(locRib),
  });
  return {
    type: 'peer-up',
    peer: locRibPeer(locRib, time),
    localPort: 0,
    remotePort: 0,
    sentOpen: open,
    receivedOpen: open,
    information: [informationText(INFORMATION.tableName, locRib.tableName)],
  };
}

/** The header of everything said about the router's own table. */
export function locRibPeer({ asn, identifier }: LocRib, time: bigint): PeerHeader {
  return { view: 'loc-rib', instance: 0, distinguisher: 0n, asn, identifier, twoOctetAs: false, time };
}

function capabilitiesOf({ asn, families, addPath }: LocRib): Capability[] {
  const capabilities: Capability[] = families.map((family) => ({ name: 'multiprotocol', family }));
  capabilities.push({ name: 'four-octet-as', asn });
  if (addPath.length > 0) {
    // The same OPEN stands for both directions, so it has to offer both.
    const modes = addPath.map((family) => ({ family, mode: 'both' as const }));
    capabilities.push({ name: 'add-path', families: modes });
  }
  return capabilities;
}
