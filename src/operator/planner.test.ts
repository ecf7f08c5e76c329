import assert from 'node:assert/strict';
import { test } from 'node:test';
import { formatPrefix, parsePrefix } from '../address/prefix.ts';
import { parseSelector } from '../selector/selector.ts';
import { plan } from './planner.ts';
import type { Pool } from './pool.ts';
import type { NodeView, Segment, SegmentReport, World } from './world.ts';

function pool(
  change: Partial<Omit<Pool, 'cidr' | 'nodeSelector'>> & { cidr?: string; nodes?: string } = {},
): Pool {
  const { cidr = '10.0.0.0/24', nodes = 'all()', ...rest } = change;
  return {
    name: 'default',
    blockSize: 28,
    open: true,
    disabled: false,
    reserved: [],
    cooldownSeconds: 60,
    expansion: { low: 4, high: 16, min: 0, max: 1024, step: 1 },
    ...rest,
    cidr: parsePrefix(cidr),
    nodeSelector: parseSelector(nodes),
  };
}

function node(name: string, change: Partial<NodeView> = {}): NodeView {
  return { name, labels: {}, present: true, segments: [], reports: [], requests: [], ...change };
}

function world(pools: Pool[], nodes: NodeView[], change: Partial<World> = {}): World {
  return {
    pools,
    nodes,
    uncertain: [],
    unreadable: [],
    maxBlocksPerNode: 0,
    shrinkAfter: 60_000,
    now: 1_000_000,
    ...change,
  };
}

function segment(cidr: string, change: Partial<Segment> = {}): Segment {
  return { cidr: parsePrefix(cidr), pool: 'default', state: 'active', generation: 1, ...change };
}

function report(of: Segment, change: Partial<SegmentReport> = {}): SegmentReport {
  return { cidr: of.cidr, generation: of.generation, drained: false, used: 0, pinned: false, ...change };
}

function held(given: World): Record<string, string[]> {
  const { assignments } = plan(given);
  return Object.fromEntries(
    assignments.map(({ node: name, segments }) => [
      name,
      segments.map(({ cidr, state, generation }) => `${formatPrefix(cidr)} ${state} ${generation}`),
    ]),
  );
}

test('every node gets its first block, no two the same', () => {
  assert.deepEqual(held(world([pool()], [node('a'), node('b')])), {
    a: ['10.0.0.0/28 claimed 1'],
    b: ['10.0.0.16/28 claimed 1'],
  });
});

test('a claim becomes a segment only when a later list shows nobody else there', () => {
  const claim = (cidr: string) => segment(cidr, { state: 'claimed' });
  assert.deepEqual(
    held(
      world(
        [],
        [node('a', { segments: [claim('10.0.0.0/28')] }), node('b', { segments: [claim('10.0.0.16/28')] })],
      ),
    ),
    {
      a: ['10.0.0.0/28 active 2'],
      b: ['10.0.0.16/28 active 2'],
    },
  );
  const both = world(
    [],
    [node('a', { segments: [claim('10.0.0.0/28')] }), node('b', { segments: [claim('10.0.0.0/28')] })],
  );
  assert.deepEqual(held(both), { a: [], b: [] });
  const late = world(
    [],
    [node('a', { segments: [claim('10.0.0.0/28')] }), node('b', { segments: [segment('10.0.0.0/27')] })],
  );
  assert.deepEqual(held(late), { a: [] });
  assert.deepEqual(plan(late).conflicts, []);
});

test('a node below its low watermark grows, one above it is left alone', () => {
  const full = segment('10.0.0.0/28');
  const roomy = segment('10.0.0.16/28');
  const given = world(
    [pool()],
    [
      node('a', { segments: [full], reports: [report(full, { used: 13 })] }),
      node('b', { segments: [roomy], reports: [report(roomy, { used: 12 })] }),
    ],
  );
  assert.deepEqual(held(given), { a: ['10.0.0.0/28 active 1', '10.0.0.32/28 claimed 1'] });
});

