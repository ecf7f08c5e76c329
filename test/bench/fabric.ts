import type { TestNamespace, TestNamespaces } from '../kernel/namespaces.ts';

/** Two nodes, `up0` being the uplink of each, which know the way to each other; and the way of their pods. */
export interface Fabric {
  readonly nodes: readonly [FabricNode, FabricNode];
  /** The router between them, if there is one. */
  readonly leaf: TestNamespace | undefined;
}

export interface FabricNode {
  readonly namespace: TestNamespace;
  readonly address: string;
  /** Of its pods on veths. */
  readonly segment: string;
}

export type MakeFabric = (namespaces: TestNamespaces, name: string, pods: 'routed' | 'hidden') => Fabric;

const SEGMENTS = ['10.77.1.0/24', '10.77.2.0/24'] as const;

/** Pods with a NIC of their own: a segment behind each node, with the leaf for its gateway. */
export const NIC_SEGMENTS = [
  { cidr: '10.78.1.0/24', gateway: '10.78.1.1' },
  { cidr: '10.78.2.0/24', gateway: '10.78.2.1' },
] as const;

function ip(at: TestNamespace, words: string): void {
  at.run('ip', ...words.split(' '));
}

export interface Nodes {
  readonly a: TestNamespace;
  readonly b: TestNamespace;
}

/** Two nodes, 192.0.2.1 and 192.0.2.2, at two ends of one cable. */
export function cable(namespaces: TestNamespaces, name: string): Nodes {
  const [a, b] = [namespaces.create(`${name}-a`), namespaces.create(`${name}-b`)];
  ip(a, `link add up0 type veth peer name up0 netns ${b.name}`);
  nodeOf(a, 0, '192.0.2.1/24');
  nodeOf(b, 1, '192.0.2.2/24');
  return { a, b };
}

/** At two ends of one cable: the network between them does nothing. */
export const wired: MakeFabric = (namespaces, name, pods) => {
  const { a, b } = cable(namespaces, name);
  const nodes = [
    { namespace: a, address: '192.0.2.1', segment: SEGMENTS[0] },
    { namespace: b, address: '192.0.2.2', segment: SEGMENTS[1] },
  ] as const;
  if (pods === 'routed') {
    ip(a, `route add ${SEGMENTS[1]} via 192.0.2.2`);
    ip(b, `route add ${SEGMENTS[0]} via 192.0.2.1`);
  }
  return { nodes, leaf: undefined };
};

/** On two sides of a leaf, which routes: Linux as it is, without netfilter. */
export const behindLeaf: MakeFabric = (namespaces, name, pods) => {
  const leaf = namespaces.create(`${name}-leaf`);
  leaf.run('sysctl', '-qw', 'net.ipv4.ip_forward=1');
  const side = (index: 0 | 1) => {
    const node = namespaces.create(`${name}-${'ab'[index]}`);
    const [port, own, gateway] = [`port${index}`, `192.0.2.${4 * index + 2}`, `192.0.2.${4 * index + 1}`];
    ip(node, `link add up0 type veth peer name ${port} netns ${leaf.name}`);
    ip(leaf, `address add ${gateway}/30 dev ${port}`);
    ip(leaf, `address add ${NIC_SEGMENTS[index].gateway}/24 dev ${port}`);
    ip(leaf, `link set ${port} up`);
    const made = nodeOf(node, index, `${own}/30`);
    ip(node, `route add default via ${gateway}`);
    if (pods === 'routed') ip(leaf, `route add ${SEGMENTS[index]} via ${own}`);
    return made;
  };
  return { nodes: [side(0), side(1)], leaf };
};

function nodeOf(namespace: TestNamespace, index: 0 | 1, address: string): FabricNode {
  ip(namespace, `address add ${address} dev up0`);
  ip(namespace, 'link set up0 up');
  namespace.run('sysctl', '-qw', 'net.ipv4.ip_forward=1');
  return { namespace, address: address.replace(/\/.*/, ''), segment: SEGMENTS[index] };
}
