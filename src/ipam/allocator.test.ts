import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { formatIP, type IP, parseIP } from '../address/ip.ts';
import { contains, parsePrefix } from '../address/prefix.ts';
import { Allocator, type Owner, Refusal, type Request } from './allocator.ts';
import type { Source } from './binding.ts';
import { restoreState, stateToRecord } from './record.ts';
import type { Segment } from './segment.ts';

const COOLDOWN = 1000;

function segment(cidr: string, extra: Partial<Segment> = {}): Segment {
  return { prefix: parsePrefix(cidr), state: 'active', generation: 1, ...extra };
}

function allocatorOf(...segments: Segment[]): Allocator {
  const allocator = new Allocator();
  allocator.apply({ op: 'segments', segments });
  return allocator;
}

function owner(name: string): Owner {
  return { containerID: name, ifName: 'eth0', network: 'test' };
}

function add(allocator: Allocator, name: string, now = 0, addresses: IP[] = []): string[] {
  const request: Request = { owner: owner(name), addresses };
  const chosen = allocator.choose(request, now, COOLDOWN);
  const allocation = { owner: owner(name), addresses: chosen.addresses, at: now, boot: 'b' };
  allocator.apply({ op: 'allocate', allocation });
  return chosen.addresses.map(formatIP);
}

function remove(allocator: Allocator, name: string, at = 0): void {
  allocator.apply({ op: 'release', owner: owner(name), at });
}

function refused(reason: string, attempt: () => unknown): void {
  assert.throws(attempt, (error) => error instanceof Refusal && error.reason === reason);
}

test('every address of a routed segment is given out once, and then it is full', () => {
  const allocator = allocatorOf(segment('10.0.0.0/29'));
  const given = Array.from({ length: 8 }, (_, index) => add(allocator, `c${index}`)[0]);
  assert.deepEqual(
    given,
    [0, 1, 2, 3, 4, 5, 6, 7].map((last) => `10.0.0.${last}`),
  );
  assert.throws(() => add(allocator, 'c8'), /IPv4 address: every one is in use, of 10\.0\.0\.0\/29 \(8\)/);
});

test('a segment with a gateway keeps that, its first and its last address', () => {
  const allocator = allocatorOf(segment('10.0.0.0/29', { gateway: parseIP('10.0.0.1') }));
  const given = Array.from({ length: 5 }, (_, index) => add(allocator, `c${index}`)[0]);
  assert.deepEqual(given, ['10.0.0.2', '10.0.0.3', '10.0.0.4', '10.0.0.5', '10.0.0.6']);
  refused('exhausted', () => add(allocator, 'c5'));
  for (const kept of ['10.0.0.0', '10.0.0.1', '10.0.0.7']) {
    refused('reserved', () => add(allocator, 'asks', 0, [parseIP(kept)]));
  }
  assert.equal(allocator.segments[0]?.size, 5n);
});

test('a NIC draws from the segment of its link, a veth pair from a routed one, and either from what there is', () => {
  const both = allocatorOf(segment('10.0.0.0/29'), segment('10.0.1.0/29', { gateway: parseIP('10.0.1.1') }));
  const choose = (allocator: Allocator, onLink: boolean) =>
    allocator.choose({ owner: owner('c'), addresses: [], onLink }, 0, COOLDOWN).addresses.map(formatIP);
  assert.deepEqual(choose(both, true), ['10.0.1.2']);
  assert.deepEqual(choose(both, false), ['10.0.0.0']);
  assert.deepEqual(choose(allocatorOf(segment('10.0.0.0/29')), true), ['10.0.0.0']);
});

test('the address released the longest ago comes first, and not before it has rested', () => {
  const allocator = allocatorOf(segment('10.0.0.0/30'));
  for (const name of ['a', 'b', 'c']) add(allocator, name);
  remove(allocator, 'b', 100);
  remove(allocator, 'a', 200);
  assert.deepEqual(add(allocator, 'd', 250), ['10.0.0.3']);
  assert.deepEqual(allocator.choose({ owner: owner('e'), addresses: [] }, 300, COOLDOWN).hot, [
    parseIP('10.0.0.1'),
  ]);
  assert.deepEqual(allocator.choose({ owner: owner('e'), addresses: [] }, 1100, COOLDOWN), {
    addresses: [parseIP('10.0.0.1')],
    hot: [],
  });
});

