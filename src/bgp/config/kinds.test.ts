import assert from 'node:assert/strict';
import { test } from 'node:test';
import { formatIP, parseIP } from '../../address/ip.ts';
import { formatPrefix, parsePrefix } from '../../address/prefix.ts';
import type { BGPConfiguration } from '../../store/kinds/bgpConfiguration.ts';
import type { BGPPeer } from '../../store/kinds/bgpPeer.ts';
import type { Node } from '../../store/kinds/node.ts';
import type { ClusterView, NodeView } from './clusterView.ts';
import { routerConfigFrom } from './kinds.ts';

function node(name: string, address: string, more: { labels?: object; annotations?: object } = {}): Node {
  return {
    apiVersion: 'v1',
    kind: 'Node',
    metadata: { name, ...more },
    status: { addresses: [{ type: 'InternalIP', address }] },
  } as Node;
}

const peer = (name: string, spec: BGPPeer['spec']) => ({ metadata: { name }, spec }) as BGPPeer;
const configuration = (spec: BGPConfiguration['spec'], name = 'default') =>
  ({ metadata: { name }, spec }) as BGPConfiguration;

const nodes = [
  node('a', '10.0.0.1', { labels: { rack: 'r1' } }),
  node('b', '10.0.0.2', { labels: { rack: 'r1' } }),
  node('c', '10.0.0.3', { labels: { rack: 'r2' } }),
];

function translate(cluster: Partial<ClusterView>, here: Partial<NodeView> = {}) {
  return routerConfigFrom(
    {
      nodeName: 'a',
      nodes,
      configurations: [configuration({ nodeToNodeMeshEnabled: false })],
      peers: [],
      filters: [],
      secret: () => undefined,
      ...cluster,
    },
    {
      listen: { address: parseIP('0.0.0.0'), port: 179 },
      gateways: [parseIP('10.0.0.254')],
      originate: [],
      exportRanges: [],
      kernel: undefined,
      draining: false,
      ...here,
    },
  );
}

const addresses = (result: ReturnType<typeof translate>) =>
  result.config.neighbours.map(({ address }) => formatIP(address));

test('without any configuration nodes of AS 64512 peer with each other', () => {
  const result = translate({ configurations: [] });
  assert.equal(result.config.asn, 64512);
  assert.equal(formatIP(result.config.routerId), '10.0.0.1');
  assert.deepEqual(addresses(result), ['10.0.0.2', '10.0.0.3']);
  assert.ok(
    result.config.neighbours.every(
      ({ remoteAs, kind }) => remoteAs === 64512 && kind === 'node-to-node mesh',
    ),
  );
});

test('a global peer is everybody’s, one of a node or a label only theirs', () => {
  const peers = [
    peer('global', { peerIP: '10.0.1.1', asNumber: 65001 }),
    peer('mine', { peerIP: '10.0.1.2:1179', asNumber: 65001, node: 'a' }),
    peer('rack', { peerIP: '10.0.1.3', asNumber: 65001, nodeSelector: "rack == 'r1'" }),
    peer('other', { peerIP: '10.0.1.4', asNumber: 65001, nodeSelector: "rack == 'r2'" }),
  ];
  const result = translate({ peers });
  assert.deepEqual(addresses(result), ['10.0.1.1', '10.0.1.2', '10.0.1.3']);
  assert.deepEqual(
    result.config.neighbours.map(({ kind, port }) => [kind, port]),
    [
      ['global', 179],
      ['node specific', 1179],
      ['node specific', 179],
    ],
  );
});

test('nobody peers with itself: who names all nodes one by one is not to mind, who names one for itself is told', () => {
  const peers = [
    peer('everybody-with-a', { peerIP: '10.0.0.1', asNumber: 64512 }),
    peer('a-with-itself', { peerIP: '10.0.0.1', asNumber: 64512, node: 'a' }),
    peer('a-with-its-other-speaker', { peerIP: '10.0.0.1:1790', asNumber: 65001, node: 'a' }),
  ];
  const { config, problems } = translate({ peers });
  assert.deepEqual(
    config.neighbours.map(({ name }) => name),
    ['BGPPeer a-with-its-other-speaker'],
  );
  assert.deepEqual(problems, ['BGPPeer a-with-itself is ignored: 10.0.0.1 is this node itself']);
  assert.deepEqual(addresses(translate({ peers, nodeName: 'b' })), ['10.0.0.1']);
});

