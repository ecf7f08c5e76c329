import { familyOf, formatIP, type IP, parseIP } from '../../src/address/ip.ts';
import { type Mac, parseMac } from '../../src/address/mac.ts';
import {
  formatPrefix,
  type InterfaceAddress,
  networkOf,
  type Prefix,
  parseInterfaceAddress,
} from '../../src/address/prefix.ts';
import { integer, type JsonObject, Members, parsed, text } from './members.ts';
import { atLeast, type Version } from './version.ts';

/** What an attachment looks like, in the words of CNI 1.1.0; older versions say less of it. */
export interface Result {
  readonly interfaces: readonly ResultInterface[];
  readonly ips: readonly ResultAddress[];
  readonly routes: readonly ResultRoute[];
  readonly dns: Dns;
}

export interface ResultInterface {
  readonly name: string;
  readonly mac?: Mac | undefined;
  /** Bytes. */
  readonly mtu?: number | undefined;
  /** Path of the network namespace; absent for interfaces of the host. */
  readonly sandbox?: string | undefined;
  readonly socketPath?: string | undefined;
  readonly pciID?: string | undefined;
}

export interface ResultAddress {
  readonly address: InterfaceAddress;
  readonly gateway?: IP | undefined;
  /** Index into the interfaces of the result. */
  readonly interface?: number | undefined;
}

export interface ResultRoute {
  readonly dst: Prefix;
  readonly gw?: IP | undefined;
  readonly mtu?: number | undefined;
  readonly advmss?: number | undefined;
  readonly priority?: number | undefined;
  readonly table?: number | undefined;
  readonly scope?: number | undefined;
}

export interface Dns {
  readonly nameservers?: readonly string[] | undefined;
  readonly domain?: string | undefined;
  readonly search?: readonly string[] | undefined;
  readonly options?: readonly string[] | undefined;
}

export const EMPTY_RESULT: Result = { interfaces: [], ips: [], routes: [], dns: {} };

const uint32 = integer(0, 0xffffffff);
const ip = parsed('an address', parseIP);

/**
 * Reads a result of any supported version. Fields a version does not have are absent in it anyway, and the
 * `version` of an address (before 1.0.0) says nothing the address does not.
 *
 * @throws {MemberError} Naming the member that is wrong.
 */
export function parseResult(json: JsonObject, path = ''): Result {
  const members = new Members(json, path);
  return {
    interfaces: members.each('interfaces').map((item) => ({
      name: item.required('name', text),
      mac: item.filled('mac', parsed('a MAC address', parseMac)),
      mtu: item.optional('mtu', uint32),
      sandbox: item.filled('sandbox', text),
      socketPath: item.filled('socketPath', text),
      pciID: item.filled('pciID', text),
    })),
    ips: members.each('ips').map((item) => ({
      address: item.required('address', parsed('ADDRESS/LENGTH', parseInterfaceAddress)),
      gateway: item.filled('gateway', ip),
      interface: item.optional('interface', uint32),
    })),
    routes: members.each('routes').map((item) => ({
      // Go's libraries keep the host bits of a destination; the kernel and Tombolo do not.
      dst: networkOf(item.required('dst', parsed('ADDRESS/LENGTH', parseInterfaceAddress))),
      gw: item.filled('gw', ip),
      mtu: item.optional('mtu', uint32),
      advmss: item.optional('advmss', uint32),
      priority: item.optional('priority', uint32),
      table: item.optional('table', uint32),
      scope: item.optional('scope', integer(0, 255)),
    })),
    dns: parseDns(members.inside('dns')),
  };
}

export function parseDns(members: Members): Dns {
  const list = (name: string) => {
    const values = members.list(name, text);
    return values.length > 0 ? values : undefined;
  };
  return {
    nameservers: list('nameservers'),
    domain: members.filled('domain', text),
    search: list('search'),
    options: list('options'),
  };
}

/** The result as `version` words it, ready to be printed or to become a `prevResult`. */
export function formatResult(result: Result, version: Version): JsonObject {
  const rich = atLeast(version, '1.1.0');
  const terse = atLeast(version, '1.0.0');
  return {
    cniVersion: version,
    interfaces: result.interfaces.map(({ name, mac, sandbox, mtu, socketPath, pciID }) => ({
      name,
      mac,
      ...(rich && { mtu }),
      sandbox,
      ...(rich && { socketPath, pciID }),
    })),
    ips: result.ips.map(({ address, gateway, interface: index }) => ({
      ...(!terse && { version: String(familyOf(address.address)) }),
      interface: index,
      address: formatPrefix(address),
      gateway: gateway === undefined ? undefined : formatIP(gateway),
    })),
    routes: result.routes.map(({ dst, gw, ...more }) => ({
      dst: formatPrefix(dst),
      gw: gw === undefined ? undefined : formatIP(gw),
      ...(rich && more),
    })),
    ...(saysSomething(result.dns) && { dns: result.dns }),
  };
}

/** `later` appended to what earlier plugins of the chain have made. */
export function chainResults(earlier: Result, later: Result): Result {
  const offset = earlier.interfaces.length;
  return {
    interfaces: [...earlier.interfaces, ...later.interfaces],
    ips: [
      ...earlier.ips,
      ...later.ips.map((ip) =>
        ip.interface === undefined ? ip : { ...ip, interface: ip.interface + offset },
      ),
    ],
    routes: [...earlier.routes, ...later.routes],
    dns: saysSomething(later.dns) ? later.dns : earlier.dns,
  };
}

/** Empty lists say as little as absent ones. */
export function saysSomething(dns: Dns): boolean {
  return Object.values(dns).some((value) => value !== undefined && value.length > 0);
}
