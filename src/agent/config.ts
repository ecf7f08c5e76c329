import { existsSync, readFileSync } from 'node:fs';
import { parse } from 'yaml';
import { familyOf, type IP, parseIP } from '../address/ip.ts';
import { nobodysIn, specialOf } from '../address/nobodys.ts';
import { contains, formatPrefix, overlaps, type Prefix, parsePrefix } from '../address/prefix.ts';
import { UPLINKS } from '../datapath/maps/node.ts';
import { because } from '../errors.ts';
import { LOG_LEVELS, type LogLevel } from '../log.ts';
import { type AddressAndPort, parseAddressAndPort } from '../store/kinds/bgpValues.ts';
import { deviceName, ip, prefix } from '../store/kinds/kind.ts';
import {
  boolean,
  formatProblem,
  integer,
  isRecord,
  listOf,
  type Of,
  object,
  oneOf,
  type Problem,
  parsedBy,
  type Schema,
  text,
  textOr,
} from '../store/schema.ts';

/** What an agent is told. Whatever is absent it finds out for itself. */
export interface AgentConfig {
  /** The host's name where absent. */
  readonly nodeName: string | undefined;
  /** At most one of each family, the more important first; where absent, those of the uplinks. */
  readonly nodeIP: readonly IP[];
  /** The devices towards the leaves; where absent, those that have default routes, as these come and go. */
  readonly uplink: readonly string[] | undefined;
  /** The node's own segments, where no operator assigns any. */
  readonly segments: readonly { readonly prefix: Prefix; readonly gateway: IP | undefined }[];
  /** `directory:PATH` or `kubernetes[:KUBECONFIG]`. */
  readonly store: string;
  readonly runDir: string;
  readonly stateDir: string;
  readonly bpfDir: string;
  /** Where the compiled eBPF objects lie; beside the program where absent. */
  readonly bpfObjects: string | undefined;
  /** A cgroup v2 directory; `auto`: the root of the hierarchy; `off`: no translation at the socket. */
  readonly cgroup: string;
  readonly routing: 'underlay' | 'overlay';
  /** `stack`: the node's stack forwards all packets of pods, not the programs at its devices. */
  readonly forwarding: 'fast' | 'stack';
  /** UDP port of the overlay, the same on all nodes of a cluster. */
  readonly vxlanPort: number;
  /** Whether pods are hidden behind the node towards the outside of the cluster. */
  readonly masquerade: boolean;
  /** Ranges that pods are not hidden from, beside the cluster's own. */
  readonly masqueradeExceptions: readonly Prefix[];
  /** Ports that hidden flows leave from; where absent, the largest range that nobody else is given. */
  readonly masqueradePorts: { readonly first: number; readonly last: number } | undefined;
  /** Where BGP listens; `undefined` where it is off. */
  readonly bgp: AddressAndPort | undefined;
  /** Where metrics are served beside the socket; nowhere else where absent. */
  readonly metricsAddress: AddressAndPort | undefined;
  readonly services: { readonly socket: boolean; readonly packet: boolean };
  /** How long a released address rests before it is given out again. */
  readonly cooldownSeconds: number;
  readonly logLevel: LogLevel;
}

/** As Linux, Flannel and Cilium have it; 4789 is often the hypervisor's (docs/adr/0007). */
const VXLAN_PORT = 8472;

