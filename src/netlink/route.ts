import { bitsOf, type Family, familyOf, formatIP, type IP, type IPv4, type IPv6 } from '../address/ip.ts';
import { formatPrefix, type Prefix, prefixFamily } from '../address/prefix.ts';
import { hasCode } from '../ffi/systemError.ts';
import { SCOPES, type Scope, scopeOf } from './address.ts';
import { type Attribute, Attributes, ip, nested, u32 } from './attribute.ts';
import { familyFromKernel, kernelFamily, kernelFamilyOf } from './family.ts';
import { type Message, NLM_F_CREATE, NLM_F_EXCL, NLM_F_REPLACE, type Request } from './message.ts';
import {
  gatewayAttribute,
  type NextHop,
  nextHopFlags,
  readNextHop,
  readNextHops,
  writeNextHops,
} from './nextHop.ts';
import type { Netlink, Sink } from './socket.ts';

/** Routes: `struct rtmsg` and RTA_*, man 7 rtnetlink. */

export const RTM_NEWROUTE = 24;
export const RTM_DELROUTE = 25;
const RTM_GETROUTE = 26;
const HEADER = 12;

const RTA = {
  RTA_DST: 1,
  RTA_SRC: 2,
  RTA_IIF: 3,
  RTA_OIF: 4,
  RTA_GATEWAY: 5,
  RTA_PRIORITY: 6,
  RTA_PREFSRC: 7,
  RTA_METRICS: 8,
  RTA_MULTIPATH: 9,
  RTA_TABLE: 15,
  RTA_MARK: 16,
  RTA_VIA: 18,
  RTA_NH_ID: 30,
} as const;

const RTAX = { MTU: 2, ADVMSS: 8 } as const;

const RTM_F_CLONED = 0x200;
const RTM_F_FIB_MATCH = 0x2000;

export const MAIN_TABLE = 254;
export const LOCAL_TABLE = 255;

/** rtm_type of rtnetlink(7). */
const TYPES = [
  'unspecified',
  'unicast',
  'local',
  'broadcast',
  'anycast',
  'multicast',
  'blackhole',
  'unreachable',
  'prohibit',
  'throw',
] as const;
export type RouteType = (typeof TYPES)[number];

/** rtm_protocol: who made a route. Ours is {@link TOMBOLO}; the others are the kernel's own. */
export const PROTOCOLS = { kernel: 2, boot: 3, static: 4, routerAdvertisement: 9, dhcp: 16 } as const;
/** `ip route show proto 111` lists the routes of Tombolo and nothing else. */
export const TOMBOLO = 111;

export interface Route {
  readonly prefix: Prefix;
  /** @default 'unicast' */
  readonly type?: RouteType | undefined;
  /** @default MAIN_TABLE */
  readonly table?: number | undefined;
  /** @default TOMBOLO */
  readonly protocol?: number | undefined;
  /** @default 'link' for an IPv4 route without gateway, `global` for others */
  readonly scope?: Scope | undefined;
  /** The lower, the better. IPv6 gives 1024 where it is absent or 0. */
  readonly priority?: number | undefined;
  readonly preferredSource?: IP | undefined;
  /** One, or several that share the traffic; none with {@link nextHopId} and for blackholes. */
  readonly nextHops?: readonly NextHop[] | undefined;
  /** A next hop or group that exists as an object of its own (Linux 5.3). */
  readonly nextHopId?: number | undefined;
  readonly mtu?: number | undefined;
  readonly advertisedMss?: number | undefined;
}

/** A route of the kernel: every default spelled out. */
export interface InstalledRoute extends Route {
  readonly type: RouteType;
  readonly table: number;
  readonly protocol: number;
  readonly nextHops: readonly NextHop[];
}

export interface RouteFilter {
  readonly family?: Family;
  readonly table?: number;
  readonly protocol?: number;
  readonly type?: RouteType;
  /** Index of the link the route leaves by. */
  readonly index?: number;
}

/** @throws {SystemError} `EEXIST` if there is one of this prefix, table and priority. */
export function addRoute(sink: Sink, route: Route): void {
  sink.apply(routeRequest(RTM_NEWROUTE, NLM_F_CREATE | NLM_F_EXCL, 'add', route));
}

