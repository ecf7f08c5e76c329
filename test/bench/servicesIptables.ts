import type { TestNamespace, TestNamespaces } from '../kernel/namespaces.ts';
import { cable, type Nodes } from './fabric.ts';
import { restoreTables } from './kubeProxyTables.ts';
import { SERVER_PORT, serve } from './servicesLoad.ts';
import { idleServices, type Pair, type Service } from './servicesNode.ts';

const CLUSTER = '10.77.0.0/16';
const SERVICE_ADDRESS = '10.96.0.10';
const [CLIENT_ADDRESS, SERVER_ADDRESS] = ['10.77.1.2', '10.77.2.2'];

/** Where two pods stand: on one node, or at two ends of a cable. */
export type Distance = 'near' | 'far';

interface PlainPair extends Pair {
  /** One or two. */
  readonly nodes: readonly TestNamespace[];
}

/** Two pods on plain veth pairs, as a point-to-point plugin makes them, without any netfilter. */
export async function plainPair(
  namespaces: TestNamespaces,
  name: string,
  distance: Distance,
  directory: string,
): Promise<PlainPair> {
  const { a, b } = distance === 'near' ? oneNode(namespaces, name) : twoNodes(namespaces, name);
  const client = pod(namespaces, a, `${name}-client`, CLIENT_ADDRESS);
  const host = pod(namespaces, b, `${name}-server`, SERVER_ADDRESS);
  const server = await serve(host, directory);
  const nodes = a === b ? [a] : [a, b];
  return { nodes, client, server, serverAddress: SERVER_ADDRESS, serviceAddress: SERVICE_ADDRESS };
}

/** Two pods with a NIC each at two ends of a cable, and nothing else: neither programs nor a node in between. */
export async function plainNicPair(
  namespaces: TestNamespaces,
  name: string,
  directory: string,
): Promise<Pair> {
  const { a, b } = cable(namespaces, name);
  const pod = (node: TestNamespace, role: string, address: string) => {
    const namespace = namespaces.create(`${name}-${role}`);
    node.run('ip', ...`link add nic0 link up0 netns ${namespace.name} type macvlan mode bridge`.split(' '));
    namespace.run('ip', ...`address add ${address}/16 dev nic0`.split(' '));
    namespace.run('ip', 'link', 'set', 'nic0', 'up');
    return namespace;
  };
  const client = pod(a, 'client', CLIENT_ADDRESS);
  const server = await serve(pod(b, 'server', SERVER_ADDRESS), directory);
  return { client, server, serverAddress: SERVER_ADDRESS, serviceAddress: SERVICE_ADDRESS };
}

function oneNode(namespaces: TestNamespaces, name: string): Nodes {
  const node = namespaces.create(name);
  node.run('sysctl', '-qw', 'net.ipv4.ip_forward=1');
  return { a: node, b: node };
}

function twoNodes(namespaces: TestNamespaces, name: string): Nodes {
  const { a, b } = cable(namespaces, name);
  a.run('ip', ...'route add 10.77.2.0/24 via 192.0.2.2'.split(' '));
  b.run('ip', ...'route add 10.77.1.0/24 via 192.0.2.1'.split(' '));
  return { a, b };
}

/**
 * The same with services as kube-proxy keeps them on every node, in iptables chains that every new connection walks. The one
 * that is called stands in the middle of the others.
 *
 * @param count Services, the one that is called among them.
 */
export async function iptablesPair(
  namespaces: TestNamespaces,
  count: number,
  distance: Distance,
  directory: string,
): Promise<Pair> {
  const pair = await plainPair(namespaces, `iptables${count}`, distance, directory);
  const web = { name: 'web', address: SERVICE_ADDRESS, backend: SERVER_ADDRESS };
  const others = idleServices(count - 1);
  for (const node of pair.nodes) serveClusterIPs(node, others.toSpliced(others.length >> 1, 0, web));
  pair.client.run('curl', '-sf', '--max-time', '2', `http://${SERVICE_ADDRESS}/`);
  return pair;
}

/** As the reference ptp plugin does it: a /32, a gateway on the link, and no Ethernet to resolve afterwards. */
function pod(namespaces: TestNamespaces, node: TestNamespace, name: string, address: string): TestNamespace {
  const namespace = namespaces.create(name);
  const host = `veth${address.split('.')[2]}`;
  node.run('ip', 'link', 'add', host, 'type', 'veth', 'peer', 'name', 'eth0', 'netns', namespace.name);
  node.run('ip', 'address', 'add', '10.77.0.1/32', 'dev', host);
  node.run('ip', 'link', 'set', host, 'up');
  node.run('ip', 'route', 'add', address, 'dev', host);
  namespace.run('ip', 'address', 'add', `${address}/32`, 'dev', 'eth0');
  namespace.run('ip', 'link', 'set', 'eth0', 'up');
  namespace.run('ip', 'route', 'add', '10.77.0.1', 'dev', 'eth0');
  namespace.run('ip', 'route', 'add', 'default', 'via', '10.77.0.1');
  return namespace;
}

/** Gives a node the chains of kube-proxy's iptables mode for services of type ClusterIP with one endpoint each. */
function serveClusterIPs(node: TestNamespace, services: readonly Service[]): void {
  const chains = services.flatMap((_, index) => [svc(index), sep(index)]);
  const frontends = services.map(
    ({ name, address }, index) =>
      `-A KUBE-SERVICES -d ${address}/32 -p tcp -m comment --comment "default/${name} cluster IP" -m tcp --dport 80 -j ${svc(index)}`,
  );
  const backends = services.flatMap(({ address, backend }, index) => [
    `-A ${svc(index)} ! -s ${CLUSTER} -d ${address}/32 -p tcp -m tcp --dport 80 -j KUBE-MARK-MASQ`,
    `-A ${svc(index)} -m statistic --mode random --probability 1.0000000000 -j ${sep(index)}`,
    `-A ${sep(index)} -s ${backend}/32 -j KUBE-MARK-MASQ`,
    `-A ${sep(index)} -p tcp -m tcp -j DNAT --to-destination ${backend}:${SERVER_PORT}`,
  ]);
  restoreTables(node, chains, [...frontends, ...backends]);
}

function svc(index: number): string {
  return `KUBE-SVC-${index}`;
}

function sep(index: number): string {
  return `KUBE-SEP-${index}`;
}