test('a node that ran dry is served before others that are merely low', () => {
  const last = pool({ cidr: '10.0.0.0/27' });
  const mine = segment('10.0.0.0/28');
  const given = world(
    [last],
    [
      node('a'),
      node('z', {
        segments: [mine],
        reports: [report(mine, { used: 16 })],
        requests: [{ family: 4, addresses: 1 }],
      }),
    ],
  );
  const { assignments, shortages } = plan(given);
  assert.deepEqual(
    assignments.map((each) => each.node),
    ['z'],
  );
  assert.match(
    shortages[0]?.reason ?? '',
    /pool default \(10\.0\.0\.0\/27\) has no free block of \/28 among its 2; none is free/,
  );
});

test("a rack's pool feeds that rack's nodes alone", () => {
  const pools = [
    pool({ name: 'rack-a', nodes: "rack == 'a'" }),
    pool({ name: 'rack-b', cidr: '10.0.1.0/24', nodes: "rack == 'b'" }),
  ];
  const given = world(pools, [node('n1', { labels: { rack: 'b' } }), node('n2', { labels: { rack: 'c' } })]);
  assert.deepEqual(held(given), { n1: ['10.0.1.0/28 claimed 1'] });
});

test('a pool for nobody is drawn from by request only, and never replaced by another', () => {
  const bound = pool({ name: 'bank', nodes: '!all()', open: false, cidr: '10.9.0.0/28' });
  const asking = node('a', { requests: [{ pool: 'bank', family: 4, addresses: 1 }] });
  assert.deepEqual(held(world([bound], [asking, node('b')])), { a: ['10.9.0.0/28 claimed 1'] });
  const typo = plan(
    world([bound, pool()], [node('a', { requests: [{ pool: 'bnak', family: 4, addresses: 1 }] })]),
  );
  assert.equal(typo.shortages[0]?.reason, 'there is no pool bnak');
});

test('limits of the pool and of the node hold', () => {
  const full = segment('10.0.0.0/28');
  const dry = node('a', {
    segments: [full],
    reports: [report(full, { used: 16 })],
    requests: [{ family: 4, addresses: 1 }],
  });
  const capped = plan(world([pool({ expansion: { low: 4, high: 16, min: 0, max: 16, step: 1 } })], [dry]));
  assert.match(capped.shortages[0]?.reason ?? '', /expansion\.max is 16/);
  const blocks = plan(world([pool()], [dry], { maxBlocksPerNode: 1 }));
  assert.match(blocks.shortages[0]?.reason ?? '', /maxBlocksPerHost is 1/);
  assert.deepEqual([...capped.assignments, ...blocks.assignments], []);
});

test('a node grows by as many blocks as its pool says, and holds no fewer addresses than that', () => {
  const stepped = pool({ expansion: { low: 1, high: 64, min: 0, max: 1024, step: 3 } });
  assert.deepEqual(held(world([stepped], [node('a')])), {
    a: ['10.0.0.0/28 claimed 1', '10.0.0.16/28 claimed 1', '10.0.0.32/28 claimed 1'],
  });
  const expansion = { low: 1, high: 1, min: 40, max: 1024, step: 1 };
  assert.equal(held(world([pool({ expansion })], [node('a')])).a?.length, 3, '40 addresses are three blocks');

  const idle = ['10.0.0.0/28', '10.0.0.16/28', '10.0.0.32/28'].map((cidr) => segment(cidr));
  const resting = node('a', { segments: idle, reports: idle.map((one) => report(one)) });
  const later = (min: number) => {
    const given = world([pool({ expansion: { ...expansion, min } })], [resting]);
    return plan({ ...given, now: given.now + 120_000 }, plan(given).idle).assignments;
  };
  assert.deepEqual(later(40), [], 'none of them is too many');
  assert.equal(later(32)[0]?.segments.filter(({ state }) => state === 'releasing').length, 1);
});

test('a write that may have been committed keeps its range from everybody else', () => {
  const given = world([pool()], [node('a')], { uncertain: [parsePrefix('10.0.0.0/28')] });
  assert.deepEqual(held(given), { a: ['10.0.0.16/28 claimed 1'] });
});

