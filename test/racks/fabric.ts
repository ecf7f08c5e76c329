import type { Lab } from '../interop/lab.ts';
import type { Router } from '../interop/router.ts';
import type { Speaker } from '../interop/speaker.ts';
import type { TestNamespace } from '../kernel/namespaces.ts';
import {
  leafAddress,
  leafAddress6,
  nodeAddress,
  nodeAddress6,
  OUTSIDE,
  OUTSIDE6,
  RACKS,
  type RackPlan,
} from './plan.ts';
import { type LeafWishes, type Make, startLeaf, startSpine } from './routers.ts';

/** A leaf switch: the ports are a bridge, the routing is what stands behind the bridge's own address. */
export interface Leaf {
  readonly rack: RackPlan;
  readonly router: Router;
  readonly speaker: Speaker;
}

export interface Spine {
  readonly router: Router;
  readonly speaker: Speaker;
}

/** The physical network: a leaf for each rack, a spine between them, and a client beyond it. */
export interface Fabric {
  readonly leaves: readonly [Leaf, Leaf];
  readonly spine: Spine;
  readonly outside: TestNamespace;
}

/** Builds it, and starts its routers. Nodes are plugged in by {@link plugIn}; no router learns of them beforehand. */
export function buildFabric(lab: Lab, make: Make, wishes: LeafWishes = {}): Fabric {
  const spine = lab.island('spine');
  const outside = lab.island('outside');
  const at = (end: 'client' | 'spine') => [`${OUTSIDE[end]}/24`, `${OUTSIDE6[end]}/64`];
  lab.link(outside, at('client'), spine, at('spine'));
  for (const { spine: gateway } of [OUTSIDE, OUTSIDE6])
    outside.namespace.run('ip', 'route', 'add', 'default', 'via', gateway);
  balance(spine, BY_PORT);
  const [a, b] = RACKS.map((rack) => cableLeaf(lab, spine, rack)) as [Router, Router];
  const speaker = startSpine(make, spine);
  const leaf = (router: Router, rack: RackPlan) => ({
    rack,
    router,
    speaker: startLeaf(make, router, rack, wishes),
  });
  return {
    spine: { router: spine, speaker },
    outside: outside.namespace,
    leaves: [leaf(a, RACKS[0]), leaf(b, RACKS[1])],
  };
}

function cableLeaf(lab: Lab, spine: Router, rack: RackPlan): Router {
  const leaf = lab.island(`leaf-${rack.name}`);
  const { namespace } = leaf;
  // A bridge takes over the lowest MAC of its ports; a switch keeps its own when one is unplugged.
  namespace.run('ip', 'link', 'add', 'lan', 'address', `02:00:00:00:0${rack.number}:01`, 'type', 'bridge');
  leaf.configure('lan', `${leafAddress(rack)}/24`, `${leafAddress6(rack)}/64`);
  const { uplink, uplink6 } = rack;
  const at = (end: 'leaf' | 'spine') => [`${uplink[end]}/31`, `${uplink6[end]}/64`];
  lab.link(leaf, at('leaf'), spine, at('spine'));
  balance(leaf, BY_PORT_OTHERWISE);
  return leaf;
}

/** Equal paths share flows, not pairs of addresses, and a neighbour that does not answer gets none. */
const BY_PORT = 1;
/**
 * The same by chosen fields, without the protocol (0x33: addresses and ports). Whoever hashes as the one before it did finds
 * all its flows in one half; the seed is one for all namespaces before Linux 6.11.
 */
const BY_PORT_OTHERWISE = 3;

function balance({ namespace }: Router, policy: typeof BY_PORT | typeof BY_PORT_OTHERWISE): void {
  const settings = ['ipv4', 'ipv6'].flatMap((family) => [
    `net.${family}.fib_multipath_hash_policy=${policy}`,
    `net.${family}.fib_multipath_hash_fields=0x33`,
  ]);
  namespace.run('sysctl', '-qw', ...settings, 'net.ipv4.fib_multipath_use_neigh=1');
}

/** Cables a node to its leaf: an address of each family, and one default route. @returns The node's address. */
export function plugIn({ rack, router }: Leaf, node: TestNamespace, number: number): string {
  const address = nodeAddress(rack, number);
  const port = portOf(number);
  node.run('ip', 'link', 'add', 'up0', 'type', 'veth', 'peer', 'name', port, 'netns', router.namespace.name);
  router.namespace.run('ip', 'link', 'set', port, 'master', 'lan', 'up');
  node.run('ip', 'address', 'add', `${address}/24`, 'dev', 'up0');
  node.run('ip', 'address', 'add', `${nodeAddress6(rack, number)}/64`, 'dev', 'up0', 'nodad');
  node.run('ip', 'link', 'set', 'up0', 'up');
  for (const leaf of [leafAddress(rack), leafAddress6(rack)])
    node.run('ip', 'route', 'add', 'default', 'via', leaf);
  return address;
}

/** The leaf's port towards the rack's node of this number. */
export function portOf(number: number): string {
  return `port${number}`;
}

/** Where a router or a node sends packets for a prefix: the next hops its kernel has, sorted; none without the route. */
export function nextHopsOf(namespace: TestNamespace, prefix: string, protocol?: string): string[] {
  const found: KernelRoute[] = namespace.ip(
    `${prefix.includes(':') ? '-6 ' : ''}route show exact ${prefix}${protocol === undefined ? '' : ` proto ${protocol}`}`,
  );
  return found
    .flatMap(({ gateway, dev, nexthops }) =>
      (nexthops ?? [{ gateway, dev }]).map((hop) => hop.gateway ?? `dev ${hop.dev}`),
    )
    .sort();
}

interface KernelRoute {
  readonly gateway?: string;
  readonly dev?: string;
  readonly nexthops?: readonly { readonly gateway?: string; readonly dev?: string }[];
}
