import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { parseSelector } from '../selector/selector.ts';
import { BindingError, bind, type PoolRule, type Subject } from './binding.ts';
import { poolRule } from './poolRule.rig.ts';

const V4 = 'cni.projectcalico.org/ipv4pools';
const V6 = 'cni.projectcalico.org/ipv6pools';

function pool(
  name: string,
  cidr: string,
  node = '',
  namespace?: string,
  more: Partial<PoolRule> = {},
): PoolRule {
  const namespaceSelector = namespace === undefined ? undefined : parseSelector(namespace);
  return poolRule(name, cidr, { nodeSelector: parseSelector(node), namespaceSelector, ...more });
}

const POOLS = [
  pool('open', '10.0.0.0/16'),
  pool('open6', 'fd00::/64'),
  pool('rack-b', '10.1.0.0/16', 'rack == "b"'),
  pool('bank', '10.2.0.0/16', '', 'tenant == "bank"'),
  pool('bank-b', '10.3.0.0/16', 'rack == "b"', 'tenant == "bank"'),
  pool('named', '10.4.0.0/16', '!all()', '!all()'),
  pool('off', '10.5.0.0/16', '', undefined, { disabled: true }),
  pool('manual', '10.6.0.0/16', '', undefined, { manual: true }),
  pool('vips', '10.7.0.0/16', '', undefined, { workload: false }),
  pool('gone', '10.8.0.0/16', '', 'tenant == "broker"', { disabled: true }),
  pool('bank-old', '10.9.0.0/16', '', 'tenant == "bank"', { disabled: true }),
];

interface Case {
  readonly rack?: string;
  readonly tenant?: string;
  readonly pod?: Record<string, string>;
  readonly namespace?: Record<string, string>;
}

function subject({ rack = 'a', tenant, pod = {}, namespace = {} }: Case): Subject {
  return {
    node: { name: 'n1', labels: { rack } },
    pod: { namespace: 'shop', name: 'web', annotations: pod },
    namespace: { labels: tenant === undefined ? {} : { tenant }, annotations: namespace },
  };
}

const DECIDED: [name: string, of: Case, v4: string[], bound: boolean, v6?: string[]][] = [
  ['nothing is said: the open pools that select the node', {}, ['open'], false],
  ['a rack has a pool of its own beside', { rack: 'b' }, ['open', 'rack-b'], false],
  ['a namespace with pools is bound to those its node may have', { tenant: 'bank' }, ['bank'], true],
  ['namespace and node both have to match', { tenant: 'bank', rack: 'b' }, ['bank', 'bank-b'], true],
  ['an annotation of the pod', { pod: { [V4]: '["bank"]' }, tenant: 'bank' }, ['bank'], true],
  [
    'the namespace’s annotation counts where the pod has none',
    { namespace: { [V4]: 'open' } },
    ['open'],
    true,
  ],
  [
    'the pod’s annotation goes before the namespace’s',
    { pod: { [V4]: 'manual' }, namespace: { [V4]: 'typo' } },
    ['manual'],
    true,
  ],
  [
    'an annotation goes before selectors',
    { tenant: 'bank', pod: { [V4]: ' open , manual ' } },
    ['open', 'manual'],
    true,
  ],
  [
    'what Calico notes on a pod means nothing',
    { pod: { 'cni.projectcalico.org/podIP': '10.0.0.1/32' } },
    ['open'],
    false,
  ],
  ['a pool for nobody serves whoever names it', { pod: { [V4]: 'named' } }, ['named'], true],
  ['the families are decided apart', { pod: { [V4]: 'manual' } }, ['manual'], true, ['open6']],
];