const path = text({ pattern: /^\//, means: 'an absolute path' });
const listener = parsedBy(parseListener, 'an address and a port');
const hook = oneOf('socket', 'packet');

const schema = object({}, {
  nodeName: text({ pattern: /^[a-z0-9]([-a-z0-9.]*[a-z0-9])?$/, means: 'a node name' }),
  nodeIP: parsedBy(parseNodeIPs, 'an address'),
  uplink: listOf(deviceName, {
    min: 1,
    max: UPLINKS,
  }),
  segments: listOf(textOr(object({ cidr: prefix }, { gateway: ip }), prefix)),
  store: text({
    pattern: /^(directory:.+|kubernetes(:.+)?)$/,
    means: 'directory:PATH or kubernetes[:KUBECONFIG]',
  }),
  runDir: path,
  stateDir: path,
  bpfDir: path,
  bpfObjects: path,
  cgroup: text({ pattern: /^(auto|off|\/.*)$/, means: 'auto, off or an absolute path' }),
  routing: oneOf('underlay', 'overlay'),
  forwarding: oneOf('fast', 'stack'),
  vxlanPort: integer(1, 65_535),
  masquerade: boolean(),
  masqueradeExceptions: listOf(prefix),
  masqueradePorts: parsedBy(parsePorts, 'FIRST-LAST'),
  bgp: listener,
  metricsAddress: listener,
  services: listOf(hook, { min: 1, max: 2 }),
  cooldownSeconds: integer(0, 86_400),
  logLevel: oneOf(...LOG_LEVELS),
} satisfies Record<keyof AgentConfig, Schema<unknown>>);

type Raw = Of<typeof schema>;

/** Every key, for the command line: `nodeName` is `--node-name` there. */
export const CONFIG_KEYS = {
  nodeName: 'the name of this node (default: the host name)',
  nodeIP:
    'the address of this node, or one of each family separated by a comma (default: those of the uplinks)',
  uplink: 'the devices towards the leaves, separated by commas, or auto: those of the default routes',
  segments: 'pod prefixes of this node, separated by commas, each CIDR or CIDR@GATEWAY',
  store: 'directory:PATH or kubernetes[:KUBECONFIG]',
  runDir: 'where the socket is (default: /run/tombolo)',
  stateDir: 'what outlives a restart (default: /var/lib/tombolo)',
  bpfDir: 'where eBPF objects are pinned (default: /sys/fs/bpf/tombolo)',
  bpfObjects: 'where the compiled eBPF objects are (default: beside this program)',
  cgroup: 'a cgroup v2 directory for translation at the socket, auto or off',
  routing: 'underlay or overlay',
  forwarding: 'fast, or stack: whether programs forward the packets of pods, or the node',
  vxlanPort: 'UDP port of the overlay (default: 8472)',
  masquerade: 'true or false: hide pods behind the node towards the outside',
  masqueradeExceptions: 'prefixes that pods are not hidden from, separated by commas',
  masqueradePorts: 'FIRST-LAST: ports that hidden flows leave from (default: what sockets are not given)',
  bgp: 'ADDRESS:PORT to listen on, or off',
  metricsAddress: 'ADDRESS:PORT for Prometheus, beside the socket',
  services: 'socket, packet or both: where services are translated',
  cooldownSeconds: 'how long a released address rests',
  logLevel: `${LOG_LEVELS.join(', ')}`,
} as const satisfies Record<keyof AgentConfig, string>;

/**
 * Reads the configuration file, if one is named, under what the command line says.
 *
 * @param options By configuration key, as the command line has them: all text.
 * @throws {Error} Naming the key and the value, and the file where it stands in one.
 */
export function readConfig(file: string | undefined, options: Record<string, string>): AgentConfig {
  const written = file === undefined ? {} : readFile(file);
  check(written, file ?? '', ({ path }) => path);
  const given = Object.fromEntries(
    Object.entries(options).map(([key, value]) => [key, fromCommandLine(key, value)]),
  );
  check(given, '', ({ path }) => `--${kebab(path)}`);
  return build({ ...normalised(written), ...normalised(given) } as Raw);
}

function readFile(file: string): Record<string, unknown> {
  try {
    const value: unknown = parse(readFileSync(file, 'utf8')) ?? {};
    if (!isRecord(value)) throw new Error('expected keys and values');
    return value;
  } catch (error) {
    throw because(`read configuration ${file}`, error);
  }
}

function check(value: Record<string, unknown>, file: string, nameOf: (problem: Problem) => string): void {
  const problems: Problem[] = [];
  schema.check(normalised(value), '', problems);
  if (problems.length === 0) {
    const raw = normalised(value) as Raw;
    problems.push(...segmentProblems(raw), ...uplinkProblems(raw));
  }
  if (problems.length === 0) return;
  const where = file === '' ? 'configuration' : `configuration ${file}`;
  const what = problems.map((problem) => formatProblem({ ...problem, path: nameOf(problem) })).join('; ');
  throw new Error(`Cannot accept ${where}: ${what}`);
}

/** The spellings that mean the same become one; what means nothing stays, to be refused by name. */
function normalised(raw: Record<string, unknown>): Record<string, unknown> {
  const { services, uplink, bgp, cgroup, ...rest } = raw;
  return {
    ...rest,
    ...(services !== undefined && { services: normalisedServices(services) }),
    ...(uplink !== undefined && uplink !== 'auto' && { uplink: separated(uplink) }),
    ...(bgp !== undefined && { bgp: normalisedListener(bgp) }),
    ...(cgroup !== undefined && { cgroup: cgroup === false ? 'off' : cgroup }),
  };
}

function normalisedServices(value: unknown): unknown {
  if (value === 'both') return ['socket', 'packet'];
  return typeof value === 'string' ? value.split(',') : value;
}

function separated(value: unknown): unknown {
  return typeof value === 'string' ? value.split(',') : value;
}

/** `{address, port}` as `address:port`, and `false` as `off`. */
function normalisedListener(value: unknown): unknown {
  if (value === false) return 'off';
  if (!isRecord(value)) return value;
  const { address = '0.0.0.0', port = 179 } = value;
  return String(address).includes(':') ? `[${address}]:${port}` : `${address}:${port}`;
}

function segmentProblems({ segments = [] }: Raw): Problem[] {
  const entries = segments.map((entry) => (typeof entry === 'string' ? { cidr: entry } : entry));
  const ranges = entries.map(({ cidr }) => parsePrefix(cidr));
  return entries.flatMap(({ cidr, gateway }: { cidr: string; gateway?: string | undefined }, index) => {
    const range = parsePrefix(cidr);
    const path = `segments[${index}]`;
    const clash = ranges.slice(0, index).find((other) => overlaps(other, range));
    const nobodys = nobodysIn(range);
    return [
      ...(clash ? [{ path, reason: `overlaps ${formatPrefix(clash)}`, value: cidr }] : []),
      ...(nobodys
        ? [{ path, reason: `overlaps ${formatPrefix(nobodys)}, which no pod can have`, value: cidr }]
        : []),
      ...(gateway !== undefined && !contains(range, parseIP(gateway))
        ? [{ path: `${path}.gateway`, reason: `lies outside ${cidr}`, value: gateway }]
        : []),
    ];
  });
}

function uplinkProblems({ uplink = [] }: Raw): Problem[] {
  return uplink.flatMap((value, index) =>
    uplink.indexOf(value) === index ? [] : [{ path: `uplink[${index}]`, reason: 'stands here twice', value }],
  );
}

function build(raw: Raw): AgentConfig {
  const stateDir = raw.stateDir ?? '/var/lib/tombolo';
  const services = raw.services ?? ['socket', 'packet'];
  return {
    nodeName: raw.nodeName,
    nodeIP: raw.nodeIP === undefined ? [] : parseNodeIPs(raw.nodeIP),
    uplink: raw.uplink,
    segments: (raw.segments ?? []).map((entry) =>
      typeof entry === 'string'
        ? { prefix: parsePrefix(entry), gateway: undefined }
        : {
            prefix: parsePrefix(entry.cidr),
            gateway: entry.gateway === undefined ? undefined : parseIP(entry.gateway),
          },
    ),
    store: raw.store ?? `directory:${stateDir}/store`,
    runDir: raw.runDir ?? '/run/tombolo',
    stateDir,
    bpfDir: raw.bpfDir ?? '/sys/fs/bpf/tombolo',
    bpfObjects: raw.bpfObjects,
    cgroup: raw.cgroup ?? 'auto',
    routing: raw.routing ?? 'underlay',
    forwarding: raw.forwarding ?? 'fast',
    vxlanPort: raw.vxlanPort ?? VXLAN_PORT,
    masquerade: raw.masquerade ?? false,
    masqueradeExceptions: (raw.masqueradeExceptions ?? []).map(parsePrefix),
    masqueradePorts: raw.masqueradePorts === undefined ? undefined : parsePorts(raw.masqueradePorts),
    bgp: parseListener(raw.bgp ?? '0.0.0.0:179'),
    metricsAddress: raw.metricsAddress === undefined ? undefined : parseListener(raw.metricsAddress),
    services: { socket: services.includes('socket'), packet: services.includes('packet') },
    cooldownSeconds: raw.cooldownSeconds ?? 30,
    logLevel: raw.logLevel ?? 'info',
  };
}

function parseListener(value: string): AddressAndPort | undefined {
  if (value === 'off') return undefined;
  const parsed = parseAddressAndPort(value.startsWith(':') ? `0.0.0.0${value}` : value);
  if (parsed.port === undefined) throw new SyntaxError('the port is missing');
  const special = specialOf(parsed.address);
  if (special === 'multicast' || special === 'broadcast') throw new SyntaxError(`it is ${special}`);
  return parsed;
}

/** As kubelet's `--node-ip`: one, or one of each family after another. */
function parseNodeIPs(value: string): IP[] {
  const [first, second, ...more] = value.split(',').map((text) => hostAddress(text.trim()));
  if (first === undefined || more.length > 0) throw new SyntaxError('expected one or two addresses');
  if (second === undefined) return [first];
  if (familyOf(first) === familyOf(second)) throw new SyntaxError('both are of one family');
  return [first, second];
}

function hostAddress(text: string): IP {
  const address = parseIP(text);
  const special = specialOf(address);
  if (special !== undefined) throw new SyntaxError(`it is ${special}`);
  return address;
}

function parsePorts(value: string): { first: number; last: number } {
  const [first = 0, last = 0] = /^(\d{1,5})-(\d{1,5})$/.exec(value)?.slice(1).map(Number) ?? [];
  if (first < 1 || last < first || last > 65_535) throw new SyntaxError('expected FIRST-LAST, of 1 to 65535');
  return { first, last };
}

function fromCommandLine(key: string, value: string): unknown {
  switch (key) {
    case 'segments':
      return value.split(',').map((entry) => {
        const [cidr = '', gateway] = entry.split('@');
        return gateway === undefined ? cidr : { cidr, gateway };
      });
    case 'masqueradeExceptions':
      return value.split(',');
    case 'masquerade':
      return value === 'true' ? true : value === 'false' ? false : value;
    case 'vxlanPort':
    case 'cooldownSeconds':
      return Number(value);
    default:
      return value;
  }
}

/** `nodeIP` as `node-ip`. */
export function kebab(key: string): string {
  return key.replace(/[A-Z]+/g, (capitals) => `-${capitals.toLowerCase()}`);
}

/** The configuration that commands without one of their own go by. */
export function defaultConfigFile(): string | undefined {
  const file = '/etc/tombolo/agent.yaml';
  return existsSync(file) ? file : undefined;
}
