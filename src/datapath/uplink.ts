import { type BpfMap, openMap } from '../ebpf/map.ts';
import type { Netlink } from '../netlink/socket.ts';
import { pinDirectory } from './directory.ts';
import { attachFilters, detachFilter, type FilterHook } from './filters.ts';
import { MAPS, NO_ADDRESS, type ThisNode } from './layout.ts';
import { withPrograms } from './pinnedPrograms.ts';

const UNKNOWN: ThisNode = {
  uplink: 0,
  vxlan: 0,
  address: undefined,
  overlay_mtu: 0,
  flags: 0,
  first_port: 0,
  ports: 0,
  ipv6: NO_ADDRESS,
};

/**
 * Puts the programs on the device towards the leaf, takes them off the one that was that before, and tells all programs.
 *
 * @param node A socket in the node's namespace.
 * @param index 0: the node has no uplink.
 */
export function attachUplink(bpfDir: string, node: Netlink, index: number): void {
  const directory = pinDirectory(bpfDir);
  const { uplink: former } = readThisNode(bpfDir);
  if (former !== 0 && former !== index) for (const hook of hooksOf(former)) detachFilter(node, hook);
  if (index !== 0) {
    withPrograms(directory, (programs) => attachFilters(node, hooksOf(index), programs));
  }
  changeThisNode(bpfDir, { uplink: index });
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