test('a peering by labels is known at both of its ends', () => {
  const reflector = node('rr', '10.0.0.9', {
    labels: { role: 'rr' },
    annotations: { 'projectcalico.org/RouteReflectorClusterID': '1.0.0.1' },
  });
  const peers = [peer('to-reflectors', { nodeSelector: "rack == 'r1'", peerSelector: "role == 'rr'" })];
  const all = [...nodes, reflector];
  assert.deepEqual(addresses(translate({ nodes: all, peers })), ['10.0.0.9']);
  assert.deepEqual(addresses(translate({ nodes: all, peers, nodeName: 'c' })), []);
  const there = translate({ nodes: all, peers, nodeName: 'rr' });
  assert.deepEqual(addresses(there), ['10.0.0.1', '10.0.0.2']);
  assert.ok(there.config.neighbours.every(({ reflectorClient }) => reflectorClient));
  assert.equal(there.config.clusterId, there.config.clusterId && parseIP('1.0.0.1'));
});

test('reflectors take no part in the mesh', () => {
  const reflector = node('rr', '10.0.0.9', {
    annotations: { 'projectcalico.org/RouteReflectorClusterID': '1.0.0.1' },
  });
  assert.deepEqual(addresses(translate({ nodes: [...nodes, reflector], configurations: [] })), [
    '10.0.0.2',
    '10.0.0.3',
  ]);
});