test('while the object of a node cannot be read nobody is given a block, and everything else goes on', () => {
  const claim = segment('10.0.0.0/28', { state: 'claimed' });
  const given = world([pool()], [node('a', { segments: [claim] }), node('b')], {
    unreadable: ['Cannot read NodeNetwork c'],
  });
  assert.deepEqual(held(given), { a: ['10.0.0.0/28 active 2'] });
  assert.match(
    plan(given).shortages[0]?.reason ?? '',
    /nobody knows which blocks are free: Cannot read NodeN/,
  );
});

test('an empty block is asked back at the second observation, drained, cooled, and only then free', () => {
  const used = segment('10.0.0.0/28');
  const empty = segment('10.0.0.16/28');
  const reports = [report(used, { used: 0 }), report(empty)];
  const before = world(
    [pool({ expansion: { low: 4, high: 16, min: 0, max: 99, step: 1 } })],
    [node('a', { segments: [used, empty], reports })],
  );
  const first = plan(before);
  assert.deepEqual(first.assignments, []);
  const second = plan({ ...before, now: before.now + before.shrinkAfter }, first.idle);
  const releasing = second.assignments[0]?.segments[1];
  assert.ok(releasing);
  assert.deepEqual([releasing.state, releasing.generation], ['releasing', 2]);

  const answered = (now: number, segments: Segment[], answer: Partial<SegmentReport>) =>
    plan({
      ...before,
      now,
      nodes: [node('a', { segments, reports: segments.map((each) => report(each, answer)) })],
    });
  const late = plan({
    ...before,
    nodes: [
      node('a', { segments: [used, releasing], reports: [report(used), report(empty, { drained: true })] }),
    ],
  });
  assert.deepEqual(late.assignments, [], 'an answer to an earlier generation moves nothing');
  const cooling = answered(before.now, [used, releasing], { drained: true }).assignments[0]?.segments[1];
  assert.equal(cooling?.state, 'cooling');
  const resting = [used, cooling as Segment];
  assert.deepEqual(answered(before.now + 59_000, resting, {}).assignments, []);
  assert.deepEqual(answered(before.now + 60_000, resting, {}).assignments[0]?.segments, [used]);
});

test('a block that came into use while it was asked back stays', () => {
  const kept = segment('10.0.0.0/28');
  const leaving = segment('10.0.0.16/28', { state: 'releasing', generation: 4 });
  const given = world(
    [pool()],
    [node('a', { segments: [kept, leaving], reports: [report(kept), report(leaving, { used: 1 })] })],
  );
  assert.deepEqual(held(given), { a: ['10.0.0.0/28 active 1', '10.0.0.16/28 active 5'] });
});

test('a node that is gone gives its segments back after they were seen to cool', () => {
  const gone = node('a', { present: false, segments: [segment('10.0.0.0/28')] });
  const [asked] = plan(world([pool()], [gone])).assignments[0]?.segments ?? [];
  assert.deepEqual([asked?.state, asked?.until], ['cooling', 1_060_000]);
  const nodes = [node('a', { ...gone, segments: asked ? [asked] : [] }), node('b')];
  // The write that began it took so long to arrive that its time is over when it is first seen.
  const seen = plan(world([pool()], nodes, { now: 1_061_000 }));
  assert.deepEqual(
    seen.assignments.map((each) => each.node),
    ['b'],
  );
  const later = plan(world([pool()], nodes, { now: 1_121_000 }), seen.idle);
  assert.deepEqual(
    later.assignments.map((each) => [each.node, each.segments.length]),
    [
      ['a', 0],
      ['b', 1],
    ],
  );
});

test('a clock that was set back lets segments cool once more, not for as long as it was wrong', () => {
  const cooling = segment('10.0.0.0/28', { state: 'cooling', generation: 2, until: 9_000_000 });
  const given = world([pool()], [node('a', { present: false, segments: [cooling] })]);
  const before = plan({ ...given, now: 8_900_000 }).idle;
  const { idle, assignments } = plan(given, before);
  assert.deepEqual(assignments, []);
  assert.deepEqual(plan({ ...given, now: given.now + 60_000 }, idle).assignments[0]?.segments, []);
});

