import { messageOf } from '../../src/errors.ts';
import { LOG_LEVELS, type LogLevel } from '../../src/log.ts';
import { type Capabilities, parseCapabilities } from './capabilities.ts';
import { type AttachmentKey, IDENTIFIER, parseContainerID, parseIfName } from './environment.ts';
import { CniError, CODE } from './error.ts';
import {
  absolutePath,
  boolean,
  integer,
  isObject,
  type JsonObject,
  MemberError,
  Members,
  object,
  oneOf,
  parsed,
  text,
} from './members.ts';
import { type Dns, parseDns, parseResult, type Result } from './result.ts';
import { isVersion, NEWEST, type Version } from './version.ts';

/** Where a node keeps what Tombolo needs, unless the configuration says otherwise. */
export const DEFAULTS = {
  agentSocket: '/run/tombolo/agent.sock',
  stateDir: '/var/lib/tombolo',
  bpfDir: '/sys/fs/bpf/tombolo',
} as const;

/** A network of type `tombolo`, as the runtime hands it to one call. */
export interface Configuration {
  readonly network: string;
  readonly attachment: AttachmentConfiguration;
  /** Bytes; 0 derives it from the uplink or the device. */
  readonly mtu: number;
  readonly agentSocket: string;
  readonly stateDir: string;
  readonly bpfDir: string;
  /** The delegated plugin, by the name of its executable; undefined leaves addresses to the agent. */
  readonly ipam: string | undefined;
  readonly dns: Dns;
  readonly logLevel: LogLevel;
  /** Undefined logs to stderr, which runtimes keep. */
  readonly logFile: string | undefined;
  readonly capabilities: Capabilities;
  readonly prevResult: Result | undefined;
  /** What GC may not touch; undefined where the runtime sent no list at all. */
  readonly validAttachments: readonly AttachmentKey[] | undefined;
  /** Members that mean nothing to Tombolo: worth a warning, since one of them may be a slip. */
  readonly unknown: readonly string[];
  /** The configuration as it came, for delegated plugins. */
  readonly json: JsonObject;
}

export type AttachmentConfiguration =
  | { readonly attachment: 'veth' }
  | { readonly attachment: 'nic'; readonly device: string | undefined }
  | { readonly attachment: 'nic'; readonly master: string; readonly kind: 'macvlan' | 'ipvlan' };

const KNOWN = new Set([
  'cniVersion', 'cniVersions', 'name', 'type', 'args', 'capabilities', 'runtimeConfig', 'prevResult', 'dns', 'ipam',
  'ipMasq', 'attachment', 'device', 'master', 'kind', 'mtu', 'agentSocket', 'stateDir', 'bpfDir', 'logLevel',
  'logFile', 'cni.dev/valid-attachments', 'cni.dev/attachments',
]); // biome-ignore format: a list is read faster in lines

/**
 * Reads the input of a call as JSON.
 *
 * @throws {CniError} Code 6, if it is not one JSON object.
 */
export function decodeConfiguration(input: string): JsonObject {
  const fail = (reason: string) =>
    new CniError(CODE.undecodable, `Cannot read network configuration: ${reason}`);
  if (input.trim() === '') throw fail('the input is empty');
  let json: unknown;
  try {
    json = JSON.parse(input);
  } catch (error) {
    throw fail(messageOf(error));
  }
  if (!isObject(json)) throw fail(`expected a JSON object (value ${input.trim().slice(0, 80)})`);
  return json;
}

/** The `cniVersion` a configuration states; undefined where it states none. */
export function statedVersion(json: JsonObject): string | undefined {
  const { cniVersion } = json;
  if (cniVersion === undefined || cniVersion === '') return undefined;
  return typeof cniVersion === 'string' ? cniVersion : JSON.stringify(cniVersion);
}

/** The version to word an answer in, also where the stated one cannot be served. */
export function answerVersion(json: JsonObject): Version {
  return isVersion(json.cniVersion) ? json.cniVersion : NEWEST;
}

/**
 * The name of the network, which every verb needs.
 *
 * @throws {CniError} Code 7.
 */
export function networkName(json: JsonObject): string {
  const { name } = json;
  if (typeof name === 'string' && IDENTIFIER.test(name)) return name;
  throw new CniError(
    CODE.invalidConfiguration,
    name === undefined || name === ''
      ? 'Cannot read network configuration: "name" is missing'
      : `Cannot read network configuration: "name" must begin with a letter or digit and hold only letters, digits, "_", "." and "-" (value ${JSON.stringify(name)})`,
  );
}

/**
 * Reads a network configuration.
 *
 * @throws {CniError} Code 7 for a wrong value, code 2 for a field Tombolo cannot serve; both name it.
 */
