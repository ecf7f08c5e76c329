import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { parseIP } from '../../address/ip.ts';
import { formatPrefix, type Prefix, parsePrefix } from '../../address/prefix.ts';
import type { NextHopTarget } from '../../netlink/nextHopObject.ts';
import { NextHopObjects } from './nextHopObjects.ts';
import { type FibRoute, FibState, type KernelRoute, type Operation, plan } from './plan.ts';
import { type Hop, hopKey } from './resolver.ts';

const PREFIXES = ['10.244.1.0/26', '10.244.2.0/26', '10.244.3.0/26', 'fd44::/64'].map(parsePrefix);
const HOPS: Hop[] = ['10.0.0.1', '10.0.0.2', 'fe80::1'].map((gateway) => ({
  gateway: parseIP(gateway),
  index: 2,
  onLink: false,
}));

/** A kernel that refuses what the real one refuses, and forgets routes together with their next hop. */
class Kernel {
  readonly hops = new Map<number, NextHopTarget>();
  readonly routes = new Map<string, KernelRoute>();

  apply(operation: Operation): void {
    switch (operation.kind) {
      case 'replaceHop': {
        const { id, target } = operation.hop;
        const old = this.hops.get(id);
        assert.ok(old === undefined || (old.kind === 'group') === (target.kind === 'group'));
        if (target.kind === 'group') {
          for (const member of target.members) assert.ok(this.hops.has(member.id), 'members exist');
        }
        this.hops.set(id, target);
        return;
      }
      case 'deleteHop':
        assert.ok(this.hops.has(operation.id));
        for (const route of this.routes.values()) assert.notEqual(route.nextHopId, operation.id);
        this.hops.delete(operation.id);
        return;
      case 'replaceRoute': {
        const { prefix, priority, nextHopId } = operation.route;
        assert.ok(nextHopId === undefined || this.hops.has(nextHopId), 'the next hop exists');
        this.routes.set(`${formatPrefix(prefix)} ${priority}`, operation.route);
        return;
      }
      case 'deleteRoute': {
        const { prefix, priority } = operation.route;
        assert.ok(this.routes.delete(`${formatPrefix(prefix)} ${priority}`), 'the route exists');
      }
    }
  }

  leads(id: number | undefined): string {
    const target = id === undefined ? undefined : this.hops.get(id);
    if (target?.kind === 'group')
      return target.members
        .map((member) => this.leads(member.id))
        .sort()
        .join(', ');
    if (target?.kind !== 'gateway') return 'blackhole';
    return hopKey({ gateway: target.gateway, index: target.index, onLink: target.onLink ?? false });
  }

  read(): FibState {
    const hops = new NextHopObjects([...this.hops].map(([id, target]) => ({ id, target })));
    const routes = [...this.routes.values()].map((route) => ({
      ...route,
      type: route.nextHopId === undefined ? ('blackhole' as const) : ('unicast' as const),
      table: 254,
      protocol: 111,
      nextHops: [],
    }));
    return new FibState(routes, hops);
  }
}

const wish = fc.record({
  prefix: fc.constantFrom(...PREFIXES),
  route: fc.oneof(
    { arbitrary: fc.constant(undefined), weight: 1 },
    {
      arbitrary: fc.record({
        hops: fc.subarray(HOPS, { minLength: 1 }),
        priority: fc.constantFrom(1024, 2000),
      }),
      weight: 4,
    },
    { arbitrary: fc.constant('blackhole' as const), weight: 1 },
  ),
});

test('plans lead to what is wanted, in steps that a kernel accepts, also after a restart in between', () => {
  const batches = fc.array(fc.record({ wishes: fc.array(wish, { maxLength: 6 }), restart: fc.boolean() }));
  fc.assert(
    fc.property(batches, (rounds) => {
      const kernel = new Kernel();
      let state = kernel.read();
      const wanted = new Map<string, string>();
      for (const { wishes, restart } of rounds) {
        if (restart) state = kernel.read();
        const changes = new Map<string, [Prefix, FibRoute | undefined]>();
        for (const { prefix, route } of wishes) {
          const text = formatPrefix(prefix);
          changes.set(text, [prefix, fibRoute(prefix, route)]);
          if (route === undefined) wanted.delete(text);
          else if (route === 'blackhole') wanted.set(text, '4096 blackhole');
          else wanted.set(text, `${route.priority} ${route.hops.map(hopKey).sort().join(', ')}`);
        }
        for (const operation of plan(state, changes.values())) kernel.apply(operation);
        const found = [...kernel.routes.values()].map(
          ({ prefix, priority, nextHopId }) =>
            [formatPrefix(prefix), `${priority} ${kernel.leads(nextHopId)}`] as const,
        );
        assert.deepEqual(new Map(found.toSorted()), new Map([...wanted].toSorted()));
      }
      const nothing = PREFIXES.map((prefix): [Prefix, undefined] => [prefix, undefined]);
      for (const operation of plan(state, nothing)) kernel.apply(operation);
      assert.equal(kernel.routes.size + kernel.hops.size, 0, 'nothing is left behind');
    }),
  );
});

test('what is in place already needs no operation', () => {
  const kernel = new Kernel();
  const wanted = PREFIXES.map((prefix): [Prefix, FibRoute] => [prefix, forward(prefix, HOPS)]);
  for (const operation of plan(kernel.read(), wanted)) kernel.apply(operation);
  assert.deepEqual(plan(kernel.read(), wanted), []);
});

test('when all routes of a group lose the same next hop, one message moves them all', () => {
  const kernel = new Kernel();
  const state = kernel.read();
  const to = (hops: readonly Hop[]) =>
    PREFIXES.map((prefix): [Prefix, FibRoute] => [prefix, forward(prefix, hops)]);
  for (const operation of plan(state, to(HOPS))) kernel.apply(operation);
  const operations = plan(state, to(HOPS.slice(1)));
  assert.deepEqual(
    operations.map(({ kind }) => kind),
    ['replaceHop', 'deleteHop'],
  );
});

function forward(prefix: Prefix, hops: readonly Hop[]): FibRoute {
  return { kind: 'forward', prefix, priority: 1024, hops };
}

function fibRoute(
  prefix: Prefix,
  route: undefined | 'blackhole' | { hops: readonly Hop[]; priority: number },
): FibRoute | undefined {
  if (route === undefined) return undefined;
  if (route === 'blackhole') return { kind: 'blackhole', prefix, priority: 4096 };
  return { kind: 'forward', prefix, ...route };
}
