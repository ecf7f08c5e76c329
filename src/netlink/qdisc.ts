import { Attributes, text } from './attribute.ts';
import { type Message, NLM_F_CREATE, type Request } from './message.ts';
import type { Netlink, Sink } from './socket.ts';

/** Queueing disciplines, of which Tombolo needs `clsact`, the place for filters: man 8 tc, `struct tcmsg`. */

const RTM_NEWQDISC = 36;
export const RTM_DELQDISC = 37;
const RTM_GETQDISC = 38;
export const TC_HEADER = 20;

const TC_H_CLSACT = 0xfffffff1;
const CLSACT_HANDLE = 0xffff0000;
export const TCA = { TCA_KIND: 1, TCA_OPTIONS: 2, TCA_CHAIN: 11 } as const;

export interface Qdisc {
  readonly index: number;
  readonly kind: string;
  readonly handle: number;
}

/** Makes sure that the link has one. @throws {SystemError} `EINVAL` if it has an `ingress` qdisc, which excludes it. */
export function ensureClsact(sink: Sink, index: number): void {
  sink.apply(clsactRequest(RTM_NEWQDISC, NLM_F_CREATE, 'ensure', index));
}

/** Removes it with all its filters. @throws {SystemError} `ENOENT` or `EINVAL` if the link has none. */
export function deleteClsact(sink: Sink, index: number): void {
  sink.apply(clsactRequest(RTM_DELQDISC, 0, 'delete', index));
}

/** Without the default ones that nobody has asked for. */
export function listQdiscs(nl: Netlink, index: number): Qdisc[] {
  const request = { type: RTM_GETQDISC, flags: 0, header: tcHeader(index), attributes: [] };
  return nl
    .dump({ ...request, what: `list qdiscs of link ${index}`, names: TCA })
    .map(readQdisc)
    .filter((qdisc) => qdisc.index === index);
}

function readQdisc({ payload }: Message): Qdisc {
  if (payload.length < TC_HEADER) {
    throw new RangeError(`Cannot read qdisc: header cut short (value ${payload.length} bytes)`);
  }
  const kind = new Attributes(payload, TC_HEADER).text(TCA.TCA_KIND) ?? '';
  return { index: payload.readInt32LE(4), handle: payload.readUInt32LE(8), kind };
}

/** `struct tcmsg`. */
export function tcHeader(index: number, handle = 0, parent = 0, info = 0): Buffer {
  const header = Buffer.alloc(TC_HEADER);
  header.writeInt32LE(index, 4);
  header.writeUInt32LE(handle, 8);
  header.writeUInt32LE(parent, 12);
  header.writeUInt32LE(info, 16);
  return header;
}

function clsactRequest(type: number, flags: number, verb: string, index: number): Request {
  return {
    type,
    flags,
    header: tcHeader(index, CLSACT_HANDLE, TC_H_CLSACT),
    attributes: [text(TCA.TCA_KIND, 'clsact')],
    what: `${verb} clsact of link ${index}`,
    names: TCA,
  };
}
