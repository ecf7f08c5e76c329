import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { IPPool, PoolShape } from '../store/kinds/ipPool.ts';
import { parseObject } from '../store/kinds/registry.ts';
import { type PoolFacts, refusePool } from './poolChange.ts';

const OURS = 'network.tombolo.dev/v1alpha1';

// biome-ignore lint/suspicious/noExplicitAny: objects of several kinds, each checked by the parser.
function object(kind: string, name: string, body: object, apiVersion = OURS): any {
  return parseObject({
    apiVersion,
    kind,
    metadata: { name, ...(kind === 'IPClaim' && { namespace: 'shop' }) },
    ...body,
  });
}

function pool(name: string, spec: Partial<IPPool['spec']> & { cidr: string }): IPPool {
  return object('IPPool', name, { spec });
}

const FORCE: PoolShape = { cidr: '10.0.0.0/16', blockSize: 26 };

function facts(change: Partial<PoolFacts> = {}): PoolFacts {
  return { pools: [], networks: [], claims: [], nodes: [], configurations: [], ...change };
}

/** Two nodes with a block of pool `a` each. */
const USED = facts({
  networks: ['one', 'two'].map((name, index) =>
    object('NodeNetwork', name, {
      spec: { segments: [{ cidr: `10.0.0.${64 * index}/26`, pool: 'a' }] },
      status: { segments: [{ cidr: `10.0.0.${64 * index}/26`, generation: 1, used: 3 }] },
    }),
  ),
});

function refusal(after: IPPool | undefined, given: PoolFacts, before: PoolShape | 'new' = FORCE): string {
  const refused = refusePool('a', before === 'new' ? undefined : before, after, given);
  return refused === undefined ? '' : `${refused.reason} | ${refused.advice}`;
}

test('two pools never share an address, whatever their lengths', () => {
  const given = facts({ pools: [pool('b', { cidr: '10.0.64.0/18' })] });
  const overlap = /10\.0\.0\.0\/16 overlaps 10\.0\.64\.0\/18 of pool b: .* \| choose a range/;
  assert.match(refusal(pool('a', { cidr: '10.0.0.0/16' }), given, 'new'), overlap);
  assert.match(refusal(pool('a', { cidr: '10.0.65.0/24' }), given, 'new'), /overlaps 10\.0\.64\.0\/18/);
  assert.equal(refusal(pool('a', { cidr: '10.1.0.0/16' }), given, 'new'), '');
});

test('a pool does not lie on nodes, services, or ranges that no pod can have', () => {
  const node = object(
    'Node',
    'one',
    { status: { addresses: [{ type: 'InternalIP', address: '10.0.0.7' }] } },
    'v1',
  );
  const onNodes = facts({ nodes: [node] });
  const wanted = pool('a', { cidr: '10.0.0.0/24' });
  assert.match(refusal(wanted, onNodes, 'new'), /contains 10\.0\.0\.7, the address of node one/);
  assert.equal(refusal(pool('a', { cidr: '10.0.0.0/24', reserved: ['10.0.0.0/28'] }), onNodes, 'new'), '');
  const services = object('BGPConfiguration', 'default', {
    spec: { serviceClusterIPs: [{ cidr: '10.0.0.0/20' }] },
  });
  assert.match(refusal(wanted, facts({ configurations: [services] }), 'new'), /the services' range/);
  const balancers = pool('a', { cidr: '10.0.0.0/24', allowedUses: ['LoadBalancer'] });
  assert.equal(refusal(balancers, facts({ configurations: [services] }), 'new'), '');
  for (const cidr of ['127.0.0.0/24', '169.254.0.0/20', '224.0.0.0/24', 'fe80::/64', 'ff00::/64']) {
    assert.match(refusal(pool('a', { cidr }), facts(), 'new'), /which no pod can have/, cidr);
  }
});

test('the mask of a pool is not changed under its blocks, and where there is none it may be', () => {
  const wanted = pool('a', { cidr: '10.0.0.0/16', blockSize: 28 });
  assert.match(
    refusal(wanted, USED),
    /blockSize is 26 and cannot become 28: 2 nodes \(one, two\) hold 2 blocks of it with 6 addresses in use \| make a second pool .*disabled: true on a/,
  );
  assert.equal(refusal(wanted, facts()), '');
});

test('a pool shrinks only to a range with all that is in use, and grows as it likes', () => {
  assert.match(
    refusal(pool('a', { cidr: '10.0.0.0/26' }), USED),
    /10\.0\.0\.0\/26 leaves out part of 10\.0\.0\.0\/16 that is in use: 1 node \(two\) hold 1 block/,
  );
  assert.equal(refusal(pool('a', { cidr: '10.0.0.0/25' }), USED), '');
  assert.equal(refusal(pool('a', { cidr: '10.0.0.0/15' }), USED), '');
  const claim = object('IPClaim', 'db-0', {
    spec: { owner: { kind: 'Pod', name: 'db-0' } },
    status: { addresses: ['10.0.9.9'] },
  });
  const kept = facts({ claims: [claim] });
  assert.match(refusal(pool('a', { cidr: '10.0.0.0/25' }), kept), /1 claim \(shop\/db-0\) keep addresses/);
});

test('a pool that holds anything is not deleted, and the way to get there is said', () => {
  assert.match(refusal(undefined, USED), /2 nodes \(one, two\) hold 2 blocks .* \| set spec\.disabled: true/);
  assert.equal(refusal(undefined, facts()), '');
});
