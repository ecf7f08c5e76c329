import { readFileSync } from 'node:fs';
import { parse } from 'yaml';
import { type IP, isLinkLocal, parseIP, parseIPv4 } from '../../address/ip.ts';
import { formatPrefix, parsePrefix } from '../../address/prefix.ts';
import { because } from '../../errors.ts';
import { bgpFilter } from '../../store/kinds/bgpFilter.ts';
import {
  addressAndPort,
  bmpServers,
  parseAddressAndPort,
  remoteAddress,
} from '../../store/kinds/bgpValues.ts';
import { asNumber, ip, ipv4, port, prefix } from '../../store/kinds/kind.ts';
import {
  boolean,
  formatProblem,
  integer,
  listOf,
  mapOf,
  type Of,
  object,
  oneOf,
  type Problem,
  parsedBy,
  type Schema,
  text,
  textOr,
} from '../../store/schema.ts';
import { parseCommunity } from '../policy/community.ts';
import type { Filter } from '../policy/filter.ts';
import type { PeerPolicy } from '../policy/policy.ts';
import type { LocalRoute } from '../rib/localRoute.ts';
import { PREFIX_LIMIT } from '../rib/nlriKeys.ts';
import { parseFamily } from '../wire/family.ts';
import { filterFrom } from './filter.ts';
import {
  BGP_PORT,
  DEFAULTS,
  type Endpoint,
  type FamilyConfig,
  type KernelConfig,
  type NeighbourConfig,
  type RangeConfig,
  type RouterConfig,
  type SessionConfig,
} from './router.ts';
import { stationsFrom } from './station.ts';

const family = parsedBy(parseFamily, 'an address family');
const communities = listOf(parsedBy(parseCommunity, 'a community'));
const seconds = integer(0, 65535);

const session = {
  asn: either(asNumber, oneOf('internal', 'external')),
  localAsn: asNumber,
  families: listOf(
    textOr(
      object({ family }, { addPath: oneOf('receive', 'send', 'both'), extendedNextHop: boolean() }),
      family,
    ),
  ),
  holdTime: seconds,
  keepaliveTime: integer(1, 21845),
  connectRetryTime: integer(1, 65535),
  delayOpenTime: seconds,
  sendHoldTime: integer(1, 65535),
  gracefulRestart: either(
    object(
      {},
      { restartTime: integer(1, 4095), longLivedStaleTime: integer(0, 0xffffff), notification: boolean() },
    ),
    boolean(),
  ),
  password: text({ max: 80, means: 'up to 80 characters' }),
  ttlSecurity: integer(1, 254),
  multihop: integer(1, 255),
  reflectorClient: boolean(),
  nextHop: oneOf('auto', 'self', 'keep'),
  allowedOwnAs: integer(0, 255),
  filters: listOf(text()),
  prefixLimit: object(
    { limit: integer(1, 0xffffffff) },
    { warningPercent: integer(1, 100), action: oneOf('restart', 'warn') },
  ),
  addCommunities: communities,
  stripCommunities: boolean(),
};

const filterSpec = bgpFilter.body;

const schema = object(
  { asn: asNumber, routerId: ipv4 },
  {
    clusterId: ipv4,
    listen: listOf(addressAndPort),
    port,
    defaults: object({}, session),
    neighbours: listOf(
      object(
        { address: remoteAddress },
        {
          ...session,
          name: text(),
          description: text(),
          interface: text({ max: 15 }),
          sourceAddress: ip,
          passive: boolean(),
          shutdown: text(),
        },
      ),
    ),
    ranges: listOf(object({ prefix }, { ...session, name: text(), limit: integer(1, 100_000) })),
    networks: listOf(
      textOr(
        object(
          { prefix },
          { nextHop: ip, communities, localPreference: integer(0, 0xffffffff), med: integer(0, 0xffffffff) },
        ),
        prefix,
      ),
    ),
    exportRanges: listOf(prefix),
    kernel: object({}, { ranges: listOf(prefix), defaultRoute: boolean(), segments: listOf(prefix) }),
    /** By name, each as the spec of a BGPFilter. */
    filters: mapOf(filterAlone()),
    name: text(),
    bmpServers,
    draining: boolean(),
    capacity: integer(1, PREFIX_LIMIT - 1),
    deferralTime: seconds,
  },
);

type Raw = Of<typeof schema>;
type RawSession = NonNullable<Raw['defaults']>;

/**
 * Reads the file of `tombolo bgp run --config`.
 *
 * @throws {Error} Naming the file, and every key with a value it cannot have.
 */
export function readRouterConfig(file: string): RouterConfig {
  try {
    return parseRouterConfig(readFileSync(file, 'utf8'));
  } catch (error) {
    throw because(`read BGP configuration ${file}`, error);
  }
}

