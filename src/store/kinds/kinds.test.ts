import assert from 'node:assert/strict';
import { test } from 'node:test';
import { parse } from 'yaml';
import type { BGPPeer } from './bgpPeer.ts';
import type { EndpointSlice } from './endpointSlice.ts';
import { definitionOf, InvalidObject, KIND_NAMES, kindNamed, parseObject } from './registry.ts';

function problemOf(yaml: string): string {
  try {
    parseObject(parse(yaml));
  } catch (error) {
    assert.ok(error instanceof InvalidObject);
    return error.message;
  }
  return assert.fail('the object was accepted');
}

test('an object of Calico is accepted as ours, as it is written', () => {
  const object = parseObject(
    parse(`
apiVersion: projectcalico.org/v3
kind: BGPPeer
metadata: { name: rack1-tor }
spec: { nodeSelector: rack == "rack-1", peerIP: "192.20.30.40:1790", asNumber: 64567, ttlSecurity: 1 }`),
  );
  assert.equal(object.apiVersion, 'network.tombolo.dev/v1alpha1');
});

test('errors name the object, the field and the value', () => {
  const cases: [string, RegExp][] = [
    [
      'kind: Deployment\nmetadata: { name: x }',
      /Deployment x: kind: expected one of Node, .*\(value "Deployment"\)/,
    ],
    ['kind: Node\napiVersion: v2\nmetadata: { name: n }', /Node n: apiVersion: expected v1 \(value "v2"\)/],
    ['kind: Node\napiVersion: v1\nmetadata: {}', /metadata\.name: is required/],
    [
      'kind: Node\napiVersion: v1\nmetadata: { name: A_B }',
      /metadata\.name: expected lower-case .*\(value "A_B"\)/,
    ],
    ['kind: Pod\napiVersion: v1\nmetadata: { name: p }', /metadata\.namespace: is required/],
    [
      ours('IPPool', '{ cidr: 10.0.0.1/16 }'),
      /spec\.cidr: expected a prefix: .*did you mean 10\.0\.0\.0\/16/,
    ],
    [
      ours('IPPool', '{ cidr: 10.0.0.0/16, blockSize: 12 }'),
      /spec\.blockSize: expected .* from 20 to 128 \(value 12\)/,
    ],
    [
      ours('IPPool', '{ cidr: 10.0.0.0/16, blockSize: 122 }'),
      /spec\.blockSize: expected 20 to 32 for this family/,
    ],
    [ours('IPPool', '{ cidr: 10.0.0.0/28 }'), /spec\.cidr: holds no block of length 26/],
    [
      ours('IPPool', '{ CIDR: 10.0.0.0/16 }'),
      /spec\.cidr: is required; spec\.CIDR: unknown field, did you mean cidr/,
    ],
    [ours('IPPool', '{ cidr: fd00::/64, blockSize: 115 }'), /expected 116 to 128 for this family/],
    [
      ours('IPPool', '{ cidr: 10.0.0.0/16, nodeSelector: "rack ==" }'),
      /spec\.nodeSelector: expected a selector: .*\(value "rack =="\)/,
    ],
    [
      ours('IPPool', '{ cidr: 10.0.0.0/16, namespaceSelector: "has(" }'),
      /spec\.namespaceSelector: expected a selector: .*\(value "has\("\)/,
    ],
    [
      ours('IPPool', '{ cidr: 10.0.0.0/16, reserved: [10.0.0.0/28, 10.1.0.0/28] }'),
      /spec\.reserved\[1\]: lies outside 10\.0\.0\.0\/16 \(value "10\.1\.0\.0\/28"\)/,
    ],
    [
      ours('IPPool', '{ cidr: 10.0.0.0/16, expansion: { low: 20, high: 10 } }'),
      /spec\.expansion\.high: is less than low, which is 20 \(value 10\)/,
    ],
    [
      ours('IPPool', '{ cidr: 10.0.0.0/16, expansion: { min: 200, max: 100 } }'),
      /spec\.expansion\.max: is less than min, which is 200 \(value 100\)/,
    ],
    [
      ours('IPPool', '{ cidr: 10.0.0.0/16, expansion: { max: 63 } }'),
      /spec\.expansion\.max: is less than one block, which has 64 \(value 63\)/,
    ],
    [
      ours('BGPPeer', '{ nodeSelector: "rack = a", peerIP: 10.0.0.1 }'),
      /spec\.nodeSelector: expected a selector/,
    ],
    [ours('BGPPeer', '{ peerIP: 10.0.0.300, asNumber: 1 }'), /spec\.peerIP: .*\(value "10\.0\.0\.300"\)/],
    [ours('BGPPeer', '{ asNumber: 0, peerIP: 10.0.0.1 }'), /spec\.asNumber: .* \(value 0\)/],
    [
      ours('BGPPeer', '{ node: a, nodeSelector: has(b), peerIP: 10.0.0.1 }'),
      /spec\.node: stands beside spec\.nodeSelector/,
    ],
    [
      ours('BGPFilter', '{ importV4: [{ action: Drop }] }'),
      /spec\.importV4\[0\]\.action: expected Accept, Reject/,
    ],
    [
      ours('BGPFilter', '{ importV4: [{ action: Accept, cidr: "fd00::/8", matchOperator: In }] }'),
      /the other family/,
    ],
    [
      ours('BGPFilter', '{ exportV6: [{ action: Accept, cidr: "fd00::/8" }] }'),
      /matchOperator: is required with cidr/,
    ],
    [
      ours('NodeNetwork', '{ segments: [{ cidr: 10.0.0.0/24 }, { cidr: 10.0.0.128/25 }] }'),
      /segments\[1\]\.cidr: overlaps 10\.0\.0\.0\/24/,
    ],
    [
      ours('NodeNetwork', '{ segments: [{ cidr: 10.0.0.0/24, gateway: 10.0.1.1 }] }'),
      /gateway: lies outside 10\.0\.0\.0\/24/,
    ],
    [
      claim('{ owner: { kind: Pod, name: p }, loan: { family: 5, from: a, to: b, container: c } }'),
      /spec\.loan\.family: expected 4, 6 \(value 5\)/,
    ],
    [
      ours('BGPConfiguration', '{ prefixAdvertisements: [{ cidr: 10.0.0.0/8, communities: [x] }] }'),
      /communities\[0\]: expected the name/,
    ],
    [
      ours('BGPConfiguration', '{ serviceLoadBalancerIPs: [{ cidr: 0.0.0.0/0 }] }'),
      /serviceLoadBalancerIPs\[0\]\.cidr: would announce a default route \(value "0\.0\.0\.0\/0"\)/,
    ],
    [
      ours('BGPConfiguration', '{ nodeMeshMaxRestartTime: soon }'),
      /nodeMeshMaxRestartTime: expected a duration: .*90s.*\(value "soon"\)/,
    ],
    [
      ours('BGPConfiguration', '{ asNumber: 64513 }', 'rack-a'),
      /metadata\.name: expected default, or node\. .*\(value "rack-a"\)/,
    ],
    [
      ours('BGPPeer', '{ peerIP: 10.0.0.1, asNumber: 1, holdTime: 90 s }'),
      /spec\.holdTime: expected a duration/,
    ],
    [
      ours(
        'BGPFilter',
        '{ exportV4: [{ action: Accept, cidr: 10.0.0.0/8, matchOperator: In, prefixLength: { min: 18, max: 16 } }] }',
      ),
      /exportV4\[0\]\.prefixLength\.max: is less than min, which is 18 \(value 16\)/,
    ],
    [
      ours('IPAMConfiguration', '{ strictAffinity: true }', 'strict'),
      /metadata\.name: expected default, no other counts \(value "strict"\)/,
    ],
    [
      ours('IPAMConfiguration', '{ autoAllocateBlocks: false }', 'default'),
      /spec\.autoAllocateBlocks: expected true: .*maxBlocksPerHost.* \(value false\)/,
    ],
    [
      ours('NodeNetwork', '{ segments: [{ cidr: 0.0.0.0/0 }] }'),
      /segments\[0\]\.cidr: overlaps 0\.0\.0\.0\/8, which no pod can have/,
    ],
    [
      ours('NodeNetwork', '{ segments: [{ cidr: 10.0.0.0/24, state: cooling, until: yesterday }] }'),
      /segments\[0\]\.until: expected a time .*\(value "yesterday"\)/,
    ],
    [
      claim('{ owner: { kind: Pod, name: p }, addresses: [10.0.0.1, 10.0.0.2] }'),
      /spec\.addresses\[1\]: expected one of each family \(value "10\.0\.0\.2"\)/,
    ],
    ...[
      '0.0.0.0',
      '::',
      '224.0.0.5',
      'ff02::5',
      '255.255.255.255',
      '0.0.0.0:1790',
      '[::ffff:10.0.0.1]:179',
    ].map((address): [string, RegExp] => [
      ours('BGPPeer', `{ peerIP: "${address}", asNumber: 1 }`),
      /spec\.peerIP: expected an address.*: it is (unspecified|multicast|broadcast|IPv4 in IPv6)/,
    ]),
    ...['127.0.0.1', '::1', '[::1]'].map((address): [string, RegExp] => [
      ours('BGPPeer', `{ peerIP: "${address}", asNumber: 1 }`),
      /spec\.peerIP: .*: it is this node itself: name the port of another speaker on it/,
    ]),
    [
      ours('BGPPeer', '{ peerIP: "fe80::1", asNumber: 1 }'),
      /spec\.interface: is required with the link-local address of spec\.peerIP/,
    ],
    [
      ours('BGPPeer', '{ peerIP: 10.0.0.1, interface: "eth 0" }'),
      /spec\.interface: expected a device name \(value "eth 0"\)/,
    ],
    ...(['1s', '2s', '70000s'] as const).map((time): [string, RegExp] => [
      ours('BGPPeer', `{ peerIP: 10.0.0.1, asNumber: 1, holdTime: ${time} }`),
      /spec\.holdTime: expected a duration: expected 0s, or 3s to 65535s/,
    ]),
    [
      ours('BGPPeer', '{ peerIP: 10.0.0.1, asNumber: 1, keepaliveTime: 0s }'),
      /spec\.keepaliveTime: expected a duration: expected 1s to 21845s/,
    ],
    [
      ours('BGPPeer', '{ peerIP: 10.0.0.1, asNumber: 1, connectTime: 0s }'),
      /spec\.connectTime: expected a duration: expected 1s to 65535s/,
    ],
    [
      ours('BGPPeer', '{ peerIP: 10.0.0.1, asNumber: 1, maxRestartTime: 2h }'),
      /spec\.maxRestartTime: expected a duration: expected 1s to 4095s/,
    ],
    [
      ours('BGPConfiguration', '{ nodeMeshMaxRestartTime: 0s }', 'default'),
      /nodeMeshMaxRestartTime: expected a duration: expected 1s to 4095s/,
    ],
    [
      ours('BGPConfiguration', '{ bmpServers: [{ address: "224.0.0.1:5000" }] }', 'default'),
      /bmpServers\[0\]\.address: .*: it is multicast/,
    ],
    ...['127.0.0.0/8', '224.0.0.0/8', '"ff00::/8"'].map((cidr): [string, RegExp] => [
      ours('BGPConfiguration', `{ serviceExternalIPs: [{ cidr: ${cidr} }] }`, 'default'),
      /serviceExternalIPs\[0\]\.cidr: overlaps .*, which no service can have/,
    ]),
    [
      svc('{ ports: [{ port: 80 }, { port: 80 }] }'),
      /spec\.ports\[1\]: the same as spec\.ports\[0\] \(value "80\/TCP"\)/,
    ],
    [svc('{ ports: [{ port: 80, name: a }, { port: 81 }] }'), /spec\.ports\[1\]\.name: is required/],
    [svc('{ clusterIP: nonsense }'), /spec\.clusterIP: expected an address/],
    [svc('{ clusterIPs: [10.0.0.1, 10.0.0.2] }'), /spec\.clusterIPs: expected one of each family/],
    [slice('[{ addresses: ["fd00::1"] }]'), /endpoints\[0\]\.addresses\[0\]: expected an IPv4 address/],
  ];
  for (const [yaml, expected] of cases) assert.match(problemOf(yaml), expected, yaml);
});