test('an address that has rested in one segment goes before a hot one in another', () => {
  const allocator = allocatorOf(segment('10.0.0.0/32'), segment('10.0.1.0/32'));
  add(allocator, 'a');
  add(allocator, 'b');
  remove(allocator, 'b', 0);
  remove(allocator, 'a', 900);
  assert.deepEqual(add(allocator, 'c', 1000), ['10.0.1.0']);
});

test('addresses of each segment rest as long as it is said of that segment', () => {
  const allocator = allocatorOf(
    segment('10.0.0.0/32', { pool: 'slow' }),
    segment('10.0.1.0/32', { pool: 'quick' }),
  );
  add(allocator, 'a');
  add(allocator, 'b');
  remove(allocator, 'a', 0);
  remove(allocator, 'b', 0);
  const cooldown = ({ pool }: Segment) => (pool === 'slow' ? 5_000 : 100);
  const choose = (now: number) => allocator.choose({ owner: owner('c'), addresses: [] }, now, cooldown);
  assert.deepEqual(choose(100), { addresses: [parseIP('10.0.1.0')], hot: [] });
  assert.deepEqual(choose(99).hot.map(formatIP), ['10.0.0.0'], 'of two that rest the first');
});

test('whoever wants a rested address is refused one that is not, if its pool may have others', () => {
  const allocator = allocatorOf(segment('10.0.0.0/32', { pool: 'open' }));
  add(allocator, 'a');
  remove(allocator, 'a', 0);
  const sources = [from(4, false, 'open')];
  const request = { owner: owner('b'), addresses: [], sources, rested: true };
  assert.throws(
    () => allocator.choose(request, 10, COOLDOWN),
    (error) => error instanceof Refusal && error.reason === 'resting' && error.short === sources[0],
  );
  assert.deepEqual(allocator.choose(request, COOLDOWN, COOLDOWN).hot, []);
  assert.deepEqual(allocator.choose({ ...request, rested: false }, 10, COOLDOWN).hot.map(formatIP), [
    '10.0.0.0',
  ]);
  const poolless = allocatorOf(segment('10.0.0.0/32'));
  add(poolless, 'a');
  remove(poolless, 'a', 0);
  const anywhere = { ...request, sources: [from(4, false)] };
  assert.deepEqual(poolless.choose(anywhere, 10, COOLDOWN).hot.map(formatIP), ['10.0.0.0']);
});

test('a clock that was set back lets nothing be used too early', () => {
  const allocator = allocatorOf(segment('10.0.0.0/31'));
  add(allocator, 'a', 5000);
  remove(allocator, 'a', 5000);
  assert.deepEqual(add(allocator, 'b', 10), ['10.0.0.1']);
});

test('a clock that was set back keeps nothing from use for longer than one rest', () => {
  const allocator = allocatorOf(segment('10.0.0.0/31'));
  const [state] = allocator.segments;
  add(allocator, 'a', 9_000_000);
  remove(allocator, 'a', 9_000_000);
  assert.equal(state?.resting(10, COOLDOWN), 1);
  assert.equal(state?.resting(10 + COOLDOWN - 1, COOLDOWN), 1);
  assert.equal(state?.resting(10 + COOLDOWN, COOLDOWN), 0);
});

test('dual stack is both families or neither', () => {
  const allocator = allocatorOf(segment('10.0.0.0/31'), segment('fd00::/127'));
  assert.deepEqual(add(allocator, 'a'), ['10.0.0.0', 'fd00::']);
  add(allocator, 'b', 0, [parseIP('fd00::1')]);
  assert.throws(() => add(allocator, 'c'), /IPv6 address: every one is in use, of fd00::\/127 \(2\)/);
  assert.equal(allocator.heldBy(owner('c')), undefined);
  assert.equal(allocator.holderOf(parseIP('10.0.0.1')), undefined);
});

