import { existsSync, realpathSync } from 'node:fs';
import { dirname, join } from 'node:path';
import type { IP } from '../address/ip.ts';
import type { RecordStore } from '../attach/record.ts';
import type { ServingNode } from '../datapath/backendSet.ts';
import { pinDirectory } from '../datapath/directory.ts';
import { FlowCollector } from '../datapath/flows.ts';
import { listNamespace } from '../datapath/namespaces.ts';
import { type DatapathPodPrograms, datapathPodPrograms } from '../datapath/podPrograms.ts';
import { loadDatapath } from '../datapath/programs.ts';
import { openServiceMaps } from '../datapath/serviceMaps.ts';
import { attachUplinks } from '../datapath/uplink.ts';
import type { Log } from '../log.ts';
import { namespaceCookie } from '../netlink/namespace.ts';
import type { Netlink } from '../netlink/socket.ts';
import type { AnnouncedClusterIPs } from './announcedClusterIPs.ts';
import type { AgentConfig } from './config.ts';
import type { NodeFacts } from './detect.ts';
import { watchFilters } from './filterWatch.ts';
import { announceNode, OutgoingAddresses } from './masquerade.ts';
import { ServiceTable } from './serviceTable.ts';
import { endUdpSockets } from './udpSockets.ts';

/** The programs and maps of this node, as far as the agent works with them. */
export interface Datapath {
  readonly services: ServiceTable;
  readonly flows: FlowCollector;
  readonly pods: DatapathPodPrograms;
  readonly outgoing: OutgoingAddresses;
  /**
   * To be called when uplinks or addresses of the node are others than before.
   *
   * @throws {SystemError} If an uplink cannot be given the programs.
   */
  nodeChanged(): void;
  /** Lets go of the descriptors; what is pinned and attached serves on. */
  close(): void;
}

export interface DatapathParts {
  readonly config: AgentConfig;
  readonly node: NodeFacts;
  readonly netlink: Netlink;
  readonly records: RecordStore;
  readonly announced: Pick<AnnouncedClusterIPs, 'ranges'>;
  readonly log: Log;
}

/**
 * Loads the programs over those of an earlier run, gives them to the pods there are, and takes over the services
 * that the maps hold. Connections go on through all of it.
 *
 * @throws {LoadError} If a program does not load; then those of the earlier run serve on.
 */
export function startDatapath({ config, node, netlink, records, announced, log }: DatapathParts): Datapath {
  const { bpfDir, services: mode } = config;
  const outgoing = new OutgoingAddresses();
  const forwarding = { way: config.forwarding, keepsAddress: (address: IP) => outgoing.keeps(address) };
  const upgrade = loadDatapath({ bpfDir, objects: objectsDirectory(config), cgroup: node.cgroup, log });
  const pods = datapathPodPrograms({ bpfDir, mode, records, forwarding });
  try {
    joinNetwork({ config, node, netlink });
    for (const { id, reason } of pods.replaceAll()) {
      log.error('a pod keeps the programs of an earlier agent', { id, reason });
    }
    upgrade.settle();
  } finally {
    upgrade[Symbol.dispose]();
  }
  const maps = openServiceMaps(pinDirectory(bpfDir).maps);
  const services = new ServiceTable({
    maps,
    node: servingNode(node, announced),
    now: () => performance.now() / 1000,
    retired: (places) => endUdpSockets(places, records, log),
  });
  const flows = new FlowCollector(bpfDir, log);
  flows.start();
  const nodeChanged = () => joinNetwork({ config, node, netlink });
  const watch = watchFilters({ bpfDir, netlink, records, pods, nodeChanged, log });
  return {
    services,
    flows,
    pods,
    outgoing,
    nodeChanged,
    close() {
      watch.close();
      flows[Symbol.dispose]();
      maps[Symbol.dispose]();
    },
  };
}

/** Tells the programs where the node stands, and puts them there. */
function joinNetwork({ config, node, netlink }: Pick<DatapathParts, 'config' | 'node' | 'netlink'>): void {
  listOwnNamespace(config.bpfDir, node, config.services.socket);
  announceNode(config, node);
  attachUplinks(
    config.bpfDir,
    netlink,
    node.uplinks.map(({ index }) => index),
  );
}

/** Everything about it is what it is now. */
function servingNode(node: NodeFacts, announced: DatapathParts['announced']): ServingNode {
  return {
    name: node.name,
    get addresses() {
      return node.ips;
    },
    get announcedClusterIPs() {
      return announced.ranges;
    },
  };
}

/** The node's own processes are served at the socket; its packets are not ours. */
function listOwnNamespace(bpfDir: string, { ips }: NodeFacts, socket: boolean): void {
  const cookie = namespaceCookie();
  if (cookie !== undefined) listNamespace(bpfDir, cookie, { socket, packet: false }, ips);
}

/** `dist/bpf`, beside `dist/tombolo` or two levels above the sources; an installed agent is called by a link to it. */
function objectsDirectory({ bpfObjects }: AgentConfig): string {
  if (bpfObjects !== undefined) return bpfObjects;
  const program = dirname(realpathSync(process.argv[1] ?? '.'));
  const candidates = [join(program, 'bpf'), join(program, '../../dist/bpf'), '/usr/lib/tombolo/bpf'];
  const found = candidates.find((candidate) => existsSync(candidate));
  if (found) return found;
  throw new Error(
    `Cannot find the compiled eBPF objects: set bpfObjects (looked in ${candidates.join(', ')})`,
  );
}
