/** What an administrator and a controller write into the store, as plain objects. */
import { CLUSTER_IP, CLUSTER_IP6, NODE_PORT, type RackPlan, SERVICE_PORT, VIPS, VIPS6 } from './plan.ts';
import { TARGET_PORT } from './web.ts';

const TOMBOLO = 'network.tombolo.dev/v1alpha1';
const PROTOCOLS = ['TCP', 'UDP'] as const;

export interface StoreObject {
  readonly apiVersion: string;
  readonly kind: string;
  readonly metadata: { readonly name: string; readonly namespace?: string } & Record<string, unknown>;
  readonly [key: string]: unknown;
}

/** A rack with its nodes' names, and what its pools say besides the usual. */
export interface RackObjects {
  readonly rack: RackPlan;
  readonly nodes: readonly string[];
  readonly pool?: Record<string, unknown> | undefined;
  /** Of its nodes; the leaf's where absent. */
  readonly nodesAsn?: number | undefined;
}

/** Nodes with their rack and leaf, a pool for each rack, two with `dualStack`, and BGP without a mesh. */
export function clusterObjects(racks: readonly RackObjects[], dualStack = false): StoreObject[] {
  const services = dualStack ? [VIPS, VIPS6] : [VIPS];
  return [
    ...racks.flatMap(({ rack, nodes, pool, nodesAsn = rack.asn }) => [
      poolObject(rack, `pods-${rack.name}`, { cidr: rack.pool, blockSize: 26, ...pool }),
      ...(dualStack ? [poolObject(rack, `pods6-${rack.name}`, { cidr: rack.pool6, blockSize: 122 })] : []),
      ...nodes.map((name) => nodeObject(rack, name, nodesAsn)),
    ]),
    bgpObject({ serviceLoadBalancerIPs: services.map((cidr) => ({ cidr })) }),
  ];
}

/** What the cluster says of BGP: without a mesh, unless `spec` wants one. */
export function bgpObject(spec: Record<string, unknown>): StoreObject {
  const metadata = { name: 'default' };
  return {
    apiVersion: TOMBOLO,
    kind: 'BGPConfiguration',
    metadata,
    spec: { nodeToNodeMeshEnabled: false, ...spec },
  };
}

function poolObject(rack: RackPlan, name: string, spec: Record<string, unknown>): StoreObject {
  const nodeSelector = `rack == '${rack.name}'`;
  return { apiVersion: TOMBOLO, kind: 'IPPool', metadata: { name }, spec: { nodeSelector, ...spec } };
}

function nodeObject({ name: rack, asn }: RackPlan, name: string, nodesAsn = asn): StoreObject {
  const labels = { rack, 'infra.tce.io/as': String(asn) };
  const annotations = { 'projectcalico.org/ASNumber': String(nodesAsn) };
  return { apiVersion: 'v1', kind: 'Node', metadata: { name, labels, annotations } };
}

/** Who stands behind a service, and where. */
export interface Backend {
  readonly addresses: readonly string[];
  readonly node: { readonly name: string };
}

/** A service with a cluster IP and an address for the outside of each family in `vips`, for TCP and UDP, and its backends. */
export function serviceObjects(
  name: string,
  vips: readonly string[],
  backends: readonly Backend[],
  spec: Record<string, unknown>,
): StoreObject[] {
  const metadata = { name, namespace: 'default' };
  const ports = PROTOCOLS.map((protocol) => ({ name: protocol.toLowerCase(), protocol }));
  const clusterIPs = vips.map((vip) => (isIPv6(vip) ? CLUSTER_IP6 : CLUSTER_IP));
  const own = { port: SERVICE_PORT, targetPort: TARGET_PORT, nodePort: NODE_PORT };
  return [
    {
      apiVersion: 'v1',
      kind: 'Service',
      metadata,
      spec: {
        type: 'LoadBalancer',
        clusterIP: clusterIPs[0],
        clusterIPs,
        ports: ports.map((port) => ({ ...port, ...own })),
        ...spec,
      },
      status: { loadBalancer: { ingress: vips.map((ip) => ({ ip })) } },
    },
    ...vips.map((vip) => ({
      apiVersion: 'discovery.k8s.io/v1',
      kind: 'EndpointSlice',
      metadata: {
        ...metadata,
        name: `${name}-${isIPv6(vip) ? 6 : 4}`,
        labels: { 'kubernetes.io/service-name': name },
      },
      addressType: isIPv6(vip) ? 'IPv6' : 'IPv4',
      ports: ports.map((port) => ({ ...port, port: TARGET_PORT })),
      endpoints: backends.map(({ addresses, node }) => ({
        addresses: addresses.filter((address) => isIPv6(address) === isIPv6(vip)),
        nodeName: node.name,
      })),
    })),
  ];
}

function isIPv6(address: string): boolean {
  return address.includes(':');
}