test('an address asked for is given, or refused with the reason', () => {
  const allocator = allocatorOf(segment('10.0.0.0/24'), segment('10.0.1.0/24', { state: 'releasing' }));
  assert.deepEqual(add(allocator, 'a', 0, [parseIP('10.0.0.77')]), ['10.0.0.77']);
  assert.throws(
    () => add(allocator, 'b', 0, [parseIP('10.0.0.77')]),
    /Cannot allocate 10\.0\.0\.77: container a holds it/,
  );
  refused('outside', () => add(allocator, 'b', 0, [parseIP('10.0.1.1')]));
  refused('outside', () => add(allocator, 'b', 0, [parseIP('192.0.2.1')]));
  assert.throws(
    () => add(allocator, 'b', 0, ['10.0.0.8', '10.0.0.9'].map(parseIP)),
    /Cannot allocate 10\.0\.0\.8, 10\.0\.0\.9: a pod has one address of each family/,
  );
});

test('a segment that is taken away leaves its addresses with their holders', () => {
  const allocator = allocatorOf(segment('10.0.0.0/24'));
  add(allocator, 'a');
  allocator.apply({ op: 'segments', segments: [] });
  refused('no segment', () => add(allocator, 'b'));
  assert.equal(allocator.heldBy(owner('a'))?.addresses.length, 1);
  allocator.apply({ op: 'segments', segments: [segment('10.0.0.0/24', { generation: 2 })] });
  assert.deepEqual(add(allocator, 'b'), ['10.0.0.1']);
});

test('an IPv6 segment of any size costs nothing, and its addresses are used again', () => {
  const allocator = allocatorOf(segment('fd00::/64'));
  for (let round = 0; round < 200; round++) {
    add(allocator, 'a', round * COOLDOWN);
    remove(allocator, 'a', round * COOLDOWN);
  }
  assert.equal(allocator.segments[0]?.released.size, 200);
  assert.equal(allocator.segments[0]?.size, 1n << 64n);
});

/** What an allocator must do, said with nothing but a table of who has what. */
class World {
  readonly held = new Map<string, string[]>();
  readonly releasedAt = new Map<string, number>();
  now = 10_000;
  segments: Segment[] = [segment('10.0.0.0/29')];
  allocator = allocatorOf(...this.segments);
}

type Step =
  | { do: 'add'; name: string; ask: string | undefined }
  | { do: 'remove'; name: string }
  | { do: 'wait'; ms: number }
  | { do: 'segments'; choice: number }
  | { do: 'restart' };

const SEGMENTS: Segment[][] = [
  [segment('10.0.0.0/29')],
  [segment('10.0.0.0/29'), segment('fd00::/125')],
  [segment('10.0.0.0/29', { state: 'releasing' }), segment('10.0.0.8/30')],
  [segment('10.0.0.8/30', { gateway: parseIP('10.0.0.9') })],
];

const name = fc.constantFrom('a', 'b', 'c', 'd', 'e', 'f', 'g', 'h', 'i');
const step: fc.Arbitrary<Step> = fc.oneof(
  {
    weight: 6,
    arbitrary: fc.record({
      do: fc.constant('add' as const),
      name,
      ask: fc.option(
        fc.integer({ min: 0, max: 13 }).map((last) => `10.0.0.${last}`),
        {
          nil: undefined,
          freq: 4,
        },
      ),
    }),
  },
  { weight: 4, arbitrary: fc.record({ do: fc.constant('remove' as const), name }) },
  {
    weight: 2,
    arbitrary: fc.record({ do: fc.constant('wait' as const), ms: fc.integer({ min: -300, max: 1500 }) }),
  },
  { weight: 1, arbitrary: fc.record({ do: fc.constant('segments' as const), choice: fc.nat(3) }) },
  { weight: 1, arbitrary: fc.constant({ do: 'restart' as const }) },
);

