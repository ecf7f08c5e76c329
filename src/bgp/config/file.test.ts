import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { test } from 'node:test';
import { formatIP } from '../../address/ip.ts';
import { IPV4_UNICAST } from '../wire/family.ts';
import { parseRouterConfig } from './file.ts';

const minimal = { asn: 65001, routerId: '10.0.0.1' };
const read = (more: Record<string, unknown>) => parseRouterConfig(JSON.stringify({ ...minimal, ...more }));

test('a file of two lines is a speaker that listens on both families', () => {
  const config = parseRouterConfig('asn: 65001\nrouterId: 10.0.0.1\n');
  assert.deepEqual(
    config.listen.map(({ address, port }) => [formatIP(address), port]),
    [
      ['0.0.0.0', 179],
      ['::', 179],
    ],
  );
  assert.deepEqual(config.neighbours, []);
  assert.equal(config.deferralTime, 120);
});

test('a neighbour has the defaults of the product, then of the file, then its own', () => {
  const config = read({
    defaults: { holdTime: 30, password: 'shared' },
    neighbours: [
      { address: '10.0.0.2', asn: 65002 },
      { address: '10.0.0.3:1179', asn: 'internal', holdTime: 9 },
    ],
  });
  const [first, second] = config.neighbours;
  assert.equal(first?.holdTime, 30);
  assert.equal(first?.password, 'shared');
  assert.equal(first?.connectRetryTime, 5);
  assert.deepEqual(first?.gracefulRestart, { restartTime: 120, longLivedStaleTime: 0 });
  assert.equal(first?.localAs, 65001);
  assert.equal(second?.holdTime, 9);
  assert.equal(second?.port, 1179);
  assert.equal(second?.remoteAs, 'internal');
});

test('families, add-path and filters reach the session', () => {
  const config = read({
    filters: { none: { importV4: [{ action: 'Reject' }] } },
    neighbours: [
      {
        address: '10.0.0.2',
        asn: 65002,
        families: [{ family: 'ipv4', addPath: 'both', extendedNextHop: true }],
        filters: ['none'],
        gracefulRestart: false,
        prefixLimit: { limit: 100 },
      },
    ],
  });
  const [neighbour] = config.neighbours;
  assert.deepEqual(neighbour?.families, [{ family: IPV4_UNICAST, addPath: 'both', extendedNextHop: true }]);
  assert.equal(neighbour?.policy.filters[0]?.name, 'none');
  assert.equal(neighbour?.gracefulRestart, undefined);
  assert.deepEqual(neighbour?.policy.prefixLimit, { limit: 100, warningPercent: 75 });
});

test('every mistake is named with its place and value', () => {
  for (const [more, expected] of [
    [{ asn: 0 }, /asn: expected a whole number from 1 to 4294967295 \(value 0\)/],
    [{ neighbours: [{ address: '10.0.0' }] }, /neighbours\[0\]\.address: expected an address/],
    [
      { neighbours: [{ address: '10.0.0.2', holdTime: 2 }] },
      /neighbours\[0\]\.holdTime: expected 0 or at least 3 s/,
    ],
    [{ neighbours: [{ address: '10.0.0.2', filters: ['x'] }] }, /there is no such filter \(value "x"\)/],
    [{ neighbours: [{ address: '10.0.0.2' }, { address: '10.0.0.2' }] }, /stands here twice/],
    [{ neighbours: [{ address: 'fe80::1' }] }, /a link-local address needs an interface/],
    [{ neighbours: [{ address: '224.0.0.5' }] }, /neighbours\[0\]\.address: .*: it is multicast/],
    [{ neighbours: [{ address: '10.0.0.2', holdtime: 9 }] }, /did you mean holdTime/],
    [
      { filters: { f: { importV4: [{ action: 'Maybe' }] } } },
      /filters\.f\.importV4\[0\]\.action: expected Accept, Reject/,
    ],
    [{ networks: ['10.0.0.1/24'] }, /networks\[0\]: expected a prefix.*10\.0\.0\.0\/24/],
  ] as const) {
    assert.throws(() => read(more), expected, JSON.stringify(more));
  }
});

test('the example of the documentation is accepted', () => {
  const text = readFileSync(new URL('../../../docs/bgp.md', import.meta.url), 'utf8');
  const [, yaml = ''] = /```yaml\n(asn:[\s\S]*?)```/.exec(text) ?? [];
  const config = parseRouterConfig(yaml);
  assert.equal(config.neighbours[0]?.description, undefined);
  assert.equal(config.ranges[0]?.limit, 1000);
  assert.equal(config.kernel?.segments.length, 1);
});