test('a node that was deleted and made anew while its pods ran on keeps their segment', () => {
  const cooling = segment('10.0.0.0/28', { state: 'cooling', generation: 4, until: 900_000 });
  const states = (reports: SegmentReport[]) => held(world([], [node('a', { segments: [cooling], reports })]));
  assert.deepEqual(states([]), {}, 'nobody knows yet');
  assert.deepEqual(
    states([report(cooling, { generation: 3, used: 0 })]),
    {},
    'nobody has answered this state',
  );
  assert.deepEqual(states([report(cooling, { used: 2 })]), { a: ['10.0.0.0/28 active 5'] });
  assert.deepEqual(states([report(cooling)]), { a: [] });
});

test('a pool without cool-down gives the agent of a deleted node time to object all the same', () => {
  const gone = node('a', { present: false, segments: [segment('10.0.0.0/28')] });
  const given = world([pool({ cooldownSeconds: 0 })], [gone]);
  const [cooling] = plan(given).assignments[0]?.segments ?? [];
  assert.equal(cooling?.until, given.now + 60_000);
  const later = node('a', { ...gone, segments: cooling ? [cooling] : [] });
  assert.deepEqual(held({ ...given, nodes: [later], now: given.now + 59_000 }), {});
});

test('an agent that answers for a node that is gone is asked again before its segment is free', () => {
  const cooling = segment('10.0.0.0/28', { state: 'cooling', generation: 4, until: 900_000 });
  const gone = node('a', { present: false, segments: [cooling], reports: [report(cooling, { used: 2 })] });
  const before = plan(world([pool()], [gone], { now: 900_000 })).idle;
  const [asked] = plan(world([pool()], [gone]), before).assignments[0]?.segments ?? [];
  assert.deepEqual([asked?.state, asked?.generation, asked?.until], ['cooling', 5, 1_060_000]);
  const silent = world([pool()], [node('a', { ...gone, segments: asked ? [asked] : [] })]);
  const seen = plan(silent);
  assert.deepEqual(seen.assignments, []);
  assert.deepEqual(plan({ ...silent, now: 1_060_000 }, seen.idle).assignments[0]?.segments, []);
});

test('ranges held twice are reported and left alone', () => {
  const given = world(
    [pool()],
    [
      node('a', { segments: [segment('10.0.0.0/27', { generation: 3 })] }),
      node('b', { segments: [segment('10.0.0.16/28')] }),
    ],
  );
  assert.deepEqual(plan(given).conflicts, ['10.0.0.0/27 of a overlaps 10.0.0.16/28 of b']);
  assert.deepEqual(held(given), {});
});

test("a range that a node uses without having been assigned it is nobody else's", () => {
  const lost = report(segment('10.0.0.0/28', { generation: 7 }), { used: 3 });
  const claim = segment('10.0.0.0/28', { state: 'claimed' });
  const a = node('a', { reports: [lost] });
  assert.deepEqual(held(world([pool()], [a])), { a: ['10.0.0.16/28 claimed 1'] });
  const { b } = held(world([pool()], [a, node('b', { segments: [claim] })]));
  assert.ok(!b?.some((text) => text.startsWith('10.0.0.0/28')), 'a claim on it is given up');
  const taken = node('b', { segments: [segment('10.0.0.0/28')] });
  assert.deepEqual(plan(world([pool()], [a, taken])).conflicts, [
    '10.0.0.0/28 of a overlaps 10.0.0.0/28 of b',
  ]);
});