test('whatever happens, nobody is given an address that another holds, and nothing free is refused', () => {
  fc.assert(
    fc.property(fc.array(step, { maxLength: 80 }), (steps) => {
      const world = new World();
      for (const step of steps) {
        happen(world, step);
        agree(world);
      }
    }),
    { numRuns: 300 },
  );
});

function happen(world: World, step: Step): void {
  const { held, releasedAt, allocator, now } = world;
  switch (step.do) {
    case 'wait':
      world.now += step.ms;
      break;
    case 'segments':
      world.segments = SEGMENTS[step.choice] ?? [];
      allocator.apply({ op: 'segments', segments: world.segments });
      break;
    case 'restart': {
      const state = JSON.parse(JSON.stringify(stateToRecord(allocator)));
      world.allocator = new Allocator();
      restoreState(world.allocator, state);
      assert.deepEqual(stateToRecord(world.allocator), state);
      break;
    }
    case 'remove':
      for (const address of held.get(step.name) ?? []) releasedAt.set(address, now);
      held.delete(step.name);
      remove(allocator, step.name, now);
      break;
    case 'add':
      if (!held.has(step.name)) attempt(world, step.name, step.ask);
  }
}

function attempt(world: World, name: string, ask: string | undefined): void {
  const { held, segments, allocator, now } = world;
  const taken = new Set([...held.values()].flat());
  const active = segments.filter(({ state }) => state === 'active');
  const free = (address: IP) => {
    const home = active.find(({ prefix }) => contains(prefix, address));
    const kept = home?.gateway === undefined ? [] : ['10.0.0.8', '10.0.0.9', '10.0.0.11'];
    return home !== undefined && !kept.includes(formatIP(address)) && !taken.has(formatIP(address));
  };
  const candidates = (texts: string[]) => texts.map(parseIP).filter(free).map(formatIP);
  const v4 = candidates(Array.from({ length: 12 }, (_, last) => `10.0.0.${last}`));
  const v6 = candidates(Array.from({ length: 8 }, (_, last) => (last ? `fd00::${last}` : 'fd00::')));
  const dual = active.some(({ prefix }) => typeof prefix.address === 'bigint');
  const possible = ask ? v4.includes(ask) : v4.length > 0 && (!dual || v6.length > 0);
  if (!possible) {
    assert.throws(() => add(allocator, name, now, ask ? [parseIP(ask)] : []), Refusal);
    return;
  }
  const given = add(allocator, name, now, ask ? [parseIP(ask)] : []);
  assert.equal(given.length, ask || !dual ? 1 : 2);
  for (const address of given) {
    assert.ok(v4.includes(address) || v6.includes(address), `${address} was not free`);
  }
  if (!ask) restsWherePossible(given[0] ?? '', v4, world);
  held.set(name, given);
}

/** A resting address is used only where every free one rests. */
function restsWherePossible(given: string, free: string[], { releasedAt, now }: World): void {
  const rests = (address: string) => now - (releasedAt.get(address) ?? Number.NEGATIVE_INFINITY) < COOLDOWN;
  // A segment that went away and came back has forgotten its releases: then the model knows more.
  if (rests(given)) {
    assert.ok(free.every((address) => rests(address)) || forgets(given), `${given} had not rested`);
  }
}

function forgets(address: string): boolean {
  return SEGMENTS.some((segments) => !segments.some(({ prefix }) => contains(prefix, parseIP(address))));
}

function agree({ allocator, held: expected }: World): void {
  const held = [...allocator.allocations()].map(
    ({ owner, addresses }) => [owner.containerID, addresses.map(formatIP)] as const,
  );
  assert.deepEqual(new Map(held), expected);
  const all = held.flatMap(([, addresses]) => addresses);
  assert.equal(new Set(all).size, all.length, 'an address has two holders');
}

function from(family: 4 | 6, bound: boolean, ...pools: string[]): Source {
  return { family, bound, pools, why: 'the test' };
}