/** Puts the route in place of the one with its prefix, table and priority, if any, with no moment between. */
export function replaceRoute(sink: Sink, route: Route): void {
  sink.apply(routeRequest(RTM_NEWROUTE, NLM_F_CREATE | NLM_F_REPLACE, 'replace', route));
}

/** Deletes the first route that agrees in all that is given. @throws {SystemError} `ESRCH` if there is none. */
export function deleteRoute(sink: Sink, route: Route): void {
  sink.apply(routeRequest(RTM_DELROUTE, 0, 'delete', route));
}

/** Routes of the forwarding tables; entries of the IPv6 cache are none. */
export function listRoutes(nl: Netlink, filter: RouteFilter = {}): InstalledRoute[] {
  const header = Buffer.alloc(HEADER);
  header.writeUInt8(kernelFamily(filter.family), 0);
  header.writeUInt8(filter.protocol ?? 0, 5);
  header.writeUInt8(filter.type === undefined ? 0 : TYPES.indexOf(filter.type), 7);
  const attributes = [
    filter.table !== undefined ? u32(RTA.RTA_TABLE, filter.table) : undefined,
    filter.index !== undefined ? u32(RTA.RTA_OIF, filter.index) : undefined,
  ];
  const request = { type: RTM_GETROUTE, flags: 0, header, attributes, what: 'list routes', names: RTA };
  return dumpRoutes(nl, request, filter).filter((route) => agrees(route, filter));
}

/** A table that nobody has written to does not exist for the kernel; here it is empty. */
function dumpRoutes(nl: Netlink, request: Request, filter: RouteFilter): InstalledRoute[] {
  try {
    return nl.dump(request).filter(inTables).map(readRoute);
  } catch (error) {
    if (filter.table !== undefined && hasCode(error, 'ENOENT')) return [];
    throw error;
  }
}

/** The route the kernel takes towards `address`, as it stands in its table. */
export function lookUpRoute(nl: Netlink, address: IP): InstalledRoute {
  const header = routeHeader(kernelFamilyOf(address), bitsOf(familyOf(address)));
  header.writeUInt32LE(RTM_F_FIB_MATCH, 8);
  const what = `look up route to ${formatIP(address)}`;
  const attributes = [ip(RTA.RTA_DST, address)];
  const [answer] = nl.query({ type: RTM_GETROUTE, flags: 0, header, attributes, what, names: RTA });
  if (answer === undefined) throw new Error(`Cannot ${what}: the kernel answered with nothing`);
  return readRoute(answer);
}

/** Whether this is a route of IPv4 or IPv6, and of a table: not of the cache, of multicast or MPLS. */
export function inTables({ payload }: Message): boolean {
  if (payload.length < HEADER) return false;
  return (
    familyFromKernel(payload.readUInt8(0)) !== undefined && (payload.readUInt32LE(8) & RTM_F_CLONED) === 0
  );
}

/** @throws {RangeError} If the message is cut short, damaged, or of another family. */
export function readRoute({ payload }: Message): InstalledRoute {
  if (payload.length < HEADER) {
    throw new RangeError(`Cannot read route: header cut short (value ${payload.length} bytes)`);
  }
  const family = familyFromKernel(payload.readUInt8(0));
  if (family === undefined) {
    throw new RangeError(`Cannot read route: neither IPv4 nor IPv6 (value ${payload.readUInt8(0)})`);
  }
  const attributes = new Attributes(payload, HEADER);
  const metrics = attributes.nested(RTA.RTA_METRICS);
  const scope = scopeOf(payload.readUInt8(6));
  const any = family === 4 ? (0 as IPv4) : (0n as IPv6);
  return {
    prefix: { address: attributes.ip(RTA.RTA_DST) ?? any, length: payload.readUInt8(1) },
    type: TYPES[payload.readUInt8(7)] ?? 'unspecified',
    table: attributes.u32(RTA.RTA_TABLE) ?? payload.readUInt8(4),
    protocol: payload.readUInt8(5),
    scope: typeof scope === 'number' ? undefined : scope,
    priority: attributes.u32(RTA.RTA_PRIORITY),
    preferredSource: attributes.ip(RTA.RTA_PREFSRC),
    nextHops: nextHopsOf(attributes, payload.readUInt32LE(8)),
    nextHopId: attributes.u32(RTA.RTA_NH_ID),
    mtu: metrics?.u32(RTAX.MTU),
    advertisedMss: metrics?.u32(RTAX.ADVMSS),
  };
}