test('a range that a node uses that the cluster knows nothing of is kept until its agent has been asked', () => {
  const lost = report(segment('10.0.0.0/28', { generation: 7 }), { used: 3 });
  const unknown = node('a', { reports: [lost], present: false });
  const first = world([pool()], [unknown, node('b')]);
  assert.deepEqual(held(first), { a: ['10.0.0.0/28 cooling 8'], b: ['10.0.0.16/28 claimed 1'] });
  const [{ segments = [] } = {}] = plan(first).assignments;
  const asked = { ...unknown, segments };
  const later = (change: Partial<NodeView>, now: number, idle = plan(world([pool()], [asked])).idle) =>
    plan(world([pool()], [node('a', { ...asked, ...change })], { now }), idle);

  const [answer] = segments.map((one) => report(one, { used: 3 }));
  assert.ok(answer);
  const living = later({ reports: [answer] }, 1_090_000).assignments[0]?.segments ?? [];
  assert.deepEqual(
    living.map(({ state, generation }) => [state, generation]),
    [['cooling', 9]],
  );

  const dead = later({}, 1_090_000);
  assert.deepEqual(dead.assignments[0]?.segments, []);
  const after = later({ segments: [] }, 1_100_000, dead.idle);
  assert.deepEqual(after.assignments, [], 'last words are asked about once');
});

test('dual stack nodes get a block of each family', () => {
  const pools = [pool(), pool({ name: 'six', cidr: 'fd00::/64', blockSize: 122 })];
  assert.deepEqual(held(world(pools, [node('a')])), { a: ['10.0.0.0/28 claimed 1', 'fd00::/122 claimed 1'] });
});

test('a disabled pool gets back even the last block of a node, but none that is in use', () => {
  const idle = segment('10.0.0.0/28');
  const busy = segment('10.0.0.16/28');
  const nodes = [
    node('a', { segments: [idle], reports: [report(idle)] }),
    node('b', { segments: [busy], reports: [report(busy, { used: 1 })] }),
  ];
  const given = world([pool({ disabled: true })], nodes);
  const first = plan(given);
  const second = plan({ ...given, now: given.now + given.shrinkAfter }, first.idle);
  const asked = second.assignments.map(({ node: name, segments }) => [name, segments[0]?.state]);
  assert.deepEqual(asked, [['a', 'releasing']]);
});

test('a node gets blocks until it has the addresses it needs, reserved ones not counted', () => {
  const reserved = ['10.0.0.0/29', '10.0.0.8/30', '10.0.0.12/31'].map(parsePrefix);
  const { assignments } = plan(world([pool({ reserved })], [node('a')]));
  const segments = assignments[0]?.segments ?? [];
  assert.deepEqual(
    segments.map(({ cidr, reserved: parts = [] }) => [cidr, ...parts].map(formatPrefix)),
    [['10.0.0.0/28', '10.0.0.0/29', '10.0.0.8/30', '10.0.0.12/31'], ['10.0.0.16/28']],
    'two addresses are less than the low watermark',
  );
});

test('a block is asked back only if the node has enough without it, reserved addresses not counted', () => {
  const reserved = [parsePrefix('10.0.0.0/29')];
  const [one, two] = [segment('10.0.0.0/28', { reserved }), segment('10.0.0.16/28')];
  const given = (high: number) => {
    const expansion = { low: 4, high, min: 0, max: 1024, step: 1 };
    const idle = node('a', { segments: [one, two], reports: [report(one), report(two)] });
    return held(world([pool({ reserved, expansion })], [idle], { shrinkAfter: 0 }));
  };
  assert.deepEqual(given(8), { a: ['10.0.0.0/28 active 1', '10.0.0.16/28 releasing 2'] });
  assert.deepEqual(given(16), { a: ['10.0.0.0/28 releasing 2', '10.0.0.16/28 active 1'] });
  assert.deepEqual(given(17), {});
});

test('what a pool reserves later its segments say at once, and in the same generation', () => {
  const own = segment('10.0.0.0/28');
  const busy = node('a', { segments: [own], reports: [report(own, { used: 2 })] });
  const reserved = [parsePrefix('10.0.0.0/30')];
  const [assignment] = plan(world([pool({ reserved })], [busy])).assignments;
  assert.deepEqual(assignment?.segments, [{ ...own, reserved }]);
  const [back] = plan(world([pool()], [{ ...busy, segments: assignment?.segments ?? [] }])).assignments;
  assert.deepEqual(back?.segments, [own]);
});
