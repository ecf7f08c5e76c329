import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import type { IPv4 } from '../../address/ip.ts';
import { covers, formatPrefix, networkOf, type Prefix, parsePrefix } from '../../address/prefix.ts';
import { CompiledFilters } from './compiledFilters.ts';
import { ExportGuard } from './exportGuard.ts';
import type { Filter, FilterRule } from './filter.ts';
import type { LargeCommunity, PolicyRoute } from './policyRoute.ts';
import { matchOf } from './prefixMatch.ts';

interface Given {
  readonly prefix: string;
  readonly learned?: boolean;
  readonly interface?: string;
  readonly communities?: readonly (number | LargeCommunity)[];
  readonly path?: readonly number[];
  readonly priority?: number;
}

function routeOf(given: Given): PolicyRoute {
  const { family, words, length } = matchOf(parsePrefix(given.prefix));
  const { communities = [], path = [], priority = 1024 } = given;
  return {
    family,
    words,
    length,
    learned: given.learned ?? true,
    interface: given.interface,
    attributes: {
      hasCommunity: (community) => communities.includes(community),
      hasLargeCommunity: (community) => communities.some((one) => String(one) === String(community)),
      pathBeginsWith: (asns) => asns.every((as, index) => path[index] === as),
      priority,
    },
  };
}

function exporting(rules: readonly FilterRule[], peerType: 'ebgp' | 'ibgp' = 'ebgp'): CompiledFilters {
  return new CompiledFilters([{ name: 'f', exportV4: rules }], 'export', peerType);
}

const reject = (rule: Omit<FilterRule, 'action'>): FilterRule => ({ ...rule, action: 'Reject' });

test('each condition decides as Calico documents it', () => {
  const ten = parsePrefix('10.0.0.0/8');
  const cases: [Omit<FilterRule, 'action'>, Given, boolean][] = [
    [{}, { prefix: '1.2.3.0/24' }, true],
    [{ cidr: ten, matchOperator: 'Equal' }, { prefix: '10.0.0.0/8' }, true],
    [{ cidr: ten, matchOperator: 'Equal' }, { prefix: '10.0.0.0/9' }, false],
    [{ cidr: ten, matchOperator: 'NotEqual' }, { prefix: '10.0.0.0/8' }, false],
    [{ cidr: ten, matchOperator: 'NotEqual' }, { prefix: '10.0.0.0/9' }, true],
    [{ cidr: ten, matchOperator: 'In' }, { prefix: '10.0.0.0/8' }, true],
    [{ cidr: ten, matchOperator: 'In' }, { prefix: '10.7.0.0/32' }, true],
    [{ cidr: ten, matchOperator: 'In' }, { prefix: '8.0.0.0/5' }, false],
    [{ cidr: ten, matchOperator: 'In' }, { prefix: '11.0.0.0/8' }, false],
    [{ cidr: ten, matchOperator: 'NotIn' }, { prefix: '11.0.0.0/8' }, true],
    [{ cidr: ten, matchOperator: 'NotIn' }, { prefix: '10.1.0.0/16' }, false],
    [{ cidr: ten, matchOperator: 'In', prefixLength: { min: 16, max: 24 } }, { prefix: '10.1.0.0/16' }, true],
    [{ cidr: ten, matchOperator: 'In', prefixLength: { min: 16, max: 24 } }, { prefix: '10.0.0.0/8' }, false],
    [{ cidr: ten, matchOperator: 'In', prefixLength: { max: 24 } }, { prefix: '10.1.2.3/32' }, false],
    [{ cidr: ten, matchOperator: 'In', prefixLength: { min: 4 } }, { prefix: '8.0.0.0/5' }, false],
    [
      { cidr: ten, matchOperator: 'NotIn', prefixLength: { min: 16, max: 24 } },
      { prefix: '10.1.2.3/32' },
      true,
    ],
    [{ cidr: parsePrefix('0.0.0.0/0'), matchOperator: 'In' }, { prefix: '0.0.0.0/0' }, true],
    [{ source: 'RemotePeers' }, { prefix: '10.0.0.0/8', learned: true }, true],
    [{ source: 'RemotePeers' }, { prefix: '10.0.0.0/8', learned: false }, false],
    [{ interface: 'eth0' }, { prefix: '10.0.0.0/8', interface: 'eth0' }, true],
    [{ interface: 'eth0' }, { prefix: '10.0.0.0/8', interface: 'eth01' }, false],
    [{ interface: '*.calico' }, { prefix: '10.0.0.0/8', interface: 'vxlan.calico' }, true],
    [{ interface: '*.calico' }, { prefix: '10.0.0.0/8', interface: 'vxlan-calico' }, false],
    [{ interface: '*' }, { prefix: '10.0.0.0/8' }, false],
    [{ communities: { values: ['65000:100'] } }, { prefix: '10.0.0.0/8', communities: [0xfde80064] }, true],
    [{ communities: { values: ['65000:100'] } }, { prefix: '10.0.0.0/8', communities: [0xfde80065] }, false],
    [
      { communities: { values: ['65000:1:2'] } },
      { prefix: '10.0.0.0/8', communities: [[65000, 1, 2]] },
      true,
    ],
    [
      { communities: { values: ['65000:1:2'] } },
      { prefix: '10.0.0.0/8', communities: [[65000, 1, 3]] },
      false,
    ],
    [{ asPathPrefix: [65000, 65001] }, { prefix: '10.0.0.0/8', path: [65000, 65001, 7] }, true],
    [{ asPathPrefix: [65000, 65001] }, { prefix: '10.0.0.0/8', path: [65000, 7, 65001] }, false],
    [{ asPathPrefix: [65000] }, { prefix: '10.0.0.0/8', path: [] }, false],
    [{ priority: 512 }, { prefix: '10.0.0.0/8', priority: 512 }, true],
    [{ priority: 512 }, { prefix: '10.0.0.0/8' }, false],
    [{ peerType: 'eBGP' }, { prefix: '10.0.0.0/8' }, true],
    [{ peerType: 'iBGP' }, { prefix: '10.0.0.0/8' }, false],
  ];
  for (const [rule, given, matches] of cases) {
    const text = JSON.stringify([rule, given], (_key, value) => (value === ten ? '10.0.0.0/8' : value));
    assert.equal(exporting([reject(rule)]).judge(routeOf(given)).accept, !matches, text);
  }
});

