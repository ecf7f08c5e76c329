import assert from 'node:assert/strict';
import { test } from 'node:test';
import { parseIP } from '../address/ip.ts';
import { parsePrefix } from '../address/prefix.ts';
import { parseSelector } from '../selector/selector.ts';
import { explain, type Situation } from './explain.ts';
import { poolRule as pool } from './poolRule.rig.ts';

function usage(cidr: string, name: string, capacity: bigint, used: number): Situation['usage'][number] {
  const segment = { prefix: parsePrefix(cidr), state: 'active', generation: 2, pool: name } as const;
  return { segment, capacity, used, resting: 0, reserved: 0n };
}

const POOLS = [
  pool('open', '10.0.0.0/16'),
  pool('off', '10.1.0.0/16', { disabled: true }),
  pool('rack', '10.2.0.0/16', { nodeSelector: parseSelector('rack == "b"') }),
  pool('bank', '10.3.0.0/16', { namespaceSelector: parseSelector('tenant == "bank"') }),
  pool('named', '10.4.0.0/16', { nodeSelector: parseSelector('!all()') }),
];

function situation(more: Partial<Situation> = {}, annotations: Record<string, string> = {}): Situation {
  return {
    subject: {
      node: { name: 'n1', labels: { rack: 'a' } },
      pod: { namespace: 'shop', name: 'web', annotations },
      namespace: { labels: {}, annotations: {} },
    },
    pools: POOLS,
    usage: [usage('10.0.0.0/28', 'open', 16n, 3)],
    held: [],
    shortage: () => undefined,
    ...more,
  };
}

test('every pool is judged, with the reason against it', () => {
  assert.deepEqual(
    explain(situation()).pools.map(({ name, verdict }) => [name, verdict]),
    [
      ['open', 'serves it'],
      ['off', 'does not serve it: it is disabled'],
      ['rack', 'does not serve it: its nodeSelector does not select node n1'],
      ['bank', 'does not serve it: its namespaceSelector does not select the namespace'],
      ['named', 'does not serve it: it serves only who names it'],
    ],
  );
});

test('free addresses are counted, and a family without a pool is named', () => {
  const [four, six] = explain(situation()).families;
  assert.deepEqual(four?.segments, [{ cidr: '10.0.0.0/28', pool: 'open', free: '13' }]);
  assert.equal(four?.outlook, 'it gets one of 13 free addresses');
  assert.match(six?.outlook ?? '', /no IPv6 address: no pool of this family is open/);
});

test('on a full node the operator’s reason is told, where there is one', () => {
  const full = { usage: [usage('10.0.0.0/28', 'open', 16n, 16)] };
  assert.match(explain(situation(full)).families[0]?.outlook ?? '', /asks the operator for a segment/);
  const short = { ...full, shortage: () => 'pool open has no free block' };
  assert.match(
    explain(situation(short)).families[0]?.outlook ?? '',
    /pool open has no free block\. An ADD asks other nodes to lend one/,
  );
});

test('a typo is told as the ADD would tell it', () => {
  const { refused, families } = explain(situation({}, { 'cni.projectcalico.org/ipv4pools': 'opne' }));
  assert.match(refused ?? '', /pool opne, named by annotation .* of pod shop\/web: there is no pool/);
  assert.deepEqual(families, []);
});

test('what the pod holds is told with its segment and pool', () => {
  const owner = { containerID: 'c', ifName: 'eth0', network: 'pods' };
  const held = [{ owner, addresses: [parseIP('10.0.0.2'), parseIP('192.0.2.9')], at: 0, boot: 'b' }];
  assert.deepEqual(explain(situation({ held })).holds, [
    { address: '10.0.0.2', segment: '10.0.0.0/28', pool: 'open' },
    { address: '192.0.2.9' },
  ]);
});
