import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { formatPrefix, parsePrefix } from '../address/prefix.ts';
import { natPorts, planExceptions } from './masqueradePlan.ts';

const planned = (to: string[], pools: Record<string, boolean>) =>
  planExceptions({
    to: to.map(parsePrefix),
    pools: Object.entries(pools).map(([cidr, natOutgoing]) => ({ prefix: parsePrefix(cidr), natOutgoing })),
  }).map(({ prefix, flags }) => `${formatPrefix(prefix)} ${flags}`);

test('what lies inside an exception is one, however long its prefix', () => {
  assert.deepEqual(planned(['10.0.0.0/8', '10.1.2.3/32'], {}), ['10.0.0.0/8 1', '10.1.2.3/32 1']);
});

test('a pool that hides nobody keeps the sources of its pods', () => {
  assert.deepEqual(planned(['10.1.0.0/16', '10.2.0.0/16'], { '10.1.0.0/16': false, '10.2.0.0/16': true }), [
    '10.1.0.0/16 3',
    '10.2.0.0/16 1',
  ]);
});

test('a segment of such a pool says so too, for it is what the map finds', () => {
  assert.deepEqual(planned(['10.1.0.0/16', '10.1.7.0/24'], { '10.1.0.0/16': false }), [
    '10.1.0.0/16 3',
    '10.1.7.0/24 3',
  ]);
});

test('of pools inside each other the innermost decides', () => {
  const pools = { '10.0.0.0/8': false, '10.1.0.0/16': true };
  assert.deepEqual(planned([], pools), ['10.0.0.0/8 2', '10.1.0.0/16 0']);
});

test('families do not mix', () => {
  assert.deepEqual(planned(['::/0'], { '10.1.0.0/16': false }), ['10.1.0.0/16 2', '::/0 1']);
});

test('ports lie below those of sockets and services on an ordinary node', () => {
  assert.deepEqual(natPorts({ first: 32768, last: 60999 }), { first: 10240, last: 29999 });
});

test('ports lie above where the node gives its sockets the low ones', () => {
  assert.deepEqual(natPorts({ first: 1024, last: 29999 }), { first: 32768, last: 65535 });
});

test('a node that gives its sockets everything shares its highest ports', () => {
  assert.deepEqual(natPorts({ first: 1024, last: 65535 }), { first: 61000, last: 65535 });
});

test('ports are never those of services, nor those of sockets unless these have nearly all', () => {
  const port = fc.integer({ min: 1, max: 65535 });
  fc.assert(
    fc.property(port, port, (a, b) => {
      const ephemeral = { first: Math.min(a, b), last: Math.max(a, b) };
      const { first, last } = natPorts(ephemeral);
      assert.ok(first <= last && last <= 65535);
      assert.ok(last < 30000 || first > 32767);
      assert.ok(last < ephemeral.first || first > ephemeral.last || first === 61000);
    }),
  );
});
