import { hostname } from 'node:os';
import { formatIP, type IP } from '../address/ip.ts';
import { cgroupRoot } from '../ebpf/cgroup.ts';
import { because } from '../errors.ts';
import type { Log } from '../log.ts';
import { listAddresses } from '../netlink/address.ts';
import type { Netlink } from '../netlink/socket.ts';
import type { AgentConfig } from './config.ts';
import { chooseAddresses } from './nodeAddresses.ts';
import { findUplinks, LOOPBACK, type Uplink } from './uplinks.ts';

/** The node, as far as the agent must know it. Addresses and uplinks may change: they are what they are now. */
export interface NodeFacts {
  readonly name: string;
  /** None on a node without a default route that was not told its address. */
  readonly ip: IP | undefined;
  /** Every address of the node that peers may use, {@link ip} first: one of each family. */
  readonly ips: readonly IP[];
  /** Those of them that the configuration says and no device of the node has, as before VRRP or DHCP has given it. */
  readonly missing: readonly IP[];
  /** Where packets leave towards the leaves, the preferred one first; none on a node without a default route. */
  readonly uplinks: readonly Uplink[];
  /** The cgroup for the socket programs; none where they are switched off or there is no cgroup v2. */
  readonly cgroup: string | undefined;
}

export interface DetectedNode extends NodeFacts {
  /** Looks again. @returns Whether anything is different. */
  look(): boolean;
}

/**
 * Finds out what the configuration leaves open.
 *
 * @throws {Error} If what it names does not exist.
 */
export function detectNode(config: AgentConfig, netlink: Netlink, log: Log): DetectedNode {
  const found = findUplinks(netlink, config.uplink);
  const [absent] = found.missing;
  if (absent !== undefined) {
    throw new Error(`Cannot use uplink: there is no such device (value ${absent})`);
  }
  const addressesNow = (uplinks: readonly Uplink[], former: readonly IP[]) =>
    chooseAddresses(
      config.nodeIP,
      former,
      [...uplinks.map(({ index }) => index), LOOPBACK].flatMap((index) => globalAddresses(netlink, index)),
    );
  let uplinks = found.uplinks;
  let ips = addressesNow(uplinks, []);
  let missing: readonly IP[] = [];
  const lookForMissing = () => {
    const before = missing;
    missing = unassigned(netlink, config.nodeIP);
    for (const address of missing.filter((one) => !before.includes(one)))
      log.warning(missingAddress(address));
  };
  lookForMissing();
  for (const problem of found.problems) log.warning(problem);
  if (ips.length === 0) log.warning('no node address: no default route, and nodeIP is not set');
  return {
    name: config.nodeName ?? hostname().toLowerCase(),
    cgroup: cgroupOf(config, log),
    get ip() {
      return ips[0];
    },
    get ips() {
      return ips;
    },
    get missing() {
      return missing;
    },
    get uplinks() {
      return uplinks;
    },
    look() {
      const before = textOf(uplinks, ips, missing);
      const now = findUplinks(netlink, config.uplink);
      for (const problem of now.problems) log.warning(problem);
      uplinks = now.uplinks;
      ips = addressesNow(uplinks, ips);
      lookForMissing();
      return textOf(uplinks, ips, missing) !== before;
    },
  };
}

function textOf(uplinks: readonly Uplink[], ...addresses: (readonly IP[])[]): string {
  return JSON.stringify([uplinks, addresses.map((each) => each.map(formatIP))]);
}

/** As the kernel lists them: primary before secondary. */
function globalAddresses(netlink: Netlink, index: number): IP[] {
  return listAddresses(netlink, { index })
    .filter(({ scope, duplicate }) => scope === 'global' && !duplicate)
    .map(({ address }) => address.address);
}

/** Those that no device has, whichever: an address of a service may be on one that is no uplink. */
function unassigned(netlink: Netlink, addresses: readonly IP[]): IP[] {
  if (addresses.length === 0) return [];
  const assigned = new Set(listAddresses(netlink).map(({ address }) => address.address));
  return addresses.filter((address) => !assigned.has(address));
}

/** What is wrong, and what follows from it. */
export function missingAddress(address: IP): string {
  return (
    `no device of the node has ${formatIP(address)}, which nodeIP says: ` +
    'node ports, hidden pods, tunnels and BGP sessions by it work once one has it'
  );
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

export function describeNode({ name, ips, uplinks, cgroup }: NodeFacts) {
  return { node: name, nodeIPs: ips.map(formatIP), uplink: uplinkNames({ uplinks }), cgroup };
}

/** For people: `up0, up1`. */
export function uplinkNames({ uplinks }: Pick<NodeFacts, 'uplinks'>): string | undefined {
  return uplinks.length === 0 ? undefined : uplinks.map(({ name }) => name).join(', ');
}
