import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { parseIPv4 } from '../../address/ip.ts';
import { formatPrefix } from '../../address/prefix.ts';
import { IPV4_UNICAST } from '../wire/family.ts';
import { bestRoutes, expected, type ModelRoute, ROUTER } from './model.rig.ts';
import type { RibPeer } from './peer.ts';
import { attributesOf, Neighbour, ribPeer, type Simple, summaryOf, VirtualClock } from './rib.rig.ts';
import { Rib } from './rib.ts';

const FAMILY = {
  family: IPV4_UNICAST,
  addPathReceive: false,
  addPathSend: false,
  extendedNextHop: false,
  preserved: true,
};
const client = { type: 'ibgp', reflectorClient: true } as const;
const addPath = { families: [{ ...FAMILY, addPathReceive: true, addPathSend: true }] };
const PEERS: RibPeer[] = [
  ribPeer('e1', { families: [FAMILY] }),
  ribPeer('e2', { families: [FAMILY], fourOctetAs: false }),
  ribPeer('i3', { type: 'ibgp', families: [FAMILY] }),
  ribPeer('c4', { ...client, families: [FAMILY] }),
  ribPeer('c5', { ...client, families: [FAMILY] }),
  ribPeer('c6', { ...client, ...addPath }),
  ribPeer('c7', { ...client, ...addPath }),
];
const PREFIXES = ['10.1.0.0/16', '10.1.1.0/24', '0.0.0.0/0', '192.0.2.1/32', '10.128.0.0/9', '172.16.0.0/12'];

const simple: fc.Arbitrary<Simple> = fc.record({
  path: fc.array(fc.constantFrom(65001, 65002, 4200000001, 64512), { maxLength: 3 }),
  nextHop: fc.constantFrom('10.0.0.1', '10.0.0.2'),
  origin: fc.constantFrom('IGP', 'EGP', 'INCOMPLETE'),
  med: fc.constantFrom(0, 10, 20),
  communities: fc.subarray([0xffffff01, 0xffffff02, 0xfde80001], { maxLength: 1 }),
});
const internal: fc.Arbitrary<Simple> = fc
  .tuple(
    simple,
    fc.constantFrom(100, 200),
    fc.constantFrom(undefined, ROUTER, parseIPv4('10.0.0.9')),
    fc.constantFrom([], [ROUTER], [parseIPv4('10.9.9.9')]),
  )
  .map(([route, localPreference, originator, clusters]) => ({
    ...route,
    localPreference,
    ...(originator !== undefined && { originator }),
    clusters,
  }));

type Command =
  | {
      readonly do: 'announce';
      readonly peer: number;
      readonly prefixes: readonly string[];
      readonly external: Simple;
      readonly internal: Simple;
      readonly id: number;
    }
  | {
      readonly do: 'withdraw';
      readonly peer: number;
      readonly prefixes: readonly string[];
      readonly id: number;
    }
  | {
      readonly do: 'down' | 'fail' | 'up' | 'endOfRib' | 'refresh' | 'enhanced' | 'stall' | 'drain';
      readonly peer: number;
    }
  | { readonly do: 'turn' }
  | { readonly do: 'wait' };

const peerIndex = fc.nat(PEERS.length - 1);
const somePrefixes = fc.subarray(PREFIXES, { minLength: 1 });
const command: fc.Arbitrary<Command> = fc.oneof(
  {
    arbitrary: fc.record({
      do: fc.constant('announce' as const),
      peer: peerIndex,
      prefixes: somePrefixes,
      external: simple,
      internal,
      id: fc.constantFrom(1, 2),
    }),
    weight: 10,
  },
  {
    arbitrary: fc.record({
      do: fc.constant('withdraw' as const),
      peer: peerIndex,
      prefixes: somePrefixes,
      id: fc.constantFrom(1, 2),
    }),
    weight: 3,
  },
  {
    arbitrary: fc.record({
      do: fc.constantFrom('down', 'fail', 'up', 'endOfRib', 'refresh', 'enhanced', 'stall', 'drain'),
      peer: peerIndex,
    }),
    weight: 6,
  },
  { arbitrary: fc.record({ do: fc.constantFrom('turn', 'turn', 'turn', 'wait') }), weight: 4 },
);

/** The commands, carried out on the RIB and on the model. */
class World {
  readonly clock = new VirtualClock();
  readonly rib = new Rib({ clock: this.clock, identifier: ROUTER });
  readonly neighbours = PEERS.map((peer) => new Neighbour(peer));
  routes: (ModelRoute & { stale: boolean })[] = [];
  readonly isUp = PEERS.map(() => false);

  constructor() {
    for (const index of PEERS.keys()) this.run({ do: 'up', peer: index });
  }

  run(command: Command): void {
    if (command.do === 'turn') {
      this.clock.turn();
      return;
    }
    if (command.do === 'wait') {
      this.clock.advance(1_000_000);
      this.routes = this.routes.filter(({ stale }) => !stale);
      return;
    }
    const neighbour = this.neighbours[command.peer] as Neighbour;
    if (command.do === 'up') {
      if (!this.isUp[command.peer]) neighbour.up(this.rib);
      this.isUp[command.peer] = true;
    } else if (this.isUp[command.peer]) this.#act(command, neighbour);
  }