test('a peer may be another speaker of the node, or stand on a link alone', () => {
  for (const peer of ['"127.0.0.1:1790"', '"[::1]:1790"', '"fe80::1", interface: eth0', '169.254.0.1']) {
    parseObject(parse(ours('BGPPeer', `{ peerIP: ${peer}, asNumber: 64513 }`)));
  }
});

test('blocks may have any length that Calico allows, in either family', () => {
  for (let size = 20; size <= 32; size++) {
    parseObject(parse(ours('IPPool', `{ cidr: 10.0.0.0/16, blockSize: ${size} }`)));
  }
  for (let size = 116; size <= 128; size++) {
    parseObject(parse(ours('IPPool', `{ cidr: "fd00::/64", blockSize: ${size} }`)));
  }
});

test('unknown fields pass in the kinds of Kubernetes', () => {
  parseObject(parse(svc('{ ports: [{ port: 80, fancy: 1 }], somethingNew: true }')));
});

test('empty fields are absent ones', () => {
  const { spec } = parseObject(
    parse(
      ours(
        'BGPPeer',
        '{ peerIP: 10.0.0.1, node: ~, nodeSelector: has(rack), password: { secretKeyRef: ~ } }',
      ),
    ),
  ) as BGPPeer;
  assert.deepEqual(spec, { peerIP: '10.0.0.1', nodeSelector: 'has(rack)', password: {} });
});

