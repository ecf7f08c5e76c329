import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { IPPool } from '../store/kinds/ipPool.ts';
import { parseObject } from '../store/kinds/registry.ts';
import type { Listed } from './reading.ts';
import { simulate } from './simulate.ts';

const OURS = 'network.tombolo.dev/v1alpha1';

// biome-ignore lint/suspicious/noExplicitAny: objects of several kinds, each checked by the parser.
function object(kind: string, name: string, body: object, apiVersion = OURS): any {
  return parseObject({ apiVersion, kind, metadata: { name }, ...body });
}

/** Pool `a`, a node with a busy block and an idle one, and a node with an idle one. */
function cluster(): Listed {
  const network = (name: string, blocks: [cidr: string, used: number][]) =>
    object('NodeNetwork', name, {
      spec: { segments: blocks.map(([cidr]) => ({ cidr, pool: 'a', generation: 2 })) },
      status: { segments: blocks.map(([cidr, used]) => ({ cidr, used, generation: 2 })) },
    });
  return {
    pools: [object('IPPool', 'a', { spec: { cidr: '10.0.0.0/24', blockSize: 26 } })],
    configurations: [],
    nodes: ['one', 'two'].map((name) => object('Node', name, {}, 'v1')),
    networks: [
      network('one', [
        ['10.0.0.0/26', 5],
        ['10.0.0.64/26', 0],
      ]),
      network('two', [['10.0.0.128/26', 0]]),
    ],
    claims: [],
    bgpConfigurations: [],
    unreadable: { nodes: [], networks: [], pools: [] },
  };
}

function change(name: string, spec: IPPool['spec'] | undefined) {
  const pool = spec && object('IPPool', name, { spec });
  return { pools: new Map<string, IPPool | undefined>([[name, pool]]), withoutNodes: [] };
}

test('another mask is refused, and what the advised way would do is shown', () => {
  const { changes, after, nodes, stuck } = simulate(
    cluster(),
    change('a', { cidr: '10.0.0.0/24', blockSize: 28 }),
    0,
  );
  assert.equal(changes[0]?.verdict, 'refused');
  assert.match(changes[0]?.advice ?? '', /make a second pool/);
  assert.deepEqual(stuck, [{ node: 'one', pool: 'a', block: '10.0.0.0/26', used: 5 }]);
  assert.deepEqual(nodes, [
    { node: 'one', gains: [], loses: ['10.0.0.64/26 of a'] },
    { node: 'two', gains: [], loses: ['10.0.0.128/26 of a'] },
  ]);
  assert.deepEqual([after[0]?.held, after[0]?.free], [1, '3']);
});

test('a second pool takes over when the first is disabled', () => {
  const disabled = change('a', { cidr: '10.0.0.0/24', blockSize: 26, disabled: true });
  const second = change('b', { cidr: '10.1.0.0/24', blockSize: 28 });
  const { changes, nodes, shortages } = simulate(
    cluster(),
    { pools: new Map([...disabled.pools, ...second.pools]), withoutNodes: [] },
    0,
  );
  assert.deepEqual(
    changes.map(({ verdict }) => verdict),
    ['accepted', 'accepted'],
  );
  assert.deepEqual(
    nodes.find(({ node }) => node === 'two'),
    {
      node: 'two',
      gains: ['10.1.0.16/28 of b'],
      loses: ['10.0.0.128/26 of a'],
    },
  );
  assert.deepEqual(shortages, []);
});

test('nodes that go give their blocks back, and a pool that is too small leaves the others short', () => {
  const gone = simulate(cluster(), { pools: new Map(), withoutNodes: ['one'] }, 0);
  assert.equal(gone.after[0]?.held, 1);
  const tight = { ...cluster(), networks: [] };
  const small = simulate(tight, change('a', { cidr: '10.0.0.0/26', blockSize: 26 }), 0);
  assert.match(small.shortages[0]?.reason ?? '', /pool a \(10\.0\.0\.0\/26\) has no free block of \/26/);
});
