import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import fc from 'fast-check';
import { formatIP, type IP, parseIP } from '../address/ip.ts';
import { formatPrefix, parsePrefix } from '../address/prefix.ts';
import type { Programmed } from './adoption.ts';
import type { BackendSetView, BackendView, Balance } from './backendSet.ts';
import type { Backend } from './maps/backends.ts';
import { type Endpoint, PROTOCOLS, SCOPES } from './maps/endpoint.ts';
import type { RangeKey } from './maps/ranges.ts';
import { SERVICE_FLAGS, type Service, type Slot } from './maps/services.ts';
import { rangeOf } from './programmedSet.ts';
import { inverseOf, type Plan, type Ring, type Step } from './servicePlan.ts';
import { type ServiceChange, ServicePlanner } from './services.ts';
import type { ServiceView } from './serviceView.ts';

/** The maps, as the datapath would see them. */
class Maps {
  readonly tb_services = new Map<string, [Endpoint, Service]>();
  readonly tb_slots = new Map<string, [Slot, number]>();
  readonly tb_backends = new Map<string, [number, Backend]>();
  readonly tb_endpoints = new Map<string, [Endpoint, number]>();
  readonly tb_maglev = new Map<string, [number, Ring]>();
  readonly tb_ranges = new Map<string, [RangeKey, number]>();

  /** Carries out the first `limit` single changes, and tells of each. */
  apply(steps: readonly Step[], limit = Number.POSITIVE_INFINITY, each = () => {}): number {
    let done = 0;
    for (const step of steps) {
      const map = this[step.map] as Map<string, [unknown, unknown]>;
      for (const { key, value } of step.changes) {
        if (done === limit) return done;
        if (value === undefined)
          assert.ok(map.delete(idOf(key)), `${step.map} has no ${idOf(key)} to delete`);
        else map.set(idOf(key), [key, value]);
        done++;
        each();
      }
    }
    return done;
  }

  /** What a new connection meets. */
  lookUp(frontend: Endpoint): string {
    const alone = { address: frontend.address, port: 0, protocol: 0, scope: frontend.scope };
    const wildcard = this.tb_services.get(idOf(alone))?.[1];
    if (wildcard === undefined) return 'not a service';
    const service = this.tb_services.get(idOf(frontend))?.[1];
    if (service === undefined) {
      return wildcard.flags & SERVICE_FLAGS.sharedAddress ? 'not a service' : 'no such port';
    }
    if (service.count === 0) return 'no backend';
    const names = this.#choices(service).map((number) => this.#backendOf(service, number));
    return `${names.sort().join(' ')} affinity ${service.affinity_seconds}`;
  }

  #choices(service: Service): number[] {
    const ring = this.tb_maglev.get(idOf(service.number));
    if (service.flags & SERVICE_FLAGS.maglev && ring) return ring[1].map(({ number }) => number);
    return Array.from({ length: service.count }, (_, index) => {
      const slot = { service: service.number, generation: service.generation, index };
      const entry = this.tb_slots.get(idOf(slot));
      assert.ok(entry, `slot ${idOf(slot)} is missing`);
      return entry[1];
    });
  }

  #backendOf(service: Service, number: number): string {
    const backend = this.tb_backends.get(idOf(number))?.[1];
    assert.ok(backend && backend.state !== 'none', `backend ${number} is missing`);
    assert.equal(backend.service, service.number);
    return `${formatIP(backend.address)}/${backend.port}`;
  }

  programmed(): Programmed {
    return {
      services: [...this.tb_services.values()],
      slots: [...this.tb_slots.values()],
      backends: [...this.tb_backends.values()],
      endpoints: [...this.tb_endpoints.values()],
      rings: [...this.tb_maglev.values()].map(([number]) => number),
      ranges: [...this.tb_ranges.values()].map(([key]) => key),
    };
  }

  /** All entries in a comparable form; backends that are gone look alike. */
  snapshot(): Record<string, string[]> {
    const text = (map: Map<string, [unknown, unknown]>) =>
      [...map].map(([id, [, value]]) => `${id} = ${idOf(value)}`).sort();
    const alive = new Map([...this.tb_backends].filter(([, [, { state }]]) => state !== 'none'));
    return {
      services: text(this.tb_services),
      slots: text(this.tb_slots),
      backends: text(alive),
      endpoints: text(this.tb_endpoints),
      rings: text(this.tb_maglev),
      ranges: text(this.tb_ranges),
    };
  }
}

