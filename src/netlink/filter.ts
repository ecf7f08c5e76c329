import { Attributes, nested, text, u32 } from './attribute.ts';
import { type Message, NLM_F_CREATE, NLM_F_EXCL, NLM_F_REPLACE, type Request } from './message.ts';
import { TC_HEADER, TCA, tcHeader } from './qdisc.ts';
import type { Netlink, Sink } from './socket.ts';

/** eBPF programs at `clsact`, whose return value is the verdict: man 8 tc-bpf with `direct-action`. */

const RTM_NEWTFILTER = 44;
export const RTM_DELTFILTER = 45;
const RTM_GETTFILTER = 46;

/** clsact's two sides (TC_H_MIN_INGRESS, TC_H_MIN_EGRESS). */
const PARENTS = { ingress: 0xfffffff2, egress: 0xfffffff3 } as const;
export type Direction = keyof typeof PARENTS;

/** ETH_P_ALL in network order, as the lower half of `tcm_info`. */
const ALL_PROTOCOLS = 0x0300;
const TCA_BPF = { FD: 6, NAME: 7, FLAGS: 8, TAG: 10, ID: 11 } as const;
const TCA_BPF_FLAG_ACT_DIRECT = 1;

/** Which filter: a place on a link. */
export interface FilterPlace {
  readonly index: number;
  readonly direction: Direction;
  /** 1 to 65535; the lower, the earlier. */
  readonly priority: number;
  /** Above 0; tells filters of one priority apart. */
  readonly handle: number;
}

export interface BpfFilter extends FilterPlace {
  /** Of a program of type `sched_cls`; the filter keeps the program when it is closed. */
  readonly programFd: number;
  /** What `tc filter show` calls it. */
  readonly name: string;
}

export interface InstalledFilter extends FilterPlace {
  readonly kind: string;
  /** Of eBPF filters: the name given, and the kernel's number of the program. */
  readonly name: string | undefined;
  readonly programId: number | undefined;
  /** First 8 bytes of the program's SHA-1, in hex. */
  readonly tag: string | undefined;
  readonly directAction: boolean;
}

/** @throws {SystemError} `EEXIST` if the place is taken. */
export function addFilter(sink: Sink, filter: BpfFilter): void {
  sink.apply(bpfRequest(NLM_F_CREATE | NLM_F_EXCL, 'add', filter));
}

/** Puts the program in place of the one that is there, if any: every packet meets the one or the other. */
export function replaceFilter(sink: Sink, filter: BpfFilter): void {
  sink.apply(bpfRequest(NLM_F_CREATE | NLM_F_REPLACE, 'replace', filter));
}

/** @throws {SystemError} `ENOENT` if the place is empty, `EINVAL` if the link has no clsact. */
export function deleteFilter(sink: Sink, place: FilterPlace): void {
  sink.apply({
    ...filterRequest(RTM_DELTFILTER, 'delete', place),
    attributes: [text(TCA.TCA_KIND, 'bpf')],
  });
}

export function listFilters(nl: Netlink, index: number, direction: Direction): InstalledFilter[] {
  const request: Request = {
    type: RTM_GETTFILTER,
    flags: 0,
    header: tcHeader(index, 0, PARENTS[direction]),
    attributes: [],
    what: `list ${direction} filters of link ${index}`,
    names: TCA,
  };
  // One without a handle is the head of its priority, not a filter.
  return nl
    .dump(request)
    .map((message) => readFilter(message, direction))
    .filter((filter) => filter.handle !== 0);
}

function readFilter({ payload }: Message, direction: Direction): InstalledFilter {
  if (payload.length < TC_HEADER) {
    throw new RangeError(`Cannot read filter: header cut short (value ${payload.length} bytes)`);
  }
  const attributes = new Attributes(payload, TC_HEADER);
  const options = attributes.nested(TCA.TCA_OPTIONS);
  return {
    index: payload.readInt32LE(4),
    direction,
    handle: payload.readUInt32LE(8),
    priority: payload.readUInt32LE(16) >>> 16,
    kind: attributes.text(TCA.TCA_KIND) ?? '',
    name: options?.text(TCA_BPF.NAME),
    programId: options?.u32(TCA_BPF.ID),
    tag: options?.bytes(TCA_BPF.TAG)?.toString('hex'),
    directAction: ((options?.u32(TCA_BPF.FLAGS) ?? 0) & TCA_BPF_FLAG_ACT_DIRECT) !== 0,
  };
}

function bpfRequest(flags: number, verb: string, filter: BpfFilter): Request {
  const options = [
    u32(TCA_BPF.FD, filter.programFd),
    text(TCA_BPF.NAME, filter.name),
    u32(TCA_BPF.FLAGS, TCA_BPF_FLAG_ACT_DIRECT),
  ];
  return {
    ...filterRequest(RTM_NEWTFILTER, verb, filter, ` ${filter.name}`),
    flags,
    attributes: [text(TCA.TCA_KIND, 'bpf'), nested(TCA.TCA_OPTIONS, options)],
  };
}

function filterRequest(type: number, verb: string, place: FilterPlace, name = ''): Request {
  const { index, direction, priority, handle } = place;
  if (!Number.isInteger(priority) || priority < 1 || priority > 0xffff) {
    throw new RangeError(`Cannot ${verb} filter${name}: the priority must be 1 to 65535 (value ${priority})`);
  }
  const info = ((priority << 16) | ALL_PROTOCOLS) >>> 0;
  return {
    type,
    flags: 0,
    header: tcHeader(index, handle, PARENTS[direction], info),
    attributes: [],
    what: `${verb} ${direction} filter${name} of link ${index}`,
    names: TCA,
  };
}
