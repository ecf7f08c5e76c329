/** A host outside of the cluster, services that it may ask, and how they answer. */

import { mkdirSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import type { TestNamespace, TestNamespaces } from './namespaces.ts';
import type { NodesRig, RigNode } from './nodesRig.ts';
import { firstWord } from './within.ts';

export type Family = 4 | 6;
export const FAMILIES = [4, 6] as const;

export const OUTSIDE = { 4: '198.51.100.9', 6: '2001:db8:9::9' } as const;
/** Another address of the same host. */
export const ELSEWHERE = { 4: '198.51.100.70', 6: '2001:db8:9::1:70' } as const;
/** What a leaf sends to the first node. */
export const VIP = { 4: '203.0.113.10', 6: '2001:db8:203::10' } as const;

/** The service itself, inside the cluster. */
export const CLUSTER_IP = { 4: '10.96.0.10', 6: 'fd96::10' } as const;

/** Serves TCP and UDP on port 8080: says who asks, by which port, and how many bytes came; at length if the last byte is 1. */
const SERVER = `
const text = (a, p, n) => JSON.stringify({ peer: a.replace('::ffff:', ''), port: p, bytes: n });
require('net').createServer({ allowHalfOpen: true }, (s) => { let n = 0, last; s.on('data', (d) => { n += d.length; last = d.at(-1); });
  s.on('error', () => {}); s.on('end', () => s.end(text(s.remoteAddress, s.remotePort, n).padEnd(last ? 400000 : 0))); }).listen(8080, '::', () => {
  const u = require('dgram').createSocket({ type: 'udp6' });
  u.on('message', (d, p) => u.send(text(p.address, p.port, d.length), p.port, p.address));
  u.bind(8080, '::', () => process.stdout.write('ready')); });`;

export async function serve(at: TestNamespace): Promise<void> {
  const server = at.start(process.execPath, ['-e', SERVER], {
    stdio: ['ignore', 'pipe', 'inherit'],
    env: {},
  });
  await firstWord(server);
}

export interface Heard {
  readonly peer: string;
  readonly port: number;
  readonly bytes: number;
}

/** What the server says of an upload, or why there is no answer. */
export function tcp(
  from: TestNamespace,
  address: string,
  port = 8080,
  bytes = 1,
  answer: 'short' | 'long' = 'short',
): Heard | string {
  const script = `const s = require('net').connect(${port}, '${address}'); s.setTimeout(3000, () => { console.log('"timeout"'); process.exit(); });
    s.on('error', (e) => console.log(JSON.stringify(e.code))); s.on('data', (d) => process.stdout.write(d)); s.end(Buffer.alloc(${bytes}, ${answer === 'long' ? 1 : 0}));`;
  return JSON.parse(from.attempt('env', '-i', process.execPath, '-e', script).stdout);
}

/** One datagram, and the answer. */
export function udp(from: TestNamespace, address: string, port = 8080, bytes = 1): Heard | string {
  const type = address.includes(':') ? 'udp6' : 'udp4';
  const script = `const u = require('dgram').createSocket('${type}'); setTimeout(() => { console.log('"timeout"'); process.exit(); }, 3000);
    u.connect(${port}, '${address}', () => u.send(Buffer.alloc(${bytes}))); u.on('error', (e) => { console.log(JSON.stringify(e.code)); process.exit(); });
    u.on('message', (d) => { process.stdout.write(d); process.exit(); });`;
  return JSON.parse(from.attempt('env', '-i', process.execPath, '-e', script).stdout);
}

export function peerOf(heard: Heard | string): string {
  return typeof heard === 'string' ? heard : heard.peer;
}

/** The ranges of addresses of services that nodes announce. */
export function announce(
  store: string,
  of: 'serviceClusterIPs' | 'serviceLoadBalancerIPs',
  cidrs: readonly string[],
): void {
  put(store, 'BGPConfiguration', 'default', {
    apiVersion: 'network.tombolo.dev/v1alpha1',
    kind: 'BGPConfiguration',
    metadata: { name: 'default' },
    spec: { [of]: cidrs.map((cidr) => ({ cidr })) },
  });
}

/** A host one hop behind the rig's router, which it has for its gateway; the first node is the way to {@link VIP}. */
export function outsideOf(namespaces: TestNamespaces, name: string, rig: NodesRig): TestNamespace {
  const outside = namespaces.create(`${name}-outside`);
  const { fabric } = rig;
  fabric.run('ip', ...`link add out0 type veth peer name eth0 netns ${outside.name}`.split(' '));
  for (const words of [
    'address add 198.51.100.1/24 dev out0',
    'address add 2001:db8:9::1/64 dev out0 nodad',
    'link set out0 up',
  ])
    fabric.run('ip', ...words.split(' '));
  for (const words of [
    `address add ${OUTSIDE[4]}/24 dev eth0`,
    `address add ${ELSEWHERE[4]}/24 dev eth0`,
    `address add ${OUTSIDE[6]}/64 dev eth0 nodad`,
    `address add ${ELSEWHERE[6]}/64 dev eth0 nodad preferred_lft 0`,
    'link set eth0 up',
    'route add default via 198.51.100.1',
    'route add default via 2001:db8:9::1',
  ])
    outside.run('ip', ...words.split(' '));
  for (const family of FAMILIES) {
    fabric.run('ip', 'route', 'add', VIP[family], 'via', addressOf(rig.node(1), family));
  }
  return outside;
}

export function addressOf(node: RigNode, family: Family): string {
  return family === 4 ? node.address : `2001:db8::${node.address.split('.').at(-1)}`;
}

export function podAddress(pod: { readonly addresses: readonly string[] }, family: Family): string {
  return pod.addresses.find((address) => address.includes(':') === (family === 6)) ?? '';
}

export interface Exposed {
  readonly family: Family;
  readonly spec?: object;
  readonly backends: readonly {
    readonly pod: { readonly addresses: readonly string[] };
    readonly node: string;
  }[];
  readonly ingress?: readonly string[];
}

/** Writes the service `web` of one family: port 80 for TCP and UDP, node port 30080. */
export function expose(store: string, { family, spec = {}, backends, ingress = [] }: Exposed): void {
  const name = `web${family}`;
  const metadata = { name, namespace: 'default' };
  const nodePort = 30_076 + family;
  const ports = [
    { name: 'tcp', protocol: 'TCP', port: 80, targetPort: 8080, nodePort },
    { name: 'udp', protocol: 'UDP', port: 80, targetPort: 8080, nodePort },
  ];
  put(store, 'Service', name, {
    apiVersion: 'v1',
    kind: 'Service',
    metadata,
    spec: { type: 'LoadBalancer', clusterIP: CLUSTER_IP[family], ports, ...spec },
    status: { loadBalancer: { ingress: ingress.map((ip) => ({ ip })) } },
  });
  put(store, 'EndpointSlice', `${name}-1`, {
    apiVersion: 'discovery.k8s.io/v1',
    kind: 'EndpointSlice',
    metadata: { ...metadata, name: `${name}-1`, labels: { 'kubernetes.io/service-name': name } },
    addressType: `IPv${family}`,
    ports: ['TCP', 'UDP'].map((protocol) => ({ name: protocol.toLowerCase(), protocol, port: 8080 })),
    endpoints: backends.map(({ pod, node }) => ({ addresses: [podAddress(pod, family)], nodeName: node })),
  });
}

/** The node port of {@link expose}. */
export function nodePortOf(family: Family): number {
  return 30_076 + family;
}

/** Writes an object into a store, as if by hand. */
export function put(store: string, kind: string, name: string, object: object): void {
  const cluster = ['IPPool', 'BGPConfiguration'].includes(kind);
  const file = join(store, kind, cluster ? '' : 'default', `${name}.yaml`);
  mkdirSync(dirname(file), { recursive: true });
  writeFileSync(file, JSON.stringify(object));
}