function idOf(value: unknown): string {
  return JSON.stringify(value, (name, part) => {
    if (name === 'scope' && part === 'inside') return undefined; // as if it were not said
    return typeof part === 'bigint' ? `${part}n` : part;
  });
}

const CLUSTER = ['10.96.0.1', '10.96.0.2', '10.96.0.3', 'fd00::1'].map(parseIP);
const PODS = ['10.1.0.1', '10.1.0.2', '10.1.0.3', '10.1.0.4', 'fd01::1'].map(parseIP);
const PORTS = [80, 443];
/** What a set may be moved to under its key, as to another node port. */
const ELSEWHERE = 30_000;
const RANGES = ['198.51.100.0/24', '2001:db8::/32'].map(parsePrefix);

const backends: fc.Arbitrary<BackendView[]> = fc
  .uniqueArray(
    fc.record({
      address: fc.constantFrom(...PODS),
      port: fc.constantFrom(8080, 9090),
      state: fc.constantFrom('active' as const, 'active' as const, 'draining' as const),
    }),
    { maxLength: 5, selector: ({ address, port }) => `${address} ${port}` },
  )
  .map((backends) => backends.map((backend) => ({ ...backend })));

/** Services compete for the same few frontends now and then, as they do when one replaces another. */
const change: fc.Arbitrary<ServiceChange> = fc
  .record({
    name: fc.constantFrom('a', 'b', 'c'),
    gone: fc.boolean(),
    sets: fc.uniqueArray(
      fc.record({
        port: fc.constantFrom(...PORTS),
        moved: fc.boolean(),
        protocol: fc.constantFrom('TCP' as const, 'UDP' as const),
        addresses: fc.uniqueArray(fc.constantFrom(...CLUSTER), { maxLength: 2 }),
        shared: fc.boolean(),
        backends,
        affinitySeconds: fc.constantFrom(0, 0, 60),
        balance: fc.constantFrom('random' as const, 'maglev' as const),
        scope: fc.constantFrom('inside' as const, 'outside' as const),
        ranges: fc.constantFrom([], [...RANGES], RANGES.slice(1)),
      }),
      { maxLength: 3, selector: ({ port, protocol, scope }) => `${port} ${protocol} ${scope}` },
    ),
  })
  .map(({ name, gone, sets }) => {
    const key = `default/${name}`;
    const views = sets.map(
      ({ addresses, shared, moved, ...set }): BackendSetView => ({
        ...set,
        port: set.port + (moved ? ELSEWHERE : 0),
        key: `${key}:${set.port}/${set.protocol}/4/${set.scope}`,
        frontends: addresses.map((address) => ({ address, shared })),
      }),
    );
    return { key, view: gone ? undefined : { key, sets: views, problems: [] } };
  });

const FRONTENDS: Endpoint[] = CLUSTER.flatMap((address) =>
  [...PORTS, ...PORTS.map((port) => port + ELSEWHERE)].flatMap((port) =>
    [PROTOCOLS.TCP, PROTOCOLS.UDP].flatMap((protocol) =>
      SCOPES.map((scope) => ({ address, port, protocol, scope })),
    ),
  ),
);

function lookUpAll(maps: Maps): string[] {
  return FRONTENDS.map((frontend) => maps.lookUp(frontend));
}

/** After a plan, nothing in the maps is there for nobody, and backends and places agree. */
function assertTidy(maps: Maps, planner: ServicePlanner): void {
  const sets = [...planner.sets()];
  assert.deepEqual(
    [...maps.tb_ranges.values()].map(([key]) => `${key.service} ${formatPrefix(rangeOf(key))}`).sort(),
    sets.flatMap(({ number, ranges }) => ranges.map((range) => `${number} ${formatPrefix(range)}`)).sort(),
  );
  const alive = [...maps.tb_backends.values()].filter(([, { state }]) => state !== 'none');
  assert.equal(
    maps.tb_slots.size,
    sets.reduce((sum, { slots }) => sum + slots.length, 0),
  );
  assert.equal(
    alive.length,
    sets.reduce((sum, { backends }) => sum + backends.length, 0),
  );
  assert.equal(maps.tb_maglev.size, sets.filter(({ maglev, slots }) => maglev && slots.length > 0).length);
  const places = new Set(
    alive.flatMap(([, { address, port, protocol }]) => [
      idOf({ address, port, protocol }),
      idOf({ address, port: 0, protocol: 0 }),
    ]),
  );
  assert.deepEqual([...maps.tb_endpoints.keys()].sort(), [...places].sort());
  for (const [{ address, port, protocol }, number] of maps.tb_endpoints.values()) {
    if (port === 0) continue;
    const backend = maps.tb_backends.get(idOf(number))?.[1];
    assert.deepEqual([backend?.address, backend?.port, backend?.protocol], [address, port, protocol]);
  }
  for (const [{ address, scope }] of maps.tb_services.values()) {
    assert.ok(maps.tb_services.has(idOf({ address, port: 0, protocol: 0, scope })));
  }
}

