import type { Family, IPv4, IPv6 } from '../address/ip.ts';
import type { Prefix } from '../address/prefix.ts';
import { type Attribute, Attributes, ip, text, u8, u32 } from './attribute.ts';
import { familyFromKernel, kernelFamily } from './family.ts';
import { type Message, NLM_F_CREATE, NLM_F_EXCL, type Request } from './message.ts';
import { MAIN_TABLE, TOMBOLO } from './route.ts';
import type { Netlink, Sink } from './socket.ts';

/** Rules that choose a routing table: `struct fib_rule_hdr` and FRA_*, man 8 ip-rule. */

export const RTM_NEWRULE = 32;
export const RTM_DELRULE = 33;
const RTM_GETRULE = 34;
const HEADER = 12;

const FIB_RULE_INVERT = 0x2;

const FRA = {
  FRA_DST: 1,
  FRA_SRC: 2,
  FRA_IIFNAME: 3,
  FRA_PRIORITY: 6,
  FRA_FWMARK: 10,
  FRA_SUPPRESS_PREFIXLEN: 14,
  FRA_TABLE: 15,
  FRA_FWMASK: 16,
  FRA_OIFNAME: 17,
  FRA_PROTOCOL: 21,
} as const;

const ACTIONS = { lookup: 1, blackhole: 6, unreachable: 7, prohibit: 8 } as const;
export type RuleAction = keyof typeof ACTIONS;

export interface Rule {
  readonly family: Family;
  /** The lower, the earlier; the kernel's own are 0, 32766 and 32767. */
  readonly priority: number;
  /** @default 'lookup' */
  readonly action?: RuleAction | undefined;
  /** @default MAIN_TABLE */
  readonly table?: number | undefined;
  readonly from?: Prefix | undefined;
  readonly to?: Prefix | undefined;
  readonly mark?: number | undefined;
  /** @default 0xffffffff */
  readonly mask?: number | undefined;
  /** Name of the link a packet came in by; `lo` for the node's own. */
  readonly inLink?: string | undefined;
  readonly outLink?: string | undefined;
  /** Holds for what the rest does not describe. */
  readonly not?: boolean | undefined;
  /** Routes with a prefix this short or shorter do not count: 0 ignores default routes. */
  readonly suppressLength?: number | undefined;
  /** @default TOMBOLO; Linux 4.17. */
  readonly protocol?: number | undefined;
}

/** @throws {SystemError} `EEXIST` if there is one that agrees in everything. */
export function addRule(sink: Sink, rule: Rule): void {
  const protocol = rule.protocol ?? TOMBOLO;
  sink.apply(ruleRequest(RTM_NEWRULE, NLM_F_CREATE | NLM_F_EXCL, 'add', { ...rule, protocol }));
}

/** Deletes the first rule that agrees in all that is given. @throws {SystemError} `ENOENT` if there is none. */
export function deleteRule(sink: Sink, rule: Rule): void {
  sink.apply(ruleRequest(RTM_DELRULE, 0, 'delete', rule));
}

export function listRules(nl: Netlink, filter: { family?: Family; protocol?: number } = {}): Rule[] {
  const header = Buffer.alloc(HEADER);
  header.writeUInt8(kernelFamily(filter.family), 0);
  return nl
    .dump({ type: RTM_GETRULE, flags: 0, header, attributes: [], what: 'list rules', names: FRA })
    .map(readRule)
    .filter((rule) => rule !== undefined)
    .filter(({ protocol }) => filter.protocol === undefined || protocol === filter.protocol);
}

/** `undefined` for rules of other families and actions. @throws {RangeError} If the message is damaged. */
export function readRule({ payload }: Message): Rule | undefined {
  if (payload.length < HEADER) {
    throw new RangeError(`Cannot read rule: header cut short (value ${payload.length} bytes)`);
  }
  const family = familyFromKernel(payload.readUInt8(0));
  const actions = Object.keys(ACTIONS) as RuleAction[];
  const action = actions.find((name) => ACTIONS[name] === payload.readUInt8(7));
  if (family === undefined || action === undefined) return undefined;
  const attributes = new Attributes(payload, HEADER);
  const suppress = attributes.bytes(FRA.FRA_SUPPRESS_PREFIXLEN, 4)?.readInt32LE();
  const prefix = (type: number, length: number): Prefix | undefined => {
    const address = attributes.ip(type) ?? (family === 4 ? (0 as IPv4) : (0n as IPv6));
    return length === 0 ? undefined : { address, length };
  };
  return {
    family,
    action,
    priority: attributes.u32(FRA.FRA_PRIORITY) ?? 0,
    table: attributes.u32(FRA.FRA_TABLE) ?? payload.readUInt8(4),
    from: prefix(FRA.FRA_SRC, payload.readUInt8(2)),
    to: prefix(FRA.FRA_DST, payload.readUInt8(1)),
    mark: attributes.u32(FRA.FRA_FWMARK),
    mask: attributes.u32(FRA.FRA_FWMASK),
    inLink: attributes.text(FRA.FRA_IIFNAME),
    outLink: attributes.text(FRA.FRA_OIFNAME),
    not: (payload.readUInt32LE(8) & FIB_RULE_INVERT) !== 0,
    suppressLength: suppress === undefined || suppress < 0 ? undefined : suppress,
    protocol: attributes.u8(FRA.FRA_PROTOCOL),
  };
}

function ruleRequest(type: number, flags: number, verb: string, rule: Rule): Request {
  const { family, action = 'lookup', table = MAIN_TABLE, from, to, mark, mask } = rule;
  const header = Buffer.alloc(HEADER);
  header.writeUInt8(kernelFamily(family), 0);
  header.writeUInt8(to?.length ?? 0, 1);
  header.writeUInt8(from?.length ?? 0, 2);
  header.writeUInt8(action === 'lookup' && table < 256 ? table : 0, 4);
  header.writeUInt8(ACTIONS[action], 7);
  header.writeUInt32LE(rule.not ? FIB_RULE_INVERT : 0, 8);
  const attributes: Attribute[] = [
    u32(FRA.FRA_PRIORITY, rule.priority),
    action === 'lookup' ? u32(FRA.FRA_TABLE, table) : undefined,
    from !== undefined ? ip(FRA.FRA_SRC, from.address) : undefined,
    to !== undefined ? ip(FRA.FRA_DST, to.address) : undefined,
    mark !== undefined ? u32(FRA.FRA_FWMARK, mark) : undefined,
    mask !== undefined ? u32(FRA.FRA_FWMASK, mask) : undefined,
    rule.inLink !== undefined ? text(FRA.FRA_IIFNAME, rule.inLink) : undefined,
    rule.outLink !== undefined ? text(FRA.FRA_OIFNAME, rule.outLink) : undefined,
    rule.suppressLength !== undefined ? u32(FRA.FRA_SUPPRESS_PREFIXLEN, rule.suppressLength) : undefined,
    rule.protocol !== undefined ? u8(FRA.FRA_PROTOCOL, rule.protocol) : undefined,
  ];
  const what = `${verb} IPv${family} rule of priority ${rule.priority}`;
  return { type, flags, header, attributes, what, names: FRA };
}