function draw(allocator: Allocator, name: string, sources: Source[], addresses: IP[] = []): string[] {
  const chosen = allocator.choose({ owner: owner(name), addresses, sources }, 0, COOLDOWN);
  const allocation = { owner: owner(name), addresses: chosen.addresses, at: 0, boot: 'b' };
  allocator.apply({ op: 'allocate', allocation });
  return chosen.addresses.map(formatIP);
}

test('a bound pod draws from its pool or not at all', () => {
  const allocator = allocatorOf(
    segment('10.0.0.0/29'),
    segment('10.1.0.0/29', { pool: 'open' }),
    segment('10.2.0.0/31', { pool: 'bank' }),
  );
  const bank = [from(4, true, 'bank')];
  assert.deepEqual([draw(allocator, 'a', bank), draw(allocator, 'b', bank)], [['10.2.0.0'], ['10.2.0.1']]);
  assert.throws(
    () => draw(allocator, 'c', bank),
    (error) => error instanceof Refusal && error.reason === 'exhausted' && error.short === bank[0],
  );
  refused('no segment', () => draw(allocator, 'c', [from(4, true, 'other')]));
  refused('outside', () => draw(allocator, 'c', bank, [parseIP('10.1.0.1')]));
});

test('an unbound pod draws from open pools and from segments of no pool, and from no other', () => {
  const allocator = allocatorOf(
    segment('10.0.0.0/32'),
    segment('10.1.0.0/32', { pool: 'open' }),
    segment('10.2.0.0/29', { pool: 'bank' }),
  );
  const open = [from(4, false, 'open'), from(6, false)];
  const given = [...draw(allocator, 'a', open), ...draw(allocator, 'b', open)].sort();
  assert.deepEqual(given, ['10.0.0.0', '10.1.0.0']);
  refused('exhausted', () => draw(allocator, 'c', open));
  refused('no segment', () =>
    draw(allocatorOf(segment('10.2.0.0/29', { pool: 'bank' })), 'c', [from(4, false)]),
  );
});

test('a family that has a pool is owed, though the node has no segment of it yet', () => {
  const allocator = allocatorOf(segment('10.1.0.0/29', { pool: 'open' }));
  const both = [from(4, false, 'open'), from(6, false, 'open6')];
  assert.throws(
    () => draw(allocator, 'a', both),
    (error) => error instanceof Refusal && error.reason === 'no segment' && error.short === both[1],
  );
  assert.equal([...allocator.allocations()].length, 0);
});

const CLAIM = 'shop/db-0';

function claim(allocator: Allocator, name: string, request: Partial<Request> = {}): string[] {
  const asked = { owner: owner(name), addresses: [], claim: CLAIM, ...request };
  const { addresses } = allocator.choose(asked, 0, COOLDOWN);
  const allocation = { owner: owner(name), addresses, claim: asked.claim, at: 0, boot: 'b' };
  allocator.apply({ op: 'allocate', allocation });
  return addresses.map(formatIP);
}

test("what a claim has is nobody else's when its holder is gone, and its own again", () => {
  const allocator = allocatorOf(segment('10.0.0.0/31'));
  assert.deepEqual(claim(allocator, 'db'), ['10.0.0.0']);
  remove(allocator, 'db', 0);
  assert.deepEqual(add(allocator, 'web', COOLDOWN), ['10.0.0.1']);
  refused('exhausted', () => add(allocator, 'other', 10 * COOLDOWN));
  refused('taken', () => add(allocator, 'thief', 10 * COOLDOWN, [parseIP('10.0.0.0')]));
  assert.deepEqual(claim(allocator, 'db again', { addresses: [parseIP('10.0.0.0')] }), ['10.0.0.0']);
  refused('taken', () => claim(allocator, 'twin', { addresses: [parseIP('10.0.0.0')] }));
});

