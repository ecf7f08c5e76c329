import assert from 'node:assert/strict';
import { test } from 'node:test';
import { formatIP, type IPv4, parseIP } from '../address/ip.ts';
import { formatPrefix, parsePrefix } from '../address/prefix.ts';
import type { NodeNetwork } from '../store/kinds/nodeNetwork.ts';
import { planTunnels, type Routing } from './tunnelPlan.ts';

const address = parseIP('192.0.2.1') as IPv4;

function network(name: string, fields: Partial<Pick<NodeNetwork, 'spec' | 'status'>>): NodeNetwork {
  return {
    apiVersion: 'network.tombolo.dev/v1alpha1',
    kind: 'NodeNetwork',
    metadata: { name },
    spec: {},
    ...fields,
  };
}

function peer(name: string, ip: string, routing: Routing | undefined, cidrs: string[]): NodeNetwork {
  return network(name, {
    spec: { segments: cidrs.map((cidr) => ({ cidr })) },
    status: { nodeIPs: [ip], ...(routing && { routing }) },
  });
}

function planOf(
  routing: Routing,
  networks: NodeNetwork[],
  more: Partial<Parameters<typeof planTunnels>[0]> = {},
) {
  const plan = planTunnels({ name: 'self', routing, address, networks, pools: [], ...more });
  const ways = plan.prefixes.map(
    ({ prefix, endpoint }) => `${formatPrefix(prefix)} ${endpoint ? formatIP(endpoint) : 'native'}`,
  );
  return { ...plan, ways };
}

test('between two nodes of the underlay the network knows the way, and nobody needs the device', () => {
  const { ways, overlay } = planOf('underlay', [peer('b', '192.0.2.2', 'underlay', ['10.2.0.0/24'])]);
  assert.deepEqual(ways, ['192.0.2.2/32 native', '10.2.0.0/24 native']);
  assert.equal(overlay, false);
});

test('a node of the overlay at either end makes it a tunnel, to the segments and to the node', () => {
  const there = ['192.0.2.2/32 192.0.2.2', '10.2.0.0/24 192.0.2.2', 'fd02::/64 192.0.2.2'];
  const cidrs = ['10.2.0.0/24', 'fd02::/64'];
  for (const [here, yonder] of [
    ['overlay', 'overlay'],
    ['overlay', 'underlay'],
    ['underlay', 'overlay'],
    ['overlay', undefined],
  ] as const) {
    const { ways, overlay } = planOf(here, [peer('b', '192.0.2.2', yonder, cidrs)]);
    assert.deepEqual(ways, there, `${here} to ${yonder}`);
    assert.equal(overlay, true);
  }
});

test('this node itself is nowhere in the plan', () => {
  assert.deepEqual(planOf('overlay', [peer('self', '192.0.2.1', 'overlay', ['10.1.0.0/24'])]).ways, []);
});

test('a node of the overlay has the device before there is anybody else', () => {
  assert.equal(planOf('overlay', []).overlay, true);
});

test('an L2 segment is reached by its router, even of a node in the overlay', () => {
  const segments = [{ cidr: '10.2.0.0/24', gateway: '10.2.0.1' }];
  const status = { nodeIPs: ['192.0.2.2'], routing: 'overlay' as const };
  const { ways } = planOf('underlay', [network('b', { spec: { segments }, status })]);
  assert.ok(ways.includes('10.2.0.0/24 native'));
});

test('segments that no pod can be in yet or any more are left out', () => {
  const states = ['claimed', 'active', 'releasing', 'cooling'] as const;
  const segments = states.map((state, index) => ({ cidr: `10.2.${index}.0/24`, state }));
  const { ways } = planOf('overlay', [
    network('b', { spec: { segments }, status: { nodeIPs: ['192.0.2.2'] } }),
  ]);
  assert.deepEqual(ways.slice(1), ['10.2.1.0/24 192.0.2.2', '10.2.2.0/24 192.0.2.2']);
});