test('a slice of a service without pods says null where its lists would be', () => {
  const slice = parse(`
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: { name: web-1, namespace: default, labels: { kubernetes.io/service-name: web } }
addressType: IPv4
endpoints: null
ports: null`);
  assert.equal((parseObject(slice) as EndpointSlice).endpoints, undefined);
});

test('an object in which nothing is empty is not copied', () => {
  const peer = parse(ours('BGPPeer', '{ peerIP: 10.0.0.1, filters: [a] }'));
  assert.equal((parseObject(peer) as BGPPeer).spec, peer.spec);
});

test('a kind is found by whatever people call it, and no two share a name', () => {
  for (const name of ['svc', 'Service', 'services', 'SERVICE']) assert.equal(kindNamed(name), 'Service');
  const names = KIND_NAMES.flatMap((kind) => {
    const { plural, shortNames = [] } = definitionOf(kind);
    return [kind.toLowerCase(), plural, ...shortNames];
  });
  assert.equal(new Set(names).size, names.length);
});

function ours(kind: string, spec: string, name = 'x'): string {
  return `{ apiVersion: network.tombolo.dev/v1alpha1, kind: ${kind}, metadata: { name: ${name} }, spec: ${spec} }`;
}

function claim(spec: string): string {
  return `{ apiVersion: network.tombolo.dev/v1alpha1, kind: IPClaim, metadata: { name: x, namespace: d }, spec: ${spec} }`;
}

function svc(spec: string): string {
  return `{ apiVersion: v1, kind: Service, metadata: { name: s, namespace: d }, spec: ${spec} }`;
}

function slice(endpoints: string): string {
  return `{ apiVersion: discovery.k8s.io/v1, kind: EndpointSlice, metadata: { name: s, namespace: d }, addressType: IPv4, endpoints: ${endpoints} }`;
}