describe('where a pod draws from', () => {
  for (const [name, of, v4, bound, v6 = ['open6']] of DECIDED) {
    test(name, () => {
      const [four, six] = bind(subject(of), POOLS);
      assert.deepEqual([four?.pools, four?.bound, six?.pools], [v4, bound, v6]);
    });
  }

  test('a namespace whose pools are all for other nodes draws from the open ones here, as in Calico, and is told why', () => {
    const elsewhere = [
      pool('open', '10.0.0.0/16'),
      pool('bank-b', '10.3.0.0/16', 'rack == "b"', 'tenant == "bank"'),
    ];
    const [four, six] = bind(subject({ tenant: 'bank', rack: 'a' }), elsewhere);
    assert.deepEqual([four?.pools, four?.bound], [['open'], false]);
    assert.equal(
      four?.why,
      'the open pools that select its node, for pool bank-b selects its namespace and not node n1',
    );
    assert.equal(six?.why, 'the open pools that select its node');
  });

  test('without a pod behind the call, from the open pools', () => {
    const [four] = bind({ node: { name: 'n1', labels: {} } }, POOLS);
    assert.deepEqual([four?.pools, four?.bound], [['open'], false]);
  });

  test('without any pool, from segments of no pool', () => {
    assert.deepEqual(
      bind(subject({}), []).map(({ pools, bound }) => [pools, bound]),
      [
        [[], false],
        [[], false],
      ],
    );
  });
});

const REFUSED: [name: string, of: Case, says: RegExp][] = [
  [
    'a typo, with the place where it stands and the names there are',
    { pod: { [V4]: 'opne' } },
    /^Cannot draw from pool opne, named by annotation cni\.projectcalico\.org\/ipv4pools of pod shop\/web: .*there are bank, bank-b,/,
  ],
  [
    'a typo on the namespace',
    { namespace: { [V6]: 'opne6' } },
    /ipv6pools of namespace shop: there is no pool/,
  ],
  ['one typo among good names', { pod: { [V4]: '["open","opne"]' } }, /pool opne/],
  ['the other family', { pod: { [V4]: 'open6' } }, /its addresses are not IPv4 \(fd00::\/64\)/],
  ['a disabled pool', { pod: { [V4]: 'off' } }, /it is disabled/],
  ['a pool that is not for pods', { pod: { [V4]: 'vips' } }, /allowedUses/],
  ['another rack’s pool', { pod: { [V4]: 'rack-b' } }, /does not select node n1/],
  ['another tenant’s pool', { pod: { [V4]: 'bank' } }, /does not select the namespace/],
  ['an empty list', { pod: { [V4]: '[]' } }, /expected names of pools.*\(value "\[\]"\)/],
  ['nothing', { pod: { [V4]: '' } }, /expected names of pools/],
  ['half a list', { pod: { [V4]: '["open"' } }, /expected names of pools/],
  [
    'an open pool, where its namespace’s own is disabled',
    { tenant: 'broker' },
    /pool gone .*: it is disabled/,
  ],
  [
    'an annotation that is mistyped itself',
    { pod: { 'cni.projectcalico.org/ipv4Pool': '["open"]' } },
    /annotation cni\.projectcalico\.org\/ipv4Pool of pod shop\/web .*did you mean cni\.projectcalico\.org\/ipv4pools/,
  ],
  [
    'one of ours that does not exist',
    { namespace: { 'network.tombolo.dev/release-polcy': 'never' } },
    /release-polcy of namespace shop .*expected one of .*release-policy/,
  ],
  [
    'what Calico has and we have not',
    { pod: { 'cni.projectcalico.org/ipAddrsNoIpam': '["10.66.0.1"]' } },
    /ipAddrsNoIpam of pod shop\/web says: addresses come from pools alone/,
  ],
  ['a list of numbers', { pod: { [V4]: '[1]' } }, /expected names of pools/],
];

describe('what is refused, and never replaced by another pool', () => {
  for (const [name, of, says] of REFUSED) {
    test(name, () => {
      assert.throws(
        () => bind(subject(of), POOLS),
        (error) => error instanceof BindingError && says.test(error.message),
      );
    });
  }
});