/** @throws {Error} Naming every key with a value it cannot have. */
export function parseRouterConfig(yaml: string): RouterConfig {
  const raw: unknown = parse(yaml) ?? {};
  const problems: Problem[] = [];
  schema.check(raw, '', problems);
  if (problems.length === 0) problems.push(...contradictions(raw as Raw));
  if (problems.length > 0) throw new Error(problems.map(formatProblem).join('; '));
  return build(raw as Raw);
}

function build(raw: Raw): RouterConfig {
  const filters = new Map(
    Object.entries(raw.filters ?? {}).map(([name, spec]): [string, Filter] => [name, filterFrom(name, spec)]),
  );
  const complete = (one: RawSession) => sessionFrom({ ...raw.defaults, ...one }, raw.asn, filters);
  return {
    asn: raw.asn,
    routerId: parseIPv4(raw.routerId),
    ...(raw.clusterId !== undefined && { clusterId: parseIPv4(raw.clusterId) }),
    listen: listenOn(raw),
    neighbours: (raw.neighbours ?? []).map((one) => neighbourFrom(one, complete(one))),
    ranges: (raw.ranges ?? []).map((one) => rangeFrom(one, complete(one))),
    originate: (raw.networks ?? []).map(networkFrom),
    ...(raw.capacity !== undefined && { capacity: raw.capacity }),
    ...(raw.exportRanges && { exportRanges: raw.exportRanges.map(parsePrefix) }),
    ...(raw.kernel && { kernel: kernelFrom(raw.kernel) }),
    stations: stationsFrom(raw.bmpServers),
    ...(raw.name !== undefined && { name: raw.name }),
    draining: raw.draining ?? false,
    deferralTime: raw.deferralTime ?? DEFAULTS.deferralTime,
  };
}

function kernelFrom({
  ranges = [],
  defaultRoute = false,
  segments = [],
}: NonNullable<Raw['kernel']>): KernelConfig {
  return { ranges: ranges.map(parsePrefix), defaultRoute, segments: segments.map(parsePrefix), guarded: [] };
}

function listenOn({ listen, port: number = BGP_PORT }: Raw): Endpoint[] {
  const texts = listen ?? ['0.0.0.0', '::'];
  return texts.map((one) => {
    const endpoint = parseAddressAndPort(one);
    return { address: endpoint.address, port: endpoint.port ?? number };
  });
}

function sessionFrom(raw: RawSession, asn: number, filters: ReadonlyMap<string, Filter>): SessionConfig {
  const { keepaliveTime, sendHoldTime, password, ttlSecurity, gracefulRestart = true } = raw;
  return {
    remoteAs: raw.asn ?? 'external',
    localAs: raw.localAsn ?? asn,
    families: raw.families?.map(familyFrom) ?? DEFAULTS.families,
    holdTime: raw.holdTime ?? DEFAULTS.holdTime,
    connectRetryTime: raw.connectRetryTime ?? DEFAULTS.connectRetryTime,
    delayOpenTime: raw.delayOpenTime ?? 0,
    multihop: raw.multihop ?? 1,
    reflectorClient: raw.reflectorClient ?? false,
    prefixLimitAction: raw.prefixLimit?.action ?? 'restart',
    ...(keepaliveTime !== undefined && { keepaliveTime }),
    ...(sendHoldTime !== undefined && { sendHoldTime }),
    ...(password !== undefined && { password }),
    ...(ttlSecurity !== undefined && { ttlSecurity }),
    ...(gracefulRestart !== false && { gracefulRestart: restartFrom(gracefulRestart) }),
    policy: policyFrom(raw, filters),
  };
}

function policyFrom(raw: RawSession, filters: ReadonlyMap<string, Filter>): PeerPolicy {
  const { policy, warningPercent } = DEFAULTS;
  const { prefixLimit, stripCommunities } = raw;
  return {
    filters: (raw.filters ?? []).flatMap((name) => filters.get(name) ?? []),
    nextHop: raw.nextHop ?? policy.nextHop,
    allowedOwnAs: raw.allowedOwnAs ?? policy.allowedOwnAs,
    ...(prefixLimit && {
      prefixLimit: { limit: prefixLimit.limit, warningPercent: prefixLimit.warningPercent ?? warningPercent },
    }),
    ...(raw.addCommunities && { addCommunities: raw.addCommunities.map(parseCommunity) }),
    ...(stripCommunities !== undefined && { stripCommunities }),
  };
}

function restartFrom(raw: true | Exclude<RawSession['gracefulRestart'], boolean | undefined>) {
  const given = raw === true ? {} : raw;
  const { restartTime = DEFAULTS.restartTime, longLivedStaleTime = 0, ...rest } = given;
  return { restartTime, longLivedStaleTime, ...rest };
}