function newPlanner(clock = { now: 0 }): ServicePlanner {
  return new ServicePlanner({ backendLimit: 2000, ringLimit: 1000, now: () => clock.now });
}

describe('the planner', () => {
  test('lets every look-up find the old set or the new one, at every single write', () => {
    fc.assert(
      fc.property(fc.array(fc.array(change, { minLength: 1, maxLength: 3 }), { maxLength: 12 }), (rounds) => {
        const maps = new Maps();
        const clock = { now: 0 };
        const planner = newPlanner(clock);
        for (const changes of rounds) {
          clock.now += 45;
          const before = lookUpAll(maps);
          const owners = FRONTENDS.map((frontend) => maps.tb_services.get(idOf(frontend))?.[1].number);
          const plan = planner.plan(unique(changes));
          const rings = new Map([...planner.sets()].map((set) => [set.number, namesOf(set.backends)]));
          const seen: string[][] = [];
          maps.apply(plan.steps, Number.POSITIVE_INFINITY, () => seen.push(lookUpAll(maps)));
          const after = lookUpAll(maps);
          for (const state of seen) {
            state.forEach((found, index) => {
              // A ring has no generation: a frontend that is leaving the set may see its new one first.
              const ring = rings.get(owners[index] ?? 0);
              const known =
                found === before[index] || found === after[index] || found.split(' aff')[0] === ring;
              assert.ok(known, `${found} is neither ${before[index]} nor ${after[index]}`);
            });
          }
          assertTidy(maps, planner);
        }
      }),
      { numRuns: 300 },
    );
  });

  test('programs what the services say', () => {
    fc.assert(
      fc.property(fc.array(change, { maxLength: 12 }), (changes) => {
        const maps = new Maps();
        const planner = newPlanner();
        const wanted = new Map<string, ServiceView>();
        for (const { key, view } of changes) {
          maps.apply(planner.plan([{ key, view }]).steps);
          if (view === undefined) wanted.delete(key);
          else wanted.set(key, view);
        }
        for (const frontend of FRONTENDS) assertServed(maps, frontend, [...wanted.values()]);
      }),
      { numRuns: 300 },
    );
  });

  test('writes nothing when nothing has changed, in whatever order backends are listed', () => {
    fc.assert(
      fc.property(change, ({ key, view }) => {
        const planner = newPlanner();
        planner.plan([{ key, view }]);
        const shuffled = view && {
          ...view,
          sets: view.sets.map((set) => ({ ...set, backends: [...set.backends].reverse() })),
        };
        assert.deepEqual(planner.plan([{ key, view: shuffled }]).steps, []);
      }),
    );
  });

  test('whose plan failed half-way goes on as if it had never been', () => {
    fc.assert(
      fc.property(fc.array(fc.tuple(change, fc.nat(30), fc.boolean()), { maxLength: 12 }), (rounds) => {
        const maps = new Maps();
        const planner = newPlanner();
        for (const [{ key, view }, cut, fails] of rounds) {
          const plan = planner.plan([{ key, view }]);
          if (!fails) {
            maps.apply(plan.steps);
            continue;
          }
          const before = maps.snapshot();
          undo(maps, plan, maps.apply(plan.steps, cut));
          planner.rollback();
          assert.deepEqual(maps.snapshot(), before);
        }
        assertTidy(maps, planner);
      }),
    );
  });

  test('adopts what is programmed, and leaves it alone', () => {
    fc.assert(
      fc.property(fc.array(change, { maxLength: 8 }), (changes) => {
        const maps = new Maps();
        const first = newPlanner();
        for (const change of changes) maps.apply(first.plan([apart(change)]).steps);
        const before = maps.snapshot();
        const second = newPlanner();
        const { steps } = second.adopt(maps.programmed());
        assert.deepEqual(
          steps.filter(({ map }) => map !== 'tb_maglev'),
          [],
        );
        assert.deepEqual(maps.snapshot(), before);
      }),
    );
  });

  test('starts again after a crash at any write, without a look-up that finds a part, and ends up tidy', () => {
    fc.assert(
      fc.property(fc.array(change, { minLength: 1, maxLength: 8 }), fc.nat(40), (changes, cut) => {
        const maps = new Maps();
        const first = newPlanner();
        const wanted = new Map<string, ServiceChange>();
        changes.forEach((change, index) => {
          const { steps } = first.plan([change]);
          maps.apply(steps, index === changes.length - 1 ? cut : undefined);
          wanted.set(change.key, change);
        });
        const second = newPlanner();
        maps.apply(second.adopt(maps.programmed()).steps, undefined, () => lookUpAll(maps));
        assertTidy(maps, second);
        for (const change of wanted.values())
          maps.apply(second.plan([change]).steps, undefined, () => lookUpAll(maps));
        maps.apply(second.reconcile()?.steps ?? [], undefined, () => lookUpAll(maps));
        assertTidy(maps, second);
        const views = [...wanted.values()].map(({ view }) => view).filter((view) => view !== undefined);
        for (const frontend of FRONTENDS) assertServed(maps, frontend, views);
      }),
      { numRuns: 300 },
    );
  });

  test('deletes nothing of what it adopted before it is told that everything is known', () => {
    const maps = new Maps();
    maps.apply(newPlanner().plan([web('10.1.0.1'), service('b', '10.96.0.2', ['10.1.0.2'])]).steps);
    const planner = newPlanner();
    maps.apply(planner.adopt(maps.programmed()).steps);
    maps.apply(planner.plan([web('10.1.0.1', '10.1.0.3')]).steps);
    assert.match(maps.lookUp(at('10.96.0.2')), /^10\.1\.0\.2/);
    maps.apply(planner.reconcile()?.steps ?? []);
    assert.equal(maps.lookUp(at('10.96.0.2')), 'not a service');
    assert.match(maps.lookUp(at('10.96.0.1')), /^10\.1\.0\.1\/8080 10\.1\.0\.3/);
  });

  test('keeps the number of a backend for as long as it is one, also over a restart', () => {
    const maps = new Maps();
    const first = newPlanner();
    maps.apply(first.plan([web('10.1.0.1', '10.1.0.2')]).steps);
    const number = numberOf(maps, '10.1.0.2');
    maps.apply(first.plan([web('10.1.0.3', '10.1.0.2')]).steps);
    const second = newPlanner();
    second.adopt(maps.programmed());
    maps.apply(second.plan([web('10.1.0.2', '10.1.0.4')]).steps);
    assert.equal(numberOf(maps, '10.1.0.2'), number);
  });

  test('does not give a backend number out again within a minute', () => {
    const clock = { now: 0 };
    const planner = new ServicePlanner({ backendLimit: 3, ringLimit: 1000, now: () => clock.now });
    planner.plan([web('10.1.0.1', '10.1.0.2')]);
    planner.plan([web('10.1.0.2')]);
    assert.throws(() => planner.plan([web('10.1.0.2', '10.1.0.3')]), /tb_backends is full/);
    clock.now = 59;
    assert.throws(() => planner.plan([web('10.1.0.2', '10.1.0.3')]), /tb_backends is full/);
    clock.now = 60;
    assert.equal(planner.plan([web('10.1.0.2', '10.1.0.3')]).steps[0]?.map, 'tb_backends');
  });

  test('gives rings as long as there are any, half of them to those who ask for one by name, and serves the others without', () => {
    const planner = new ServicePlanner({ backendLimit: 2000, ringLimit: 4, now: () => 0 });
    const balanced = (number: number, balance: Balance): ServiceChange => {
      const { key, view } = service(`s${number}`, `10.96.0.${number}`, ['10.1.0.1']);
      return { key, view: { ...view, sets: view.sets.map((set) => ({ ...set, balance })) } };
    };
    const ringed = () =>
      [...planner.sets()]
        .filter(({ maglev }) => maglev)
        .map(({ key }) => key.replace(/^default.(.*):80.*/, '$1'));
    const plan = (...changes: ServiceChange[]) => planner.plan(changes).problems.map(({ text }) => text);
    const lacking = (count: number) =>
      `its backends are chosen at random: ${count} services have a Maglev ring already`;
    const spare = [1, 2, 3].map((number) => balanced(number, 'maglev-if-room'));
    assert.deepEqual(plan(...spare), [lacking(2)]);
    planner.rollback();
    assert.deepEqual(plan(...spare), [lacking(2)], 'the same once it has failed');
    assert.deepEqual(plan(...[4, 5, 6].map((number) => balanced(number, 'maglev'))), [lacking(4)]);
    assert.deepEqual(ringed(), ['s1', 's2', 's4', 's5']);
    assert.deepEqual(plan(...spare.slice(0, 2)), [], 'who has one keeps it');
    assert.deepEqual(plan({ key: 'default/s1', view: undefined }, balanced(6, 'maglev')), []);
    assert.deepEqual(ringed(), ['s2', 's4', 's5', 's6']);
  });

  test('names the places that are no backend any more', () => {
    const planner = newPlanner();
    planner.plan([web('10.1.0.1', '10.1.0.2'), service('b', '10.96.0.2', ['10.1.0.2'])]);
    assert.deepEqual(planner.plan([web()]).retired, [
      { address: parseIP('10.1.0.1'), port: 8080, protocol: PROTOCOLS.TCP },
    ]);
  });

  test('gives a frontend to who came first, and to the next when that one goes', () => {
    const maps = new Maps();
    const planner = newPlanner();
    const rival = service('b', '10.96.0.1', ['10.1.0.2']);
    maps.apply(planner.plan([web('10.1.0.1')]).steps);
    const clash = { set: 'default/b:80/TCP/4', text: '10.96.0.1 is served by default/web:80/TCP/4 already' };
    maps.apply(planner.plan([rival]).steps);
    assert.deepEqual(planner.clashes(), [clash]);
    assert.match(maps.lookUp(at('10.96.0.1')), /^10\.1\.0\.1/);
    maps.apply(planner.plan([service('b', '10.96.0.1', ['10.1.0.3'])]).steps);
    assert.deepEqual(planner.clashes(), [clash], 'also after the rival has changed');
    maps.apply(planner.plan([{ key: 'default/web', view: undefined }]).steps);
    assert.match(maps.lookUp(at('10.96.0.1')), /^10\.1\.0\.3/);
    assert.deepEqual(planner.clashes(), [], 'no longer once the address is its own');
  });

  test('moves a set to another port under the same key, as when a service gets another node port', () => {
    const maps = new Maps();
    const planner = newPlanner();
    const on = (port: number): ServiceChange => {
      const { key, view } = web('10.1.0.1');
      return { key, view: { ...view, sets: view.sets.map((set) => ({ ...set, port })) } };
    };
    maps.apply(planner.plan([on(30080)]).steps);
    maps.apply(planner.plan([on(30081)]).steps);
    assert.equal(maps.lookUp({ ...at('10.96.0.1'), port: 30080 }), 'no such port');
    assert.match(maps.lookUp({ ...at('10.96.0.1'), port: 30081 }), /^10\.1\.0\.1/);
  });

  test('finds its way again where it was killed while a set went to another port and address', () => {
    const first = service('a', '10.96.0.1', ['10.1.0.1']);
    const moving = (address: string, port: number): ServiceChange => {
      const { key, view } = service('b', address, ['10.1.0.2']);
      return { key, view: { ...view, sets: view.sets.map((set) => ({ ...set, port })) } };
    };
    for (let cut = 0; cut < 8; cut++) {
      const maps = new Maps();
      const killed = newPlanner();
      for (const change of [first, moving('10.96.0.1', 30080)]) maps.apply(killed.plan([change]).steps);
      maps.apply(killed.plan([moving('10.96.0.9', 80)]).steps, cut);
      const planner = newPlanner();
      maps.apply(planner.adopt(maps.programmed()).steps);
      assertTidy(maps, planner);
      for (const change of [first, moving('10.96.0.9', 80)]) maps.apply(planner.plan([change]).steps);
      maps.apply(planner.reconcile()?.steps ?? []);
      assert.match(maps.lookUp(at('10.96.0.1')), /^10\.1\.0\.1/, `cut after ${cut} writes`);
      assert.match(maps.lookUp(at('10.96.0.9')), /^10\.1\.0\.2/);
      assert.equal(maps.lookUp({ ...at('10.96.0.1'), port: 30080 }), 'no such port');
    }
  });

  test('touches only the entries of the service that changes', () => {
    const planner = newPlanner();
    const address = (index: number) => `10.97.${index >> 8}.${index & 255}`;
    planner.plan(
      Array.from({ length: 500 }, (_, index) =>
        service(`s${index}`, address(index), ['10.1.0.1', '10.1.0.2']),
      ),
    );
    const { steps } = planner.plan([service('s250', address(250), ['10.1.0.1', '10.1.0.3'])]);
    const changes = steps.reduce((sum, step) => sum + step.changes.length, 0);
    // A backend, two places, two slots, an entry; two slots and a backend away.
    assert.equal(changes, 9);
  });
});