function nextHopsOf(attributes: Attributes, flags: number): NextHop[] {
  const several = attributes.bytes(RTA.RTA_MULTIPATH);
  if (several !== undefined) return readNextHops(several);
  const one = readNextHop(attributes, attributes.u32(RTA.RTA_OIF), flags);
  return one.index === undefined && one.gateway === undefined ? [] : [one];
}

function agrees(route: InstalledRoute, filter: RouteFilter): boolean {
  return (
    (filter.family === undefined || prefixFamily(route.prefix) === filter.family) &&
    (filter.table === undefined || route.table === filter.table) &&
    (filter.protocol === undefined || route.protocol === filter.protocol) &&
    (filter.type === undefined || route.type === filter.type) &&
    (filter.index === undefined || route.nextHops.some(({ index }) => index === filter.index))
  );
}

function routeRequest(type: number, flags: number, verb: string, route: Route): Request {
  const { prefix, table = MAIN_TABLE, nextHops = [], mtu, advertisedMss } = route;
  const family = prefixFamily(prefix);
  const header = routeHeader(kernelFamily(family), prefix.length);
  const deleting = type === RTM_DELROUTE;
  header.writeUInt8(table < 256 ? table : 0, 4);
  header.writeUInt8(route.protocol ?? (deleting ? 0 : TOMBOLO), 5);
  header.writeUInt8(SCOPES[route.scope ?? (deleting ? 'nowhere' : impliedScope(route))], 6);
  header.writeUInt8(TYPES.indexOf(route.type ?? (deleting ? 'unspecified' : 'unicast')), 7);
  const [only, ...others] = nextHops;
  if (only !== undefined && others.length === 0) header.writeUInt32LE(nextHopFlags(only), 8);
  const metrics = [
    mtu !== undefined ? u32(RTAX.MTU, mtu) : undefined,
    advertisedMss !== undefined ? u32(RTAX.ADVMSS, advertisedMss) : undefined,
  ].filter((metric) => metric !== undefined);
  return {
    type,
    flags,
    header,
    attributes: [
      prefix.length > 0 ? ip(RTA.RTA_DST, prefix.address) : undefined,
      u32(RTA.RTA_TABLE, table),
      route.priority !== undefined ? u32(RTA.RTA_PRIORITY, route.priority) : undefined,
      route.preferredSource !== undefined ? ip(RTA.RTA_PREFSRC, route.preferredSource) : undefined,
      metrics.length > 0 ? nested(RTA.RTA_METRICS, metrics) : undefined,
      route.nextHopId !== undefined ? u32(RTA.RTA_NH_ID, route.nextHopId) : undefined,
      ...nextHopAttributes(nextHops, family),
    ],
    what: `${verb} route ${formatPrefix(prefix)}`,
    names: RTA,
  };
}

function nextHopAttributes(nextHops: readonly NextHop[], family: Family): Attribute[] {
  const [only, ...others] = nextHops;
  if (only === undefined) return [];
  if (others.length > 0) return [writeNextHops(nextHops, family)];
  return [
    only.index !== undefined ? u32(RTA.RTA_OIF, only.index) : undefined,
    only.gateway !== undefined ? gatewayAttribute(only.gateway, family) : undefined,
  ];
}

/** As `ip route` chooses it; IPv6 knows no scopes. */
function impliedScope({ prefix, type = 'unicast', nextHops = [], nextHopId }: Route): Scope {
  if (prefixFamily(prefix) === 6 || nextHopId !== undefined) return 'global';
  if (type === 'local') return 'host';
  const direct = nextHops.length > 0 && nextHops.every(({ gateway }) => gateway === undefined);
  return type === 'unicast' && direct ? 'link' : 'global';
}

function routeHeader(family: number, length: number): Buffer {
  const header = Buffer.alloc(HEADER);
  header.writeUInt8(family, 0);
  header.writeUInt8(length, 1);
  return header;
}