test('an address kept for a claim counts as used, and rests when the claim is over', () => {
  const allocator = allocatorOf(segment('10.0.0.0/31'));
  const addresses = [parseIP('10.0.0.1')];
  allocator.apply({ op: 'keep', claim: CLAIM, addresses });
  assert.deepEqual(allocator.taken(segment('10.0.0.0/31')).map(formatIP), ['10.0.0.1']);
  assert.deepEqual(add(allocator, 'web'), ['10.0.0.0']);
  refused('exhausted', () => add(allocator, 'other'));
  allocator.apply({ op: 'forget', claim: 'shop/other', addresses, at: 0 });
  assert.equal(allocator.kept.size, 1);
  allocator.apply({ op: 'forget', claim: CLAIM, addresses, at: 100 });
  assert.deepEqual(allocator.taken(segment('10.0.0.0/31')).map(formatIP), ['10.0.0.0']);
  const asked = { owner: owner('other'), addresses: [] };
  assert.deepEqual(allocator.choose(asked, 100 + COOLDOWN, COOLDOWN), { addresses, hot: [] });
});

test('a claim that ends under its holder leaves the address to the holder', () => {
  const allocator = allocatorOf(segment('10.0.0.0/32'));
  claim(allocator, 'db');
  allocator.apply({ op: 'forget', claim: CLAIM, addresses: [parseIP('10.0.0.0')], at: 0 });
  refused('exhausted', () => add(allocator, 'web', 10 * COOLDOWN));
  remove(allocator, 'db', 0);
  assert.deepEqual(add(allocator, 'web', COOLDOWN), ['10.0.0.0']);
});

test('an address of another node is borrowed by who may, held once, and kept by nobody here', () => {
  const allocator = allocatorOf(segment('10.0.0.0/31'));
  const addresses = [parseIP('10.0.9.9')];
  refused('outside', () => claim(allocator, 'db', { addresses }));
  assert.deepEqual(claim(allocator, 'db', { addresses, borrow: true }), ['10.0.9.9']);
  refused('taken', () => claim(allocator, 'twin', { addresses, borrow: true }));
  assert.equal(allocator.kept.size, 0);
  remove(allocator, 'db');
  assert.deepEqual(claim(allocator, 'db2', { addresses, borrow: true }), ['10.0.9.9']);
});

test('a release that comes late frees nothing of whoever has the address by now, also of a pod of the same name', () => {
  const allocator = allocatorOf(segment('10.0.0.0/32'));
  add(allocator, 'old');
  remove(allocator, 'old', 0);
  assert.deepEqual(add(allocator, 'new', COOLDOWN), ['10.0.0.0']);
  remove(allocator, 'old', COOLDOWN);
  refused('exhausted', () => add(allocator, 'third', 10 * COOLDOWN));
});

test('a reserved address is nobody’s, and whoever had it before keeps it until it lets go', () => {
  const allocator = allocatorOf(segment('10.0.0.0/30'));
  assert.deepEqual(add(allocator, 'before'), ['10.0.0.0']);
  const reserved = [parsePrefix('10.0.0.0/31')];
  const small = segment('10.0.0.0/30', { reserved });
  allocator.apply({ op: 'segments', segments: [small] });
  const reservedAt = (now: number) => allocator.segments[0]?.reserved(now, COOLDOWN, allocator.taken(small));
  assert.equal(reservedAt(0), 1n, 'the other one is in use');
  assert.deepEqual(add(allocator, 'one'), ['10.0.0.2']);
  assert.deepEqual(add(allocator, 'two'), ['10.0.0.3']);
  assert.throws(() => add(allocator, 'three'), /every one is in use, of 10\.0\.0\.0\/30 \(3\)/);
  refused('reserved', () => add(allocator, 'four', 0, [parseIP('10.0.0.1')]));
  remove(allocator, 'before', 10);
  refused('exhausted', () => add(allocator, 'five', 10 + COOLDOWN));
  assert.equal(reservedAt(10), 1n, 'it rests');
  assert.equal(reservedAt(10 + COOLDOWN), 2n);
  const again = new Allocator();
  restoreState(again, stateToRecord(allocator));
  assert.deepEqual(again.segments[0]?.segment.reserved, reserved);
  again.apply({ op: 'segments', segments: [segment('10.0.0.0/30')] });
  assert.deepEqual(add(again, 'six', 10 + COOLDOWN), ['10.0.0.1']);
});