test('the first rule that matches decides, across filters in their order, and says so', () => {
  const filters: Filter[] = [
    { name: 'one', exportV4: [reject({ cidr: parsePrefix('10.1.0.0/16'), matchOperator: 'In' })] },
    { name: 'two', exportV4: [{ action: 'Accept' }, { action: 'Reject' }] },
  ];
  const compiled = new CompiledFilters(filters, 'export', 'ebgp');
  assert.equal(compiled.judge(routeOf({ prefix: '10.1.2.0/24' })).line, 'filter one, exportV4 rule 1');
  assert.deepEqual(compiled.judge(routeOf({ prefix: '10.2.0.0/16' })).line, 'filter two, exportV4 rule 1');
  assert.equal(compiled.judge(routeOf({ prefix: 'fd00::/8' })).line, 'no rule matched');
});

test('a rule that is not sound is refused by filter and rule', () => {
  const bad: [FilterRule, RegExp][] = [
    [
      { action: 'Accept', cidr: parsePrefix('10.0.0.0/8') },
      /exportV4 rule 1: cannot match a prefix: cidr and matchOperator/,
    ],
    [{ action: 'Accept', cidr: parsePrefix('fd00::/8'), matchOperator: 'In' }, /not of IPv4/],
    [{ action: 'Reject', operations: [{ setPriority: { value: 5 } }] }, /action Accept only/],
    [{ action: 'Accept', operations: [{}] }, /exactly one/],
    [{ action: 'Accept', communities: { values: ['70000:1'] } }, /cannot parse community/],
  ];
  for (const [rule, message] of bad) assert.throws(() => exporting([rule]), message);
});

const prefix: fc.Arbitrary<Prefix> = fc
  .tuple(fc.integer({ min: 0, max: 0xffffffff }), fc.integer({ min: 0, max: 32 }))
  .map(([address, length]) => networkOf({ address: address as IPv4, length }));

test('the export guard lets through exactly what lies within its ranges', () => {
  fc.assert(
    fc.property(fc.array(prefix, { maxLength: 4 }), prefix, fc.nat(8), (ranges, any, cut) => {
      const [first] = ranges;
      const near = first
        ? networkOf({ address: first.address, length: Math.max(0, first.length - 4 + cut) % 33 })
        : any;
      for (const tried of [any, near]) {
        const { family, words, length } = matchOf(tried);
        const inside = ranges.some((range) => covers(range, tried));
        assert.equal(new ExportGuard(ranges).allows(family, words, length), inside, formatPrefix(tried));
      }
    }),
  );
});
