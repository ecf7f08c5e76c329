import { readFileSync } from 'node:fs';
import { type IP, isIPv4 } from '../address/ip.ts';
import { contains, parsePrefix } from '../address/prefix.ts';
import { NO_ADDRESS } from '../datapath/maps/address.ts';
import { NODE_FLAGS } from '../datapath/maps/node.ts';
import { natPorts, type PortRange } from '../datapath/natPorts.ts';
import type { DatapathPodPrograms } from '../datapath/podPrograms.ts';
import { changeThisNode, readThisNode } from '../datapath/uplink.ts';
import type { Log } from '../log.ts';
import type { Change } from '../store/follow.ts';
import type { IPPool } from '../store/kinds/ipPool.ts';
import type { AgentConfig } from './config.ts';
import type { NodeFacts } from './detect.ts';
import { Inventory } from './inventory.ts';

/** Whether a pod keeps its address towards the outside: the narrowest pool that it is of says so (`natOutgoing: false`). */
export function keepsAddress(pools: readonly IPPool[], address: IP): boolean {
  const [narrowest] = pools
    .map(({ spec }) => ({ range: parsePrefix(spec.cidr), natOutgoing: spec.natOutgoing }))
    .filter(({ range }) => contains(range, address))
    .sort((a, b) => b.range.length - a.range.length);
  return narrowest?.natOutgoing === false;
}

/** Tells the programs the node's own addresses, and by which ports its pods are hidden behind them, if they are. */
export function announceNode(config: AgentConfig, { ips }: NodeFacts): void {
  const { first, last } = config.masqueradePorts ?? natPorts(readEphemeralPorts());
  changeThisNode(config.bpfDir, {
    address: ips.find(isIPv4),
    ipv6: ips.find((ip) => !isIPv4(ip)) ?? NO_ADDRESS,
    flags: firstFlags(config),
    first_port: first,
    ports: last - first + 1,
  });
}

/**
 * Where an earlier run has found out what is inside the cluster, that goes on. Otherwise pods begin nothing with whom it is not known
 * of whether they are to be hidden from him: hidden too early, they would be so from the cluster as well, and too late, they would
 * be seen outside, where nobody can answer.
 */
function firstFlags({ bpfDir, masquerade }: AgentConfig): number {
  if (!masquerade) return 0;
  const { flags } = readThisNode(bpfDir);
  return flags & NODE_FLAGS.masquerades ? flags : NODE_FLAGS.awaitsCluster;
}

/** Whether pods' packets are held back until the cluster is known. */
export function awaitsCluster({ bpfDir }: AgentConfig): boolean {
  return (readThisNode(bpfDir).flags & NODE_FLAGS.awaitsCluster) !== 0;
}

/** Begins to hide pods: not before it is known what is inside the cluster. */
export function startMasquerade({ bpfDir, masquerade }: AgentConfig): void {
  if (masquerade) changeThisNode(bpfDir, { flags: NODE_FLAGS.masquerades });
}

/** Which pods keep their addresses, as pools come and change. */
export class OutgoingAddresses {
  readonly #pools = new Inventory<IPPool>();
  #said = '';

  /** Undefined while the pools are not known: then what an earlier run has found out stands. */
  keeps(address: IP): boolean | undefined {
    return this.#pools.listed ? keepsAddress(this.#pools.all(), address) : undefined;
  }

  onPool(change: Change<IPPool>, pods: DatapathPodPrograms, log: Log): void {
    this.#pools.take(change);
    const says = this.#pools.all().map(({ spec }) => `${spec.cidr} ${spec.natOutgoing}`);
    if (!this.#pools.listed || says.join() === this.#said) return;
    this.#said = says.join();
    for (const { id, reason } of pods.refreshHostEnds()) {
      log.error('a pod keeps or hides its address as before', { id, reason });
    }
  }
}

/** Of this network namespace. */
function readEphemeralPorts(): PortRange {
  const [first = 32_768, last = 60_999] = readFileSync('/proc/sys/net/ipv4/ip_local_port_range', 'utf8')
    .trim()
    .split(/\s+/)
    .map(Number);
  return { first, last };
}