export function parseConfiguration(json: JsonObject): Configuration {
  const network = networkName(json);
  try {
    const members = new Members(json);
    if (members.optional('ipMasq', boolean)) {
      throw unsupported(
        'ipMasq',
        true,
        `masquerading is set for the whole node, by the agent's "masquerade"`,
      );
    }
    return {
      network,
      attachment: parseAttachment(members),
      mtu: members.optional('mtu', mtu) ?? 0,
      agentSocket: members.optional('agentSocket', absolutePath) ?? DEFAULTS.agentSocket,
      stateDir: members.optional('stateDir', absolutePath) ?? DEFAULTS.stateDir,
      bpfDir: members.optional('bpfDir', absolutePath) ?? DEFAULTS.bpfDir,
      ipam: parseIpam(members),
      dns: parseDns(members.inside('dns')),
      logLevel: members.optional('logLevel', oneOf(...LOG_LEVELS)) ?? 'info',
      logFile: members.optional('logFile', absolutePath),
      capabilities: parseCapabilities(members),
      prevResult: parsePrevResult(members),
      validAttachments: parseValidAttachments(members),
      unknown: members.names().filter((name) => !KNOWN.has(name)),
      json,
    };
  } catch (error) {
    if (!(error instanceof MemberError)) throw error;
    throw new CniError(CODE.invalidConfiguration, `Cannot read network configuration: ${error.message}`);
  }
}

/** 0, or what IPv4 requires of every link (RFC 791 §3.2) up to the largest IP packet. */
const mtu = {
  expected: '0 or a whole number from 68 to 65535',
  read: (value: unknown) => (value === 0 ? 0 : integer(68, 65535).read(value)),
};

/** A device of the host: an interface name, a PCI address or a MAC address. */
const device = parsed('an interface name, a PCI address or a MAC address', (value) =>
  /^[0-9a-fA-F]{4}:[0-9a-fA-F]{2}:[0-9a-fA-F]{2}\.[0-7]$/.test(value) ||
  /^([0-9a-fA-F]{2}:){5}[0-9a-fA-F]{2}$/.test(value)
    ? value.toLowerCase()
    : linkName.read(value),
);

const linkName = {
  expected: 'an interface name',
  read: (value: unknown) => {
    if (typeof value !== 'string') return undefined;
    try {
      return parseIfName(value);
    } catch {
      return undefined;
    }
  },
};

function parseAttachment(members: Members): AttachmentConfiguration {
  const attachment = members.optional('attachment', oneOf('veth', 'nic')) ?? 'veth';
  const given = members.filled('device', device);
  const deviceID = members.inside('runtimeConfig').filled('deviceID', device);
  const master = members.filled('master', linkName);
  const kind = members.optional('kind', oneOf('macvlan', 'ipvlan'));
  if (attachment === 'veth') {
    const stray = Object.entries({ device: given, 'runtimeConfig.deviceID': deviceID, master, kind });
    const [name] = stray.find(([, value]) => value !== undefined) ?? [];
    if (name !== undefined) throw new MemberError(`"${name}" needs "attachment" to be "nic"`);
    return { attachment };
  }
  // The runtime knows which device of a pool this pod was given; the configuration cannot.
  const chosen = deviceID ?? given;
  if (master === undefined) {
    if (kind !== undefined) throw new MemberError(`"kind" needs "master", the device to make a ${kind} of`);
    return { attachment, device: chosen };
  }
  if (chosen !== undefined) throw new MemberError('"device" and "master" exclude each other');
  if (kind === undefined) throw new MemberError('"kind" is missing: "master" needs "macvlan" or "ipvlan"');
  return { attachment, master, kind };
}

function parseIpam(members: Members): string | undefined {
  const ipam = members.optional('ipam', object);
  if (ipam === undefined || Object.keys(ipam).length === 0) return undefined;
  const type = members.inside('ipam').required('type', text);
  // The name becomes the name of a program to run as root.
  if (type === '' || type === '.' || type === '..' || /[/\0]/.test(type)) {
    throw new MemberError(`"ipam.type" must be the name of a plugin (value ${JSON.stringify(type)})`);
  }
  return type;
}

function parsePrevResult(members: Members): Result | undefined {
  const prevResult = members.optional('prevResult', object);
  return prevResult && parseResult(prevResult, 'prevResult.');
}

/**
 * Version 1.1.0 calls the list `cni.dev/valid-attachments`, its first edition called it
 * `cni.dev/attachments` in places; libcni sends both. A Go runtime with an empty list sends `null`.
 */
function parseValidAttachments(members: Members): AttachmentKey[] | undefined {
  const names = members.names();
  const name = ['cni.dev/valid-attachments', 'cni.dev/attachments'].find((known) => names.includes(known));
  if (name === undefined) return undefined;
  return members.each(name).map((item) => ({
    containerID: item.required('containerID', parsed('a container ID', parseContainerID)),
    ifName: item.required('ifname', parsed('an interface name', parseIfName)),
  }));
}

/** Specification 1.1.0: the message of code 2 must contain the key and the value. */
export function unsupported(key: string, value: unknown, why: string): CniError {
  return new CniError(
    CODE.unsupportedField,
    `Cannot serve "${key}": ${why} (value ${JSON.stringify(value)})`,
  );
}
