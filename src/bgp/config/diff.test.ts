import assert from 'node:assert/strict';
import { test } from 'node:test';
import { changedFields, changesBetween } from './diff.ts';
import { parseRouterConfig } from './file.ts';
import type { NeighbourConfig } from './router.ts';

function neighbour(more: Record<string, unknown> = {}): NeighbourConfig {
  const config = {
    asn: 65001,
    routerId: '1.1.1.1',
    neighbours: [{ address: '10.0.0.2', asn: 65002, ...more }],
  };
  return parseRouterConfig(JSON.stringify(config)).neighbours[0] ?? assert.fail('no neighbour');
}

test('the same configuration changes nothing', () => {
  assert.deepEqual(changesBetween(neighbour(), neighbour()), []);
});

test('each change costs what it must and no more', () => {
  for (const [more, expected] of [
    [{ description: 'text' }, []],
    [{ connectRetryTime: 9 }, []],
    [{ nextHop: 'self' }, ['policy']],
    [{ prefixLimit: { limit: 5 } }, ['policy']],
    [{ password: 'new' }, ['rekey']],
    [{ password: 'new', allowedOwnAs: 1 }, ['policy', 'rekey']],
    [{ asn: 65009 }, ['reset']],
    [{ holdTime: 9, description: 'x', nextHop: 'self' }, ['policy', 'reset']],
    [{ gracefulRestart: false }, ['reset']],
    [{ families: ['ipv4'] }, ['reset']],
    [{ shutdown: 'bye' }, ['reset']],
  ] as const) {
    assert.deepEqual(changesBetween(neighbour(), neighbour(more)), expected, JSON.stringify(more));
  }
});

test('what changed is known by name', () => {
  assert.deepEqual(changedFields(neighbour(), neighbour({ asn: 65009, holdTime: 9 })), [
    'remoteAs',
    'holdTime',
  ]);
});