/** A service on port 80 with these pods behind it, on their port 8080. */
function service(name: string, address: string, pods: string[]): ServiceChange & { view: ServiceView } {
  const key = `default/${name}`;
  const set: BackendSetView = {
    key: `${key}:80/TCP/4`,
    protocol: 'TCP',
    port: 80,
    frontends: [{ address: parseIP(address), shared: false }],
    backends: pods.map((pod) => ({ address: parseIP(pod), port: 8080, state: 'active' })),
    affinitySeconds: 0,
    balance: 'random',
  };
  return { key, view: { key, sets: [set], problems: [] } };
}

function web(...pods: string[]) {
  return service('web', '10.96.0.1', pods);
}

function at(address: string): Endpoint {
  return { address: parseIP(address), port: 80, protocol: PROTOCOLS.TCP };
}

function numberOf(maps: Maps, pod: string): number | undefined {
  const address = parseIP(pod);
  const found = [...maps.tb_backends.values()].find(
    ([, backend]) => backend.address === address && backend.state === 'active',
  );
  return found?.[0];
}

/** The last change of each service. */
function unique(changes: ServiceChange[]): ServiceChange[] {
  return [...new Map(changes.map((change) => [change.key, change])).values()];
}

/** The same change, with an address that no other service has, and no set without one. */
function apart({ key, view }: ServiceChange): ServiceChange {
  const own = CLUSTER['abc'.indexOf(key.slice(-1))] as IP;
  const sets = view?.sets
    .filter(({ frontends }) => frontends.length > 0)
    .map((set) => ({ ...set, frontends: [{ address: own, shared: false }] }));
  return { key, view: view && sets && { ...view, sets } };
}

