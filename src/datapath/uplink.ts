import { type BpfMap, openMap } from '../ebpf/map.ts';
import type { Netlink } from '../netlink/socket.ts';
import { pinDirectory } from './directory.ts';
import { attachFilters, detachFilter, type FilterHook } from './filters.ts';
import { MAPS, type ThisNode } from './layout.ts';
import { withPrograms } from './pinnedPrograms.ts';

/**
 * Puts the program on the device towards the leaf, takes it off the one that was that before, and tells all programs.
 *
 * @param node A socket in the node's namespace.
 * @param index 0: the node has no uplink.
 */
export function attachUplink(bpfDir: string, node: Netlink, index: number): void {
  const directory = pinDirectory(bpfDir);
  const { uplink: former } = readThisNode(bpfDir);
  if (former !== 0 && former !== index) detachFilter(node, hookOf(former));
  if (index !== 0) {
    withPrograms(directory, (programs) => attachFilters(node, [hookOf(index)], programs));
  }
  changeThisNode(bpfDir, { uplink: index });
}

export function readThisNode(bpfDir: string): ThisNode {
  return withNode(bpfDir, (map) => map.get(0)) ?? { uplink: 0, vxlan: 0, address: undefined, overlay_mtu: 0 };
}

/** Changes members of what the programs know of the node. */
export function changeThisNode(bpfDir: string, changes: Partial<ThisNode>): void {
  const next = { ...readThisNode(bpfDir), ...changes };
  withNode(bpfDir, (map) => map.set(0, next));
}

function hookOf(index: number): FilterHook {
  return { program: 'tb_uplink_in', index, direction: 'ingress' };
}

function withNode<T>(bpfDir: string, body: (map: BpfMap<number, ThisNode>) => T): T {
  const map = openMap(pinDirectory(bpfDir).map('tb_node'), MAPS.tb_node.key, MAPS.tb_node.value);
  try {
    return body(map);
  } finally {
    map.close();
  }
}
