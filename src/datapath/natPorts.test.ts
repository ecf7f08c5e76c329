import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { natPorts } from './natPorts.ts';

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
