import { hostname } from 'node:os';
import { formatIP, type IP, isIPv4 } from '../address/ip.ts';
import { cgroupRoot } from '../ebpf/cgroup.ts';
import { because } from '../errors.ts';
import type { Log } from '../log.ts';
import { listAddresses } from '../netlink/address.ts';
import { findLink, getLink } from '../netlink/link.ts';
import { listRoutes, MAIN_TABLE } from '../netlink/route.ts';
import type { Netlink } from '../netlink/socket.ts';
import type { AgentConfig } from './config.ts';

/** The node, as far as the agent must know it. */
export interface NodeFacts {
  readonly name: string;
  /** None on a node without a default route that was not told its address. */
  readonly ip: IP | undefined;
  /** Every address of the node that peers may use, {@link ip} first: one of each family. */
  readonly ips: readonly IP[];
  /** Where packets leave towards the leaf; none on a node without a default route. */
  readonly uplink: { readonly name: string; readonly index: number; readonly mtu: number } | undefined;
  /** The cgroup for the socket programs; none where they are switched off or there is no cgroup v2. */
  readonly cgroup: string | undefined;
}

/**
 * Finds out what the configuration leaves open.
 *
 * @throws {Error} If what it names does not exist.
 */
export function detectNode(config: AgentConfig, netlink: Netlink, log: Log): NodeFacts {
  const uplink = uplinkOf(config, netlink);
  const found = uplink === undefined ? [] : globalAddresses(netlink, uplink.index);
  const ip = config.nodeIP ?? found[0];
  if (ip === undefined) log.warning('no node address: no default route, and nodeIP is not set');
  const other = found.find((address) => ip !== undefined && isIPv4(address) !== isIPv4(ip));
  return {
    name: config.nodeName ?? hostname().toLowerCase(),
    ip,
    ips: [ip, other].filter((address) => address !== undefined),
    uplink,
    cgroup: cgroupOf(config, log),
  };
}

function uplinkOf(config: AgentConfig, netlink: Netlink): NodeFacts['uplink'] {
  if (config.uplink !== undefined) {
    const link = findLink(netlink, config.uplink);
    if (!link) throw new Error(`Cannot use uplink: there is no such device (value ${config.uplink})`);
    return link;
  }
  for (const family of [4, 6] as const) {
    const [best] = listRoutes(netlink, { family, table: MAIN_TABLE, type: 'unicast' })
      .filter(({ prefix }) => prefix.length === 0)
      .sort((a, b) => (a.priority ?? 0) - (b.priority ?? 0));
    const index = best?.nextHops[0]?.index;
    if (index !== undefined) return getLink(netlink, index);
  }
  return undefined;
}

/** The first one of each family, as the kernel lists them: primary before secondary. */
function globalAddresses(netlink: Netlink, index: number): IP[] {
  const all = listAddresses(netlink, { index })
    .filter(({ scope, duplicate }) => scope === 'global' && !duplicate)
    .map(({ address }) => address.address);
  return [all.find(isIPv4), all.find((address) => !isIPv4(address))].filter((ip) => ip !== undefined);
}

function cgroupOf({ cgroup, services }: AgentConfig, log: Log): string | undefined {
  if (cgroup === 'off' || !services.socket) return undefined;
  if (cgroup !== 'auto') return cgroup;
  try {
    const root = cgroupRoot();
    if (root === undefined) log.warning('no cgroup v2 is mounted: services are translated in packets only');
    return root;
  } catch (error) {
    throw because('find the cgroup v2 hierarchy', error);
  }
}

export function describeNode({ name, ips, uplink, cgroup }: NodeFacts) {
  return { node: name, nodeIPs: ips.map(formatIP), uplink: uplink?.name, cgroup };
}
