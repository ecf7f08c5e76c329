import assert from 'node:assert/strict';
import { test } from 'node:test';
import { parseIP } from '../address/ip.ts';
import { formatPrefix, parsePrefix } from '../address/prefix.ts';
import type { SegmentUsage } from '../ipam/ipam.ts';
import type { IPPool } from '../store/kinds/ipPool.ts';
import type { Node } from '../store/kinds/node.ts';
import type { NodeNetwork } from '../store/kinds/nodeNetwork.ts';
import { type NodeInputs, nodeViewOf } from './bgpNode.ts';

const pool = (spec: IPPool['spec']) => ({ metadata: { name: 'pool' }, spec }) as IPPool;

function segment(cidr: string, more: Partial<SegmentUsage['segment']> = {}, used = 0): SegmentUsage {
  const state = { prefix: parsePrefix(cidr), state: 'active' as const, generation: 1, ...more };
  return { segment: state, capacity: 256n, used, resting: 0, reserved: 0n };
}

function look(given: Partial<NodeInputs>) {
  const inputs: NodeInputs = {
    config: { bgp: { address: parseIP('0.0.0.0'), port: 179 }, routing: 'underlay', segments: [] },
    self: undefined,
    addresses: [],
    gateways: [],
    usage: [],
    held: [],
    pools: [pool({ cidr: '10.77.0.0/16' })],
    networks: [],
    services: [],
    ...given,
  };
  const { view, problems } = nodeViewOf(inputs);
  const { ranges = [], segments = [] } = view.kernel ?? {};
  return {
    announced: view.originate.map(({ prefix }) => formatPrefix(prefix)),
    exported: view.exportRanges.map(formatPrefix),
    imported: ranges.map(formatPrefix),
    blackholes: segments.map(formatPrefix),
    draining: view.draining,
    problems,
  };
}

test('segments are announced while they are active or in use', () => {
  const usage = [
    segment('10.77.1.0/24'),
    segment('10.77.2.0/24', { state: 'releasing' }, 1),
    segment('10.77.3.0/24', { state: 'releasing' }),
  ];
  assert.deepEqual(look({ usage }).announced, ['10.77.1.0/24', '10.77.2.0/24']);
  assert.deepEqual(look({ usage }).blackholes, ['10.77.1.0/24', '10.77.2.0/24']);
});

test('a segment with a gateway is its router’s to announce', () => {
  const usage = [segment('10.77.1.0/24', { gateway: parseIP('10.77.1.1') })];
  assert.deepEqual(look({ usage, held: [parseIP('10.77.1.9')] }).announced, []);
});

test('an address in use outside all segments is announced by itself', () => {
  const held = [parseIP('10.77.1.9'), parseIP('10.77.9.9')];
  assert.deepEqual(look({ usage: [segment('10.77.1.0/24', {}, 1)], held }).announced, [
    '10.77.1.0/24',
    '10.77.9.9/32',
  ]);
});

test('the narrowest pool decides whether a segment is announced', () => {
  const pools = [
    pool({ cidr: '10.77.0.0/16' }),
    pool({ cidr: '10.77.8.0/21', disableBGPExport: true }),
    pool({ cidr: '10.77.9.0/24' }),
  ];
  const usage = [segment('10.77.1.0/26'), segment('10.77.8.0/26'), segment('10.77.9.0/26')];
  assert.deepEqual(look({ pools, usage }).announced, ['10.77.1.0/26', '10.77.9.0/26']);
});

test('a segment outside all pools stays here, and is a problem', () => {
  const { announced, problems } = look({ usage: [segment('172.16.1.0/24')] });
  assert.deepEqual(announced, []);
  assert.deepEqual(problems, [
    '172.16.1.0/24 is not announced: it lies in no IPPool and no configured segment',
  ]);
  const configured = look({
    config: {
      bgp: undefined,
      routing: 'underlay',
      segments: [{ prefix: parsePrefix('172.16.1.0/24'), gateway: undefined }],
    },
    usage: [segment('172.16.1.0/24')],
  });
  assert.deepEqual(configured.announced, ['172.16.1.0/24']);
});

test('the host takes routes to pod pools, and to the segments of nodes where there is no pool', () => {
  const networks = [
    { metadata: { name: 'b' }, spec: {}, status: { segments: [{ cidr: '172.16.2.0/24', generation: 1 }] } },
    { metadata: { name: 'c' }, spec: { segments: [{ cidr: '10.77.3.0/24' }] } },
  ] as unknown as NodeNetwork[];
  const pools = [
    pool({ cidr: '10.77.0.0/16' }),
    pool({ cidr: '192.0.2.0/24', allowedUses: ['LoadBalancer'] }),
  ];
  assert.deepEqual(look({ pools, networks }).imported, ['10.77.0.0/16', '172.16.2.0/24']);
});

test('an overlay node announces no segment and takes no route to one', () => {
  const config = { bgp: undefined, routing: 'overlay' as const, segments: [] };
  const { announced, imported, blackholes } = look({ config, usage: [segment('10.77.1.0/24')] });
  assert.deepEqual([announced, imported, blackholes], [[], [], ['10.77.1.0/24']]);
});

test('an annotation drains the node, and so does the autoscaler’s taint', () => {
  const node = (annotations: Record<string, string>, taints: { key: string; effect: string }[] = []) =>
    ({ metadata: { name: 'a', annotations }, spec: { taints } }) as unknown as Node;
  assert.equal(look({ self: node({}) }).draining, false);
  assert.equal(look({ self: node({ 'network.tombolo.dev/drain': 'true' }) }).draining, true);
  assert.equal(look({ self: node({ 'network.tombolo.dev/drain': 'false' }) }).draining, false);
  const doomed = [{ key: 'ToBeDeletedByClusterAutoscaler', effect: 'NoSchedule' }];
  assert.equal(look({ self: node({}, doomed) }).draining, true);
});
