import { familyOf, parseIP } from '../../address/ip.ts';
import {
  boolean,
  integer,
  listOf,
  mapOf,
  type Of,
  oneOf,
  openObject,
  type Problem,
  text,
  textOr,
} from '../schema.ts';
import { defineKind, ip, port, prefix, type StoredObject } from './kind.ts';

const servicePort = openObject(
  { port },
  {
    name: text(),
    protocol: oneOf('TCP', 'UDP', 'SCTP'),
    targetPort: textOr(port),
    nodePort: integer(0, 65535),
    appProtocol: text(),
  },
);

/** `''` until the control plane gives one, `None` for a headless service. */
const clusterIP = text();

const spec = openObject(
  {},
  {
    type: oneOf('ClusterIP', 'NodePort', 'LoadBalancer', 'ExternalName'),
    clusterIP,
    clusterIPs: listOf(clusterIP, { max: 2 }),
    ipFamilies: listOf(oneOf('IPv4', 'IPv6'), { max: 2 }),
    ipFamilyPolicy: oneOf('SingleStack', 'PreferDualStack', 'RequireDualStack'),
    ports: listOf(servicePort),
    selector: mapOf(text()),
    externalName: text(),
    externalIPs: listOf(ip),
    loadBalancerIP: text(),
    loadBalancerClass: text(),
    loadBalancerSourceRanges: listOf(prefix),
    allocateLoadBalancerNodePorts: boolean(),
    externalTrafficPolicy: oneOf('Cluster', 'Local'),
    internalTrafficPolicy: oneOf('Cluster', 'Local'),
    healthCheckNodePort: integer(0, 65535),
    publishNotReadyAddresses: boolean(),
    sessionAffinity: oneOf('None', 'ClientIP'),
    sessionAffinityConfig: openObject(
      {},
      // Kubernetes allows a day at most.
      { clientIP: openObject({}, { timeoutSeconds: integer(1, 86400) }) },
    ),
    trafficDistribution: text(),
  },
);

const body = openObject(
  { spec },
  {
    status: openObject(
      {},
      {
        loadBalancer: openObject(
          {},
          { ingress: listOf(openObject({}, { ip, hostname: text(), ipMode: oneOf('VIP', 'Proxy') })) },
        ),
      },
    ),
  },
);

export const service = defineKind({
  kind: 'Service',
  apiVersion: 'v1',
  plural: 'services',
  shortNames: ['svc'],
  namespaced: true,
  body,
  rules: (object) => [...addressProblems(object), ...portProblems(object)],
  columns: [
    ['TYPE', ({ spec }) => spec.type ?? 'ClusterIP'],
    ['CLUSTER-IP', (object) => clusterIPs(object).join(',') || object.spec.clusterIP || ''],
    ['PORTS', ({ spec }) => (spec.ports ?? []).map(portText).join(',')],
  ],
});

export type Service = StoredObject & Of<typeof body>;
export type ServicePort = Of<typeof servicePort>;

/** The cluster addresses of a service; none for a headless one or one that has none yet. */
export function clusterIPs({ spec }: Pick<Service, 'spec'>): string[] {
  const given = spec.clusterIPs?.length ? spec.clusterIPs : [spec.clusterIP ?? ''];
  return given.filter((address) => address !== '' && address !== 'None');
}

function portText({ port, protocol = 'TCP', nodePort }: ServicePort): string {
  return `${port}${nodePort ? `:${nodePort}` : ''}/${protocol}`;
}

function addressProblems(object: Service): Problem[] {
  const problems: Problem[] = [];
  const { spec } = object;
  if (spec.clusterIP && spec.clusterIP !== 'None') ip.check(spec.clusterIP, 'spec.clusterIP', problems);
  for (const [index, address] of (spec.clusterIPs ?? []).entries()) {
    if (address !== '' && address !== 'None') ip.check(address, `spec.clusterIPs[${index}]`, problems);
  }
  if (problems.length > 0) return problems;
  const [first] = spec.clusterIPs ?? [];
  if (first !== undefined && spec.clusterIP !== undefined && first !== spec.clusterIP) {
    problems.push({
      path: 'spec.clusterIPs[0]',
      reason: `expected spec.clusterIP, ${JSON.stringify(spec.clusterIP)}`,
      value: first,
    });
  }
  const addresses = clusterIPs(object);
  if (new Set(addresses.map((address) => familyOf(parseIP(address)))).size !== addresses.length) {
    problems.push({ path: 'spec.clusterIPs', reason: 'expected one of each family', value: addresses });
  }
  return problems;
}

function portProblems({ spec }: Service): Problem[] {
  const problems: Problem[] = [];
  const ports = spec.ports ?? [];
  const seen = new Map<string, number>();
  const names = new Set<string>();
  for (const [index, { port, protocol = 'TCP', name }] of ports.entries()) {
    const key = `${port}/${protocol}`;
    const before = seen.get(key);
    if (before !== undefined) {
      problems.push({
        path: `spec.ports[${index}]`,
        reason: `the same as spec.ports[${before}]`,
        value: key,
      });
    }
    seen.set(key, index);
    if (ports.length > 1 && !name) {
      problems.push({
        path: `spec.ports[${index}].name`,
        reason: 'is required where there are several ports',
      });
    }
    if (name && names.has(name)) {
      problems.push({ path: `spec.ports[${index}].name`, reason: 'is taken by another port', value: name });
    }
    if (name) names.add(name);
  }
  return problems;
}
