import { readFileSync } from 'node:fs';
import { isIPv4 } from '../address/ip.ts';
import { hostPrefix, type Prefix, parsePrefix } from '../address/prefix.ts';
import { type NatSource, NO_ADDRESS } from '../datapath/layout.ts';
import { natPorts, type PortRange, planExceptions } from '../datapath/masqueradePlan.ts';
import { NatCollector, type NatCounts, writeExceptions, writeNatSource } from '../datapath/nat.ts';
import { planTunnels } from '../datapath/tunnelPlan.ts';
import type { Log } from '../log.ts';
import type { BGPConfiguration } from '../store/kinds/bgpConfiguration.ts';
import type { IPPool } from '../store/kinds/ipPool.ts';
import type { NodeNetwork } from '../store/kinds/nodeNetwork.ts';
import type { AgentConfig } from './config.ts';
import type { NodeFacts } from './detect.ts';
import { Inventory } from './inventory.ts';
import { settling } from './settling.ts';
import type { StoreState } from './storeState.ts';

/** Changes that come within this time are one. */
const SETTLE_MS = 20;
/** What the kernel has refused is tried again after this. */
const RETRY_MS = 5_000;
/** Between runs of the collector. */
const COLLECT_MS = 5_000;

export interface MasqueradeParts {
  readonly config: AgentConfig;
  readonly node: NodeFacts;
  readonly store: StoreState;
  readonly log: Log;
}

/** Pods hidden behind the node towards the outside. */
export interface Masquerade {
  /** Of the collector's latest run. */
  readonly counts: NatCounts;
  /** The ports that flows leave from. */
  readonly ports: PortRange;
  stop(): Promise<void>;
}

/**
 * Keeps the exceptions as pools and nodes in the store say. Until those are known an earlier run's serve on, and without
 * an earlier run nobody is hidden.
 */
export function joinMasquerade({ config, node, store, log }: MasqueradeParts): Masquerade {
  const networks = new Inventory<NodeNetwork>();
  const pools = new Inventory<IPPool>();
  const bgp = new Inventory<BGPConfiguration>();
  const { bpfDir, masquerade } = config;
  const ports = config.masqueradePorts ?? natPorts(readEphemeralPorts());
  const collector = new NatCollector(bpfDir);
  let retry: NodeJS.Timeout | undefined;
  if (masquerade && config.forwarding === 'stack') {
    log.warning('masquerade hides no pods: forwarding is left to the stack, which does not translate');
  }

  const settle = settling(
    SETTLE_MS,
    async () => {
      if (!networks.listed || !pools.listed || !bgp.listed) return;
      const cluster = planTunnels({
        name: '',
        routing: 'underlay',
        address: undefined,
        networks: networks.all(),
        pools: pools.all(),
      });
      const to = [
        ...cluster.prefixes.map(({ prefix }) => prefix),
        ...node.ips.map(hostPrefix),
        ...config.segments.map(({ prefix }) => prefix),
        ...config.masqueradeExceptions,
        ...bgp.all().flatMap(serviceRanges),
      ];
      writeExceptions(bpfDir, planExceptions({ to, pools: pools.all().map(poolOf) }));
      // Last, so that nobody is hidden from the cluster for a moment.
      writeNatSource(bpfDir, sourceOf(node, ports, masquerade));
    },
    (error) => {
      log.error('masquerade cannot be brought up to date', { error });
      clearTimeout(retry);
      retry = setTimeout(() => settle.soon(), RETRY_MS);
    },
  );

  const take =
    <T>(inventory: { take(change: T): void }) =>
    (change: T) => {
      inventory.take(change);
      settle.soon();
    };
  store.follow('NodeNetwork', take(networks));
  store.follow('IPPool', take(pools));
  store.follow('BGPConfiguration', take(bgp));

  const collecting = setInterval(() => {
    try {
      collector.run();
    } catch (error) {
      log.error('translated flows were not collected', { error });
    }
  }, COLLECT_MS);
  collecting.unref();

  return {
    get counts() {
      return collector.counts;
    },
    ports,
    async stop() {
      clearTimeout(retry);
      clearInterval(collecting);
      await settle.stop();
      collector[Symbol.dispose]();
    },
  };
}

function sourceOf({ ips }: NodeFacts, { first, last }: PortRange, masquerade: boolean): NatSource {
  return {
    ipv4: ips.find(isIPv4) ?? NO_ADDRESS,
    ipv6: ips.find((ip) => !isIPv4(ip)) ?? NO_ADDRESS,
    first_port: first,
    ports: last - first + 1,
    masquerade: masquerade ? 1 : 0,
  };
}

function poolOf({ spec }: IPPool): { prefix: Prefix; natOutgoing: boolean } {
  // The node's configuration asks for it already, so that a pool need only speak where it does not want to.
  return { prefix: parsePrefix(spec.cidr), natOutgoing: spec.natOutgoing ?? true };
}

/** Where the cluster's services are, whether any has such an address or not. */
function serviceRanges({ spec }: BGPConfiguration): Prefix[] {
  const { serviceClusterIPs = [], serviceExternalIPs = [], serviceLoadBalancerIPs = [] } = spec;
  return [...serviceClusterIPs, ...serviceExternalIPs, ...serviceLoadBalancerIPs].map(({ cidr }) =>
    parsePrefix(cidr),
  );
}

/** Of this network namespace. */
function readEphemeralPorts(): PortRange {
  const [first = 32_768, last = 60_999] = readFileSync('/proc/sys/net/ipv4/ip_local_port_range', 'utf8')
    .trim()
    .split(/\s+/)
    .map(Number);
  return { first, last };
}
