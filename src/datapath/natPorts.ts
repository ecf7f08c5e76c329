/** Inclusive at both ends. */
export interface PortRange {
  readonly first: number;
  readonly last: number;
}

/** Below are the ports that servers of a node listen on. */
const LOWEST = 10_240;
/** Kubernetes gives these to services (`--service-node-port-range`). */
const NODE_PORTS: PortRange = { first: 30_000, last: 32_767 };
/** Fewer than this are not worth having: they are shared with the node's sockets instead. */
const FEWEST = 1_024;
/** Where a node gives its sockets nearly all ports there are. */
const SHARED: PortRange = { first: 61_000, last: 65_535 };

/**
 * The ports that translated flows leave from: the largest range that neither the node's own sockets are given
 * (`net.ipv4.ip_local_port_range`) nor node ports lie in.
 */
export function natPorts(ephemeral: PortRange): PortRange {
  const taken = [ephemeral, NODE_PORTS].sort((a, b) => a.first - b.first);
  const free: PortRange[] = [];
  let first = LOWEST;
  for (const range of taken) {
    if (range.first > first) free.push({ first, last: range.first - 1 });
    first = Math.max(first, range.last + 1);
  }
  if (first <= 65_535) free.push({ first, last: 65_535 });
  const [best] = free.sort((a, b) => b.last - b.first - (a.last - a.first));
  return best !== undefined && best.last - best.first + 1 >= FEWEST ? best : SHARED;
}