function familyFrom(raw: NonNullable<RawSession['families']>[number]): FamilyConfig {
  return typeof raw === 'string' ? { family: parseFamily(raw) } : { ...raw, family: parseFamily(raw.family) };
}

type RawNeighbour = NonNullable<Raw['neighbours']>[number];

function neighbourFrom(raw: RawNeighbour, session: SessionConfig): NeighbourConfig {
  const { address, port: number = BGP_PORT } = parseAddressAndPort(raw.address);
  const { description, shutdown, interface: device } = raw;
  return {
    ...session,
    name: raw.name ?? nameOf(address, device),
    kind: 'configured',
    address,
    port: number,
    passive: raw.passive ?? false,
    ...(description !== undefined && { description }),
    ...(device !== undefined && { interface: device }),
    ...(raw.sourceAddress !== undefined && { sourceAddress: parseIP(raw.sourceAddress) }),
    ...(shutdown !== undefined && { shutdown }),
  };
}

/** Link-local addresses may stand on several devices. */
function nameOf(address: IP, device: string | undefined): string {
  const [text = ''] = formatPrefix({ address, length: 0 }).split('/');
  return device === undefined ? text : `${text}%${device}`;
}

function rangeFrom(raw: NonNullable<Raw['ranges']>[number], session: SessionConfig): RangeConfig {
  return {
    ...session,
    name: raw.name ?? raw.prefix,
    prefix: parsePrefix(raw.prefix),
    limit: raw.limit ?? DEFAULTS.rangeLimit,
  };
}

function networkFrom(raw: NonNullable<Raw['networks']>[number]): LocalRoute {
  if (typeof raw === 'string') return { prefix: parsePrefix(raw) };
  const { nextHop, localPreference, med } = raw;
  return {
    prefix: parsePrefix(raw.prefix),
    ...(nextHop !== undefined && { nextHop: parseIP(nextHop) }),
    ...(raw.communities && { communities: raw.communities.map(parseCommunity) }),
    ...(localPreference !== undefined && { localPreference }),
    ...(med !== undefined && { med }),
  };
}

/** What no single key can say. */
function contradictions(raw: Raw): Problem[] {
  const problems: Problem[] = [];
  const sessions = [
    ...(raw.neighbours ?? []).map((one, index) => [`neighbours[${index}]`, one] as const),
    ...(raw.ranges ?? []).map((one, index) => [`ranges[${index}]`, one] as const),
  ];
  for (const [path, one] of sessions) {
    for (const name of one.filters ?? []) {
      if (!raw.filters?.[name])
        problems.push({ path: `${path}.filters`, reason: 'there is no such filter', value: name });
    }
    const holdTime = one.holdTime ?? raw.defaults?.holdTime;
    if (holdTime === 1 || holdTime === 2) {
      problems.push({ path: `${path}.holdTime`, reason: 'expected 0 or at least 3 s', value: holdTime });
    }
  }
  const names = (raw.neighbours ?? []).map((one) => {
    const { address } = parseAddressAndPort(one.address);
    if (isLinkLocal(address) && one.interface === undefined) {
      problems.push({
        path: 'neighbours',
        reason: 'a link-local address needs an interface',
        value: one.address,
      });
    }
    return nameOf(address, one.interface);
  });
  names.forEach((name, index) => {
    if (names.indexOf(name) !== index) {
      problems.push({ path: `neighbours[${index}].address`, reason: 'stands here twice', value: name });
    }
  });
  return problems;
}

/** The spec of a BGPFilter without the object around it. */
function filterAlone(): Schema<Of<typeof filterSpec>['spec']> {
  return {
    check(value, path, problems) {
      const found: Problem[] = [];
      filterSpec.check({ spec: value }, '', found);
      if (found.length === 0) {
        const metadata = { name: 'filter' };
        const object = { apiVersion: bgpFilter.apiVersion, kind: bgpFilter.kind, metadata, spec: value };
        found.push(...(bgpFilter.rules?.(object as never) ?? []));
      }
      for (const problem of found) problems.push({ ...problem, path: problem.path.replace(/^spec/, path) });
    },
    json: filterSpec.json,
  };
}

/** A value of either schema; what fits neither is reported by the second. */
function either<A, B>(first: Schema<A>, second: Schema<B>): Schema<A | B> {
  return {
    check(value, path, problems) {
      const found: Problem[] = [];
      first.check(value, path, found);
      if (found.length === 0) return;
      const others: Problem[] = [];
      second.check(value, path, others);
      if (others.length > 0) problems.push(...(typeof value === 'object' ? found : others));
    },
    json: { 'x-kubernetes-preserve-unknown-fields': true },
  };
}