/** Takes back the first `count` single changes of a plan. */
function undo(maps: Maps, plan: Plan, count: number): void {
  let left = count;
  const done = plan.steps.map((step) => {
    const changes = step.changes.slice(0, left);
    left -= changes.length;
    return { ...step, changes } as Step;
  });
  maps.apply(inverseOf(done));
}

function namesOf(backends: readonly BackendView[]): string {
  return backends
    .filter(({ state }) => state === 'active')
    .map(({ address, port }) => `${formatIP(address)}/${port}`)
    .sort()
    .join(' ');
}

/** That a look-up finds what one of the services with this frontend wants; if there is none, a refusal or nothing. */
function assertServed(maps: Maps, frontend: Endpoint, views: ServiceView[]): void {
  const found = maps.lookUp(frontend);
  const sets = views.flatMap(({ sets }) => sets);
  const atAddress = sets.filter(
    ({ frontends, scope = 'inside' }) =>
      scope === frontend.scope && frontends.some(({ address }) => address === frontend.address),
  );
  const expected = atAddress
    .filter(({ port, protocol }) => port === frontend.port && PROTOCOLS[protocol] === frontend.protocol)
    .map(({ backends, affinitySeconds }) => {
      const names = namesOf(backends);
      return names === '' ? 'no backend' : `${names} affinity ${affinitySeconds}`;
    });
  if (expected.length > 0) assert.ok(expected.includes(found), `${found} is none of ${expected}`);
  else if (atAddress.length === 0) assert.equal(found, 'not a service');
  else assert.ok(found === 'no such port' || found === 'not a service');
}
