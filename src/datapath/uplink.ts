import { type BpfMap, openMap } from '../ebpf/map.ts';
import type { Netlink } from '../netlink/socket.ts';
import { pinDirectory } from './directory.ts';
import { attachFilters, detachFilter, type FilterHook, programOfFilter } from './filters.ts';
import { MAPS } from './layout.ts';
import { NO_ADDRESS } from './maps/address.ts';
import type { ThisNode } from './maps/node.ts';
import { withPrograms } from './pinnedPrograms.ts';

const UNKNOWN: ThisNode = {
  uplinks: [],
  vxlan: 0,
  address: undefined,
  overlay_mtu: 0,
  flags: 0,
  first_port: 0,
  ports: 0,
  tunnel_port: 0,
  ipv6: NO_ADDRESS,
};

/**
 * Puts the programs on the devices towards the leaves, takes them off those that were that before, and tells all programs.
 *
 * @param node A socket in the node's namespace.
 * @param indexes None: the node has no uplink.
 * @throws {SystemError} `ENODEV` if one is gone; the others have what they should.
 */
export function attachUplinks(bpfDir: string, node: Netlink, indexes: readonly number[]): void {
  const former = readThisNode(bpfDir).uplinks.filter((index) => !indexes.includes(index));
  for (const hook of former.flatMap(hooksOf)) detachFilter(node, hook);
  // First who they are: a packet that comes to a device before its programs know it takes the stack.
  changeThisNode(bpfDir, { uplinks: indexes });
  withPrograms(pinDirectory(bpfDir), (programs) => {
    const failures = indexes.flatMap((index) => {
      try {
        attachFilters(node, hooksOf(index), programs);
        return [];
      } catch (error) {
        return [error];
      }
    });
    if (failures.length > 0) throw failures[0];
  });
}

/** Whether the programs are where {@link attachUplinks} has put them. */
export function uplinksAreServed(bpfDir: string, node: Netlink): boolean {
  const hooks = readThisNode(bpfDir).uplinks.flatMap(hooksOf);
  return hooks.every((hook) => programOfFilter(node, hook) !== undefined);
}

export function readThisNode(bpfDir: string): ThisNode {
  return withNode(bpfDir, (map) => map.get(0)) ?? UNKNOWN;
}

/** Changes members of what the programs know of the node. */
export function changeThisNode(bpfDir: string, changes: Partial<ThisNode>): void {
  const next = { ...readThisNode(bpfDir), ...changes };
  withNode(bpfDir, (map) => map.set(0, next));
}

function hooksOf(index: number): FilterHook[] {
  return [
    { program: 'tb_uplink_in', index, direction: 'ingress' },
    { program: 'tb_uplink_out', index, direction: 'egress' },
  ];
}

function withNode<T>(bpfDir: string, body: (map: BpfMap<number, ThisNode>) => T): T {
  const map = openMap(pinDirectory(bpfDir).map('tb_node'), MAPS.tb_node.key, MAPS.tb_node.value);
  try {
    return body(map);
  } finally {
    map.close();
  }
}
