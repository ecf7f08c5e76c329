import { formatIP, type IP } from '../address/ip.ts';
import type { Mac } from '../address/mac.ts';
import { type Attribute, Attributes, ip, mac, port, u32 } from './attribute.ts';
import { AF_BRIDGE } from './family.ts';
import { type Message, NLM_F_APPEND, NLM_F_CREATE, NLM_F_REPLACE, type Request } from './message.ts';
import {
  NDA,
  NEIGHBOUR_HEADER,
  NTF_MASTER,
  NTF_SELF,
  neighbourHeader,
  RTM_DELNEIGH,
  RTM_GETNEIGH,
  RTM_NEWNEIGH,
} from './neighbour.ts';
import type { Netlink, Sink } from './socket.ts';

/** Forwarding entries of bridges and VXLAN devices: which Ethernet address is where; man 8 bridge. */

const NUD_NOARP = 0x40;
const NUD_PERMANENT = 0x80;

export interface FdbEntry {
  /** Index of the VXLAN device, or of the bridge's port. */
  readonly index: number;
  /** All zeros: where frames to unknown addresses go. */
  readonly mac: Mac;
  /** VXLAN: the tunnel's other end. */
  readonly remote?: IP | undefined;
  readonly vni?: number | undefined;
  readonly port?: number | undefined;
  /** Whose table it is in: the device's own (VXLAN), or that of the bridge it is a port of. @default 'self' */
  readonly table?: 'self' | 'master' | undefined;
}

/** Adds a further remote for an address; frames to it go to every one. */
export function appendFdb(sink: Sink, entry: FdbEntry): void {
  sink.apply(fdbRequest(RTM_NEWNEIGH, NLM_F_CREATE | NLM_F_APPEND, 'append', entry));
}

/** Puts the entry in place of what the address has; not for all zeros, which have many remotes. */
export function replaceFdb(sink: Sink, entry: FdbEntry): void {
  sink.apply(fdbRequest(RTM_NEWNEIGH, NLM_F_CREATE | NLM_F_REPLACE, 'replace', entry));
}

/** @throws {SystemError} `ENOENT` if there is none. */
export function deleteFdb(sink: Sink, entry: FdbEntry): void {
  sink.apply(fdbRequest(RTM_DELNEIGH, 0, 'delete', entry));
}

/** The table of a VXLAN device, or the bridge's entries for a port. */
export function listFdb(nl: Netlink, index: number): FdbEntry[] {
  const request: Request = {
    type: RTM_GETNEIGH,
    flags: 0,
    header: neighbourHeader(AF_BRIDGE, index, 0),
    attributes: [],
    what: `list forwarding entries of link ${index}`,
    names: NDA,
  };
  return nl
    .dump(request)
    .map(readFdb)
    .filter((entry) => entry !== undefined)
    .filter((entry) => entry.index === index);
}

/** `undefined` for what is no entry of an Ethernet table. @throws {RangeError} If the message is damaged. */
function readFdb({ payload }: Message): FdbEntry | undefined {
  if (payload.length < NEIGHBOUR_HEADER) {
    throw new RangeError(`Cannot read forwarding entry: header cut short (value ${payload.length} bytes)`);
  }
  const attributes = new Attributes(payload, NEIGHBOUR_HEADER);
  const address = attributes.mac(NDA.NDA_LLADDR);
  if (payload.readUInt8(0) !== AF_BRIDGE || address === undefined) return undefined;
  return {
    index: payload.readInt32LE(4),
    mac: address,
    remote: attributes.ip(NDA.NDA_DST),
    vni: attributes.u32(NDA.NDA_VNI),
    port: attributes.port(NDA.NDA_PORT),
    table: payload.readUInt8(10) & NTF_SELF ? 'self' : 'master',
  };
}

function fdbRequest(type: number, flags: number, verb: string, entry: FdbEntry): Request {
  const { index, mac: address, remote, vni, table = 'self' } = entry;
  const attributes: Attribute[] = [
    mac(NDA.NDA_LLADDR, address),
    remote !== undefined ? ip(NDA.NDA_DST, remote) : undefined,
    vni !== undefined ? u32(NDA.NDA_VNI, vni) : undefined,
    entry.port !== undefined ? port(NDA.NDA_PORT, entry.port) : undefined,
  ];
  const towards = remote === undefined ? '' : ` towards ${formatIP(remote)}`;
  return {
    type,
    flags,
    header: neighbourHeader(
      AF_BRIDGE,
      index,
      NUD_NOARP | NUD_PERMANENT,
      table === 'self' ? NTF_SELF : NTF_MASTER,
    ),
    attributes,
    what: `${verb} forwarding entry ${address}${towards} of link ${index}`,
    names: NDA,
  };
}