  settle(): void {
    this.clock.settle();
    for (const neighbour of this.neighbours) if (neighbour.full) neighbour.drain();
    this.clock.settle();
  }

  #act(command: Exclude<Command, { do: 'turn' } | { do: 'wait' }>, neighbour: Neighbour): void {
    const { peer } = neighbour;
    const mine = (one: ModelRoute) => one.peer.name === peer.name;
    switch (command.do) {
      case 'announce':
      case 'withdraw':
        this.#speak(command, neighbour);
        return;
      case 'down':
      case 'fail': {
        const family = { family: IPV4_UNICAST, restartTime: 120, longLivedStaleTime: 0 };
        const keep = command.do === 'fail';
        neighbour.session?.down(keep ? { kind: 'stale', families: [family] } : { kind: 'none' });
        this.isUp[command.peer] = false;
        this.routes = this.routes.filter((one) => !mine(one) || (keep && !one.stale));
        for (const route of this.routes) if (mine(route)) route.stale = true;
        return;
      }
      case 'endOfRib':
        neighbour.session?.endOfRib(IPV4_UNICAST);
        this.routes = this.routes.filter((one) => !mine(one) || !one.stale);
        return;
      case 'refresh':
      case 'enhanced':
        if (!neighbour.full) neighbour.session?.refresh(IPV4_UNICAST, command.do === 'enhanced');
        return;
      case 'stall':
        neighbour.full = true;
        return;
      case 'drain':
        neighbour.drain();
        return;
    }
  }

  #speak(command: Extract<Command, { do: 'announce' | 'withdraw' }>, neighbour: Neighbour): void {
    const { peer } = neighbour;
    const pathId = peer.families[0]?.addPathReceive ? command.id : undefined;
    const touched = (one: ModelRoute) =>
      one.peer.name === peer.name && one.pathId === (pathId ?? 0) && command.prefixes.includes(one.prefix);
    this.routes = this.routes.filter((one) => !touched(one));
    if (command.do === 'withdraw') {
      neighbour.withdraw(command.prefixes, pathId);
      return;
    }
    const route = peer.type === 'ebgp' ? command.external : command.internal;
    neighbour.announce(command.prefixes, attributesOf(route), pathId);
    for (const prefix of command.prefixes) {
      this.routes.push({ peer, prefix, pathId: pathId ?? 0, route, stale: false });
    }
  }
}

test('after any sequence of events every peer has been told exactly what the model says', () => {
  fc.assert(
    fc.property(fc.array(command, { maxLength: 40 }), fc.constantFrom(0.01, 0.5, 2), (commands, cost) => {
      const world = new World();
      world.clock.cost = cost;
      for (const one of commands) world.run(one);
      world.settle();
      for (const [index, neighbour] of world.neighbours.entries()) {
        if (!world.isUp[index]) continue;
        const told = [...neighbour.told]
          .map(([key, route]) => `${key.split('#')[0]} ${summaryOf(route)}`)
          .sort();
        assert.deepEqual(told, expected(neighbour.peer, world.routes), neighbour.peer.name);
      }
    }),
    { numRuns: 200 },
  );
});

test('the next hops of a prefix are those of the model, best first', () => {
  fc.assert(
    fc.property(fc.array(command, { maxLength: 30 }), (commands) => {
      const world = new World();
      const seen = new Map<string, readonly unknown[]>();
      world.rib.watch(IPV4_UNICAST, (prefix, route) =>
        seen.set(formatPrefix(prefix), route?.nextHops.map(({ address }) => address) ?? []),
      );
      for (const one of commands) world.run(one);
      world.settle();
      for (const prefix of PREFIXES) {
        const { best, equal } = bestRoutes(world.routes.filter((one) => one.prefix === prefix));
        const hops = equal.map(({ route }) => parseIPv4(route.nextHop ?? ''));
        const found = seen.get(prefix) ?? [];
        assert.equal(found[0], best === undefined ? undefined : parseIPv4(best.route.nextHop ?? ''));
        assert.deepEqual(new Set(found), new Set(hops));
      }
    }),
    { numRuns: 80 },
  );
});

test('when all peers have gone nothing is left', () => {
  fc.assert(
    fc.property(fc.array(command, { maxLength: 40 }), (commands) => {
      const world = new World();
      for (const one of commands) world.run(one);
      for (const index of PEERS.keys()) world.run({ do: 'down', peer: index });
      world.clock.advance(1_000_000);
      world.settle();
      const { table, groups } = world.rib.family(IPV4_UNICAST);
      assert.equal(world.rib.parts.store.size, 0);
      assert.equal(table.size, 0);
      assert.equal(table.paths, 0);
      assert.equal(groups.size, 0);
      assert.ok(world.rib.isIdle);
    }),
    { numRuns: 80 },
  );
});