test('where no operator assigns segments, those that the node says it has count', () => {
  const status = { nodeIPs: ['192.0.2.2'], segments: [{ cidr: '10.2.0.0/24', generation: 1 }] };
  assert.ok(planOf('overlay', [network('b', { status })]).ways.includes('10.2.0.0/24 192.0.2.2'));
});

test('an address that a pod has taken to another node is found there', () => {
  const status = { nodeIPs: ['192.0.2.2'], borrowed: ['10.3.0.7'] };
  assert.ok(planOf('overlay', [network('b', { status })]).ways.includes('10.3.0.7/32 192.0.2.2'));
});

test('a pool is inside the cluster where no node has it, unless it is for services', () => {
  const pool = (name: string, cidr: string, allowedUses?: ('Workload' | 'LoadBalancer')[]) => ({
    apiVersion: 'network.tombolo.dev/v1alpha1' as const,
    kind: 'IPPool' as const,
    metadata: { name },
    spec: { cidr, ...(allowedUses && { allowedUses }) },
  });
  const pools = [pool('pods', '10.0.0.0/8'), pool('vips', '198.51.100.0/24', ['LoadBalancer'])];
  assert.deepEqual(planOf('overlay', [], { pools }).ways, ['10.0.0.0/8 native']);
});

test('a node without an IPv4 address is left out and named', () => {
  const { ways, problems } = planOf('overlay', [peer('b', '2001:db8::2', 'overlay', ['10.2.0.0/24'])]);
  assert.deepEqual(ways, []);
  assert.deepEqual(problems, ['node b cannot be reached through the overlay: it has no IPv4 address']);
});

test('a node that has said nothing of itself yet is no problem while it has no pods', () => {
  assert.deepEqual(planOf('overlay', [network('b', {})]).problems, []);
});

test('without an IPv4 address of its own a node has no overlay, and says so', () => {
  const networks = [peer('b', '192.0.2.2', 'overlay', ['10.2.0.0/24'])];
  const { overlay, problems } = planOf('underlay', networks, { address: undefined });
  assert.equal(overlay, false);
  assert.deepEqual(problems, ['the overlay needs an IPv4 address of this node']);
});

test('what nodes announce for services is inside the cluster, and no pool or node of the same range is lost by it', () => {
  const services = ['203.0.113.0/24', '10.9.0.0/16', '192.0.2.2/32'].map(parsePrefix);
  const pool = {
    apiVersion: 'network.tombolo.dev/v1alpha1',
    kind: 'IPPool',
    metadata: { name: 'pods' },
    spec: { cidr: '10.9.0.0/16' },
  } as const;
  const { prefixes } = planOf('underlay', [peer('b', '192.0.2.2', 'underlay', [])], {
    services,
    pools: [pool],
  });
  const said = Object.fromEntries(prefixes.map(({ prefix, of }) => [formatPrefix(prefix), of]));
  assert.deepEqual(said, { '203.0.113.0/24': 'services', '10.9.0.0/16': 'pods', '192.0.2.2/32': 'node' });
});

test('pools that ask for tunnels as in Calico are a problem of the plan, each by its name', () => {
  const pool = {
    apiVersion: 'network.tombolo.dev/v1alpha1',
    kind: 'IPPool',
    metadata: { name: 'rack-a' },
    spec: { cidr: '10.20.0.0/16', vxlanMode: 'Always' as const },
  };
  const { problems } = planOf('underlay', [], { pools: [pool] });
  assert.deepEqual(
    problems.map((problem) => problem.replace(/: routing .*/, '')),
    ['IPPool rack-a: spec.vxlanMode has no effect'],
  );
  assert.deepEqual(
    planOf('underlay', [], { pools: [{ ...pool, spec: { ...pool.spec, vxlanMode: 'Never' } }] }).problems,
    [],
  );
});
