import assert from 'node:assert/strict';
import { test } from 'node:test';
import { parseRouterConfig } from '../bgp/config/file.ts';
import type { RouterConfig } from '../bgp/config/router.ts';
import { Lingering } from './bgpLinger.ts';

const config = (...names: string[]): RouterConfig =>
  parseRouterConfig(
    JSON.stringify({
      asn: 64512,
      routerId: '10.0.0.1',
      neighbours: names.map((name) => ({ name, address: `10.0.0.${name.charCodeAt(0)}`, asn: 64512 })),
    }),
  );

function world() {
  const gone = new Set<string>();
  const clock = { now: 0 };
  const lingering = new Lingering(
    ({ name }) => !gone.has(name),
    () => clock.now,
  );
  const names = (...wanted: string[]) =>
    lingering.extend(config(...wanted)).config.neighbours.map(({ name }) => name);
  return { names, gone, clock, lingering };
}

test('nodes that are peers no longer stay so for a while', () => {
  const { names, clock, lingering } = world();
  assert.deepEqual(names('a', 'b', 'r'), ['a', 'b', 'r']);
  assert.deepEqual(names('r'), ['r', 'a', 'b']);
  clock.now = 5_000;
  assert.equal(lingering.extend(config('r')).again, 10_000);
  clock.now = 15_000;
  assert.deepEqual(names('r'), ['r']);
  assert.equal(lingering.extend(config('r')).again, undefined);
});

test('a node that is gone does not', () => {
  const { names, gone } = world();
  names('a', 'b', 'r');
  gone.add('a');
  assert.deepEqual(names('r'), ['r', 'b']);
});

test('one that is wanted again is as any other, and gets the whole time the next time', () => {
  const { names, clock } = world();
  names('a', 'r');
  names('r');
  clock.now = 14_000;
  assert.deepEqual(names('a', 'r'), ['a', 'r']);
  clock.now = 40_000;
  assert.deepEqual(names('r'), ['r', 'a']);
  clock.now = 54_000;
  assert.deepEqual(names('r'), ['r', 'a']);
});

test('a reflector that is one no longer reflects a little longer', () => {
  const { clock, lingering } = world();
  const reflecting = config('a', 'b');
  const clients = reflecting.neighbours.map((one) => ({ ...one, reflectorClient: true }));
  lingering.extend({ ...reflecting, clusterId: reflecting.routerId, neighbours: clients });
  const plain = () => lingering.extend(config('a', 'b')).config;
  assert.equal(plain().clusterId, reflecting.routerId);
  assert.ok(plain().neighbours.every(({ reflectorClient }) => reflectorClient));
  clock.now = 15_000;
  assert.equal(plain().clusterId, undefined);
  assert.ok(plain().neighbours.every(({ reflectorClient }) => !reflectorClient));
});