test('labels of the node name its leaf; without an address it is the default gateway', () => {
  const labelled = (labels: object) =>
    translate({ nodes: [node('a', '10.0.0.1', { labels })] }).config.neighbours[0];
  const named = labelled({ 'infra.tce.io/as': '64512', 'infra.tce.io/switch-ip': '192.168.60.2' });
  assert.equal(named && formatIP(named.address), '192.168.60.2');
  assert.equal(named?.remoteAs, 64512);
  const gateway = labelled({ 'infra.tce.io/as': '65010' });
  assert.equal(gateway && formatIP(gateway.address), '10.0.0.254');
  const broken = translate({ nodes: [node('a', '10.0.0.1', { labels: { 'infra.tce.io/as': 'x' } })] });
  assert.match(broken.problems[0] ?? '', /leaf of the node's labels is ignored: .*\(value "x"\)/);
});

test('a peer whose password is missing stays away, and says why', () => {
  const peers = [
    peer('leaf', {
      peerIP: '10.0.1.1',
      asNumber: 65001,
      password: { secretKeyRef: { name: 'bgp', key: 'leaf' } },
    }),
  ];
  const without = translate({ peers });
  assert.deepEqual(addresses(without), []);
  assert.deepEqual(without.problems, ['BGPPeer leaf is ignored: there is no key leaf in Secret bgp']);
  const result = translate({ peers, secret: (name, key) => `${name}/${key}` });
  assert.equal(result.config.neighbours[0]?.password, 'bgp/leaf');
});

test('one address is one neighbour', () => {
  const peers = [
    peer('one', { peerIP: '10.0.1.1', asNumber: 65001 }),
    peer('two', { peerIP: '10.0.1.1', asNumber: 65002 }),
  ];
  const result = translate({ peers });
  assert.deepEqual(
    result.config.neighbours.map(({ remoteAs }) => remoteAs),
    [65001],
  );
  assert.deepEqual(result.problems, [
    'BGPPeer two is ignored: 10.0.1.1 is a neighbour by BGPPeer one already',
  ]);
});

test('every field of a BGPPeer has its effect', () => {
  const peers = [
    peer('leaf', {
      peerIP: '10.0.1.1',
      asNumber: 65001,
      localASNumber: 65100,
      nextHopMode: 'Self',
      sourceAddress: 'None',
      maxRestartTime: '1m30s',
      keepaliveTime: '10s',
      holdTime: '30s',
      connectTime: '3s',
      numAllowedLocalASNumbers: 2,
      ttlSecurity: 1,
      interface: 'bond0',
      filters: ['missing'],
    }),
  ];
  const { config, problems } = translate({ peers });
  const [leaf] = config.neighbours;
  assert.equal(leaf?.localAs, 65100);
  assert.equal(leaf?.policy.nextHop, 'self');
  assert.equal(leaf?.sourceAddress, undefined);
  assert.deepEqual(leaf?.gracefulRestart, { restartTime: 90, longLivedStaleTime: 0, notification: false });
  assert.deepEqual([leaf?.keepaliveTime, leaf?.holdTime, leaf?.connectRetryTime], [10, 30, 3]);
  assert.equal(leaf?.policy.allowedOwnAs, 2);
  assert.equal(leaf?.ttlSecurity, 1);
  assert.equal(leaf?.interface, 'bond0');
  assert.deepEqual(problems, ['BGPPeer leaf names BGPFilter missing, which is not there']);
});

test('the configuration of the node comes before that of the cluster', () => {
  const configurations = [
    configuration({ asNumber: 65000, nodeToNodeMeshEnabled: false, listenPort: 1790 }),
    configuration({ asNumber: 65001 }, 'node.a'),
  ];
  const { config } = translate({ configurations });
  assert.equal(config.asn, 65001);
  assert.equal(config.listen[0]?.port, 1790);
  assert.equal(translate({ configurations, nodeName: 'b' }).config.asn, 65000);
});

test('service ranges may leave, and advertised prefixes get their communities', () => {
  const configurations = [
    configuration({
      nodeToNodeMeshEnabled: false,
      serviceLoadBalancerIPs: [{ cidr: '192.0.2.0/24' }],
      communities: [{ name: 'pods', value: '65001:100' }],
      prefixAdvertisements: [{ cidr: '10.244.0.0/16', communities: ['pods', '65001:1:2'] }],
    }),
  ];
  const originate = [{ prefix: parsePrefix('10.244.1.0/24') }, { prefix: parsePrefix('10.1.0.0/24') }];
  const { config } = translate(
    { configurations },
    { originate, exportRanges: [parsePrefix('10.244.0.0/16')] },
  );
  assert.deepEqual(config.exportRanges?.map(formatPrefix), ['10.244.0.0/16', '192.0.2.0/24']);
  assert.deepEqual(config.originate[0]?.communities, [((65001 << 16) | 100) >>> 0, [65001, 1, 2]]);
  assert.equal(config.originate[1]?.communities, undefined);
});

test('a labelled node reflects for all the others, which peer with nobody else', () => {
  const label = (value: string) => ({ labels: { 'network.tombolo.dev/route-reflector': value } });
  const all = [...nodes, node('r1', '10.0.0.8', label('1.0.0.1')), node('r2', '10.0.0.9', label('true'))];
  const of = (nodeName: string) => translate({ nodes: all, configurations: [], nodeName });
  assert.deepEqual(addresses(of('a')), ['10.0.0.8', '10.0.0.9']);
  assert.ok(of('a').config.neighbours.every(({ kind }) => kind === 'route reflection'));
  const first = of('r1').config;
  assert.deepEqual(addresses(of('r1')), ['10.0.0.1', '10.0.0.2', '10.0.0.3', '10.0.0.9']);
  assert.deepEqual(
    first.neighbours.map(({ reflectorClient }) => reflectorClient),
    [true, true, true, false],
  );
  assert.equal(first.clusterId, parseIP('1.0.0.1'));
  assert.equal(of('r2').config.clusterId, parseIP('10.0.0.9'), 'one of its own');
  assert.equal(of('a').config.clusterId, undefined);
});

test('what a node has from one peer it tells another only where it reflects', () => {
  const label = { labels: { 'network.tombolo.dev/route-reflector': 'true' } };
  const all = [...nodes, node('rr', '10.0.0.9', label)];
  const peers = [
    peer('leaf', { peerIP: '10.0.1.1', asNumber: 65001 }),
    peer('fabric', { peerIP: '10.0.1.2', asNumber: 65001, nextHopMode: 'Keep' }),
  ];
  const rejected = (nodeName: string) =>
    translate({ nodes: all, peers, configurations: [], nodeName })
      .config.neighbours.filter(({ name }) => name.startsWith('BGPPeer'))
      .map(({ policy }) => policy.filters.flatMap(({ exportV4 = [] }) => exportV4))
      .map((rules) => rules.map(({ peerType = 'all' }) => peerType));
  assert.deepEqual(rejected('a'), [['all'], ['all']]);
  assert.deepEqual(rejected('rr'), [['eBGP'], []]);
});

test('what would be relied upon in vain is said', () => {
  const peers = [
    peer('leaf', { peerIP: '10.0.1.1', asNumber: 65001, reachableBy: '10.0.0.254' }),
    peer('workloads', { localWorkloadSelector: 'all()' }),
  ];
  const configurations = [configuration({ nodeToNodeMeshEnabled: false, ipv4NormalRoutePriority: 512 })];
  const result = translate({ peers, configurations });
  assert.deepEqual(addresses(result), ['10.0.1.1']);
  assert.deepEqual(result.problems, [
    'BGPConfiguration default: spec.ipv4NormalRoutePriority has no effect: setPriority of a BGPFilter gives routes their metric',
    'BGPPeer leaf: spec.reachableBy has no effect: the peer is reached by whatever route the node has',
    'BGPPeer workloads is ignored: it names neither peerIP nor peerSelector',
  ]);
});
