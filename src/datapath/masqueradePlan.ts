import { comparePrefixes, covers, formatPrefix, type Prefix } from '../address/prefix.ts';
import { NO_MASQUERADE_FLAGS } from './layout.ts';

/** A range of `tb_no_masquerade`. */
export interface MasqueradeException {
  readonly prefix: Prefix;
  /** Of {@link NO_MASQUERADE_FLAGS}. */
  readonly flags: number;
}

export interface MasqueradeInputs {
  /** What is sent there keeps its source: the cluster's own ranges, and those that are configured. */
  readonly to: readonly Prefix[];
  /** Ranges of pods, and whether these are hidden. */
  readonly pools: readonly { readonly prefix: Prefix; readonly natOutgoing: boolean }[];
}

/**
 * The entries of a map in which the longest prefix speaks alone: each says all that holds inside it. A destination is an
 * exception if any range around it is; of pools inside each other the innermost decides.
 */
export function planExceptions({ to, pools }: MasqueradeInputs): MasqueradeException[] {
  const all = new Map([...to, ...pools.map(({ prefix }) => prefix)].map((p) => [formatPrefix(p), p]));
  return [...all.values()].sort(comparePrefixes).map((prefix) => {
    const pool = pools
      .filter((candidate) => covers(candidate.prefix, prefix))
      .sort((a, b) => b.prefix.length - a.prefix.length)[0];
    const kept = to.some((range) => covers(range, prefix)) ? NO_MASQUERADE_FLAGS.to : 0;
    return { prefix, flags: kept | (pool?.natOutgoing === false ? NO_MASQUERADE_FLAGS.from : 0) };
  });
}

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
