// One object of each of our kinds in which every field says something.
import { parse } from 'yaml';
import type { Kind } from './registry.ts';

const CONDITION = `{type: Ready, status: 'True', reason: Any, message: text, lastTransitionTime: '2026-01-01T00:00:00Z', observedGeneration: 1}`;
const STATION = '{address: "[2001:db8::1]:11019", views: [loc-rib], statisticsInterval: 60s}';
const OPERATIONS =
  '[{addCommunity: {value: "64512:1"}}, {prependASPath: {prefix: [64512]}}, {setPriority: {value: 7}}]';

function rule(cidr: string): string {
  return `{action: Accept, cidr: ${cidr}, matchOperator: In, prefixLength: {min: 8, max: 32}, source: RemotePeers,
    interface: 'eth*', peerType: eBGP, communities: {values: ['64512:1:2']}, asPathPrefix: [64512], priority: 5,
    operations: ${OPERATIONS}}`;
}

const TEXTS = {
  IPPool: `
spec: {cidr: 10.0.0.0/16, blockSize: 26, nodeSelector: all(), namespaceSelector: has(team), allowedUses: [Workload],
  assignmentMode: Automatic, ipipMode: Never, vxlanMode: Never, natOutgoing: true, disabled: false, disableBGPExport: false,
  reserved: [10.0.0.0/28], cooldownSeconds: 30, expansion: {low: 8, high: 72, min: 0, max: 1024, step: 1}}
status: {inForce: {cidr: 10.0.0.0/16, blockSize: 26}, conditions: [${CONDITION}]}`,
  IPAMConfiguration: `
spec: {strictAffinity: true, autoAllocateBlocks: true, maxBlocksPerHost: 4}`,
  BGPConfiguration: `
spec: {logSeverityScreen: Info, asNumber: 64512, nodeToNodeMeshEnabled: true,
  nodeMeshPassword: {secretKeyRef: {name: mesh, key: password}}, nodeMeshMaxRestartTime: 2m,
  serviceClusterIPs: [{cidr: 10.96.0.0/12}], serviceExternalIPs: [{cidr: 192.0.2.0/24}],
  serviceLoadBalancerIPs: [{cidr: 'fd00:1::/64'}], serviceLoadBalancerAggregation: Enabled,
  communities: [{name: rack, value: '64512:100'}], prefixAdvertisements: [{cidr: 10.0.0.0/8, communities: [rack]}],
  listenPort: 179, bindMode: NodeIP, bmpServers: [${STATION}], ignoredInterfaces: [docker0],
  localWorkloadPeeringIPV4: 192.0.2.1, localWorkloadPeeringIPV6: 'fd00::1', programClusterRoutes: Enabled,
  ipv4NormalRoutePriority: 1024, ipv6NormalRoutePriority: 1024}`,
  BGPPeer: `
spec: {node: node-1, nodeSelector: all(), peerIP: '192.0.2.1:1179', peerSelector: has(leaf), asNumber: 64513,
  localASNumber: 64512, keepOriginalNextHop: true, nextHopMode: Keep, password: {secretKeyRef: {name: leaf, key: password}},
  sourceAddress: UseNodeIP, maxRestartTime: 2m, keepaliveTime: 30s, numAllowedLocalASNumbers: 1, ttlSecurity: 1,
  reachableBy: 192.0.2.2, filters: [rack], localWorkloadSelector: all(), reversePeering: Auto, holdTime: 90s,
  connectTime: 5s, interface: eth0, bfdProfile: fast, ebgpMultiHop: false}`,
  BGPFilter: `
spec: {exportV4: [${rule('10.0.0.0/8')}], importV4: [${rule('10.0.0.0/8')}],
  exportV6: [${rule("'fd00::/8'")}], importV6: [${rule("'fd00::/8'")}]}`,
  NodeNetwork: `
spec: {segments: [{cidr: 10.0.0.0/26, pool: rack-a, gateway: 10.0.0.1, state: active, generation: 2,
  until: '2026-01-01T00:00:00Z', reserved: [10.0.0.0/30]}]}
status: {nodeIPs: [192.0.2.1], routing: overlay, borrowed: ['fd00::7'],
  segments: [{cidr: 10.0.0.0/26, generation: 2, drained: false, used: 3, pinned: false, reserved: 4, gateway: 10.0.0.1}],
  requests: [{family: 4, addresses: 1, pool: rack-a}], shortages: [{pool: rack-a, reason: text}], conditions: [${CONDITION}], ready: true}`,
  IPClaim: `
spec: {owner: {kind: StatefulSet, name: db, uid: u}, pool: rack-a, addresses: [10.0.0.9], releasePolicy: Immutable,
  ttlSeconds: 60, loan: {family: 4, from: node-1, to: node-2, container: c}}
status: {addresses: [10.0.0.9], node: node-1, container: c, podUID: u, since: '2026-01-01T00:00:00Z',
  releasedAt: '2026-01-01T00:00:00Z', passedTo: c, doubted: c, conditions: [${CONDITION}]}`,
} satisfies Partial<Record<Kind, string>>;

export type SampledKind = keyof typeof TEXTS;

/** Fields of one object may exclude each other: that is what rules are for, and no schema. */
export function sampleOf(kind: SampledKind): Record<string, unknown> {
  const namespace = kind === 'IPClaim' ? { namespace: 'shop' } : {};
  const metadata = { name: 'sample', ...namespace };
  return { apiVersion: 'network.tombolo.dev/v1alpha1', kind, metadata, ...parse(TEXTS[kind]) };
}

export const SAMPLED_KINDS = Object.keys(TEXTS) as SampledKind[];
