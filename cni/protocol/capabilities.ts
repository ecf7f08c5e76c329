import { type IP, parseIP } from '../../src/address/ip.ts';
import { type Mac, macBytes, parseMac } from '../../src/address/mac.ts';
import type { Args } from './environment.ts';
import { integer, type JsonObject, MemberError, type Members, object, parsed } from './members.ts';

/** What a runtime asks for one attachment, by the conventions for `runtimeConfig` and `args.cni`. */
export interface Capabilities {
  /** Addresses the pod must have, at most one of each family. */
  readonly ips: readonly IP[];
  readonly mac: Mac | undefined;
  readonly bandwidth: Bandwidth | undefined;
  readonly portMappings: readonly JsonObject[];
}

/** Bits per second, and bits that may pass at once; a rate of 0 is no limit. */
export interface Bandwidth {
  /** Towards the pod. */
  readonly ingressRate: number;
  readonly ingressBurst: number;
  /** From the pod. */
  readonly egressRate: number;
  readonly egressBurst: number;
}

/** Some runtimes append a prefix length to a requested address; which network it is in is IPAM's to say. */
const requestedIP = parsed('an address', (value) => parseIP(value.replace(/\/\d+$/, '')));

const stationMac = parsed('a MAC address', parseStationMac);

export function parseCapabilities(members: Members): Capabilities {
  const runtime = members.inside('runtimeConfig');
  const args = members.inside('args').inside('cni');
  const ips = runtime.list('ips', requestedIP);
  return {
    ips: ips.length > 0 ? ips : args.list('ips', requestedIP),
    mac: runtime.filled('mac', stationMac) ?? args.filled('mac', stationMac),
    bandwidth: parseBandwidth(runtime),
    portMappings: runtime.list('portMappings', object),
  };
}

/** The older way of asking: `CNI_ARGS="IP=10.0.0.5;MAC=02:00:00:00:00:01"`, used where no newer one is. */
export function withArgs(capabilities: Capabilities, args: Args): Capabilities {
  const ip = args.get('IP');
  const mac = args.get('MAC');
  return {
    ...capabilities,
    ips: capabilities.ips.length > 0 || !ip ? capabilities.ips : [parseIP(ip.replace(/\/\d+$/, ''))],
    mac: capabilities.mac ?? (mac ? parseStationMac(mac) : undefined),
  };
}

function parseStationMac(value: string): Mac {
  const mac = parseMac(value);
  const bytes = macBytes(mac);
  if (bytes.every((byte) => byte === 0) || ((bytes[0] ?? 0) & 1) === 1) {
    throw new SyntaxError('it must be the address of one station, not of a group and not zero');
  }
  return mac;
}

function parseBandwidth(runtime: Members): Bandwidth | undefined {
  if (runtime.optional('bandwidth', object) === undefined) return undefined;
  const members = runtime.inside('bandwidth');
  const bits = (name: string) => members.optional(name, integer(0, Number.MAX_SAFE_INTEGER)) ?? 0;
  const bandwidth = {
    ingressRate: bits('ingressRate'),
    ingressBurst: bits('ingressBurst'),
    egressRate: bits('egressRate'),
    egressBurst: bits('egressBurst'),
  };
  for (const way of ['ingress', 'egress'] as const) {
    if (bandwidth[`${way}Burst`] > 0 && bandwidth[`${way}Rate`] === 0) {
      throw new MemberError(`"runtimeConfig.bandwidth.${way}Burst" needs "${way}Rate"`);
    }
  }
  return bandwidth.ingressRate || bandwidth.egressRate ? bandwidth : undefined;
}
