import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import type { IP } from '../address/ip.ts';
import {
  addressAt,
  contains,
  formatPrefix,
  overlaps,
  type Prefix,
  parsePrefix,
  samePrefix,
} from '../address/prefix.ts';
import { parseSelector } from '../selector/selector.ts';
import { plan } from './planner.ts';
import type { Pool } from './pool.ts';
import type { Assignment, Idle, NodeView, Request, Segment, SegmentReport } from './world.ts';

const POOL: Pool = {
  name: 'default',
  cidr: parsePrefix('10.0.0.0/26'),
  blockSize: 30,
  nodeSelector: parseSelector('all()'),
  open: true,
  disabled: false,
  reserved: ['10.0.0.8/31', '10.0.0.16/30'].map(parsePrefix),
  cooldownSeconds: 30,
  expansion: { low: 1, high: 3, min: 0, max: 64, step: 1 },
};

const NODES = ['a', 'b', 'c', 'd'];

/** A node's object in the store. */
interface Stored {
  version: number;
  present: boolean;
  segments: readonly Segment[];
  reports: readonly SegmentReport[];
  requests: readonly Request[];
}

/** An agent: what it has last read, and what its pods hold. */
interface Agent {
  segments: readonly Segment[];
  readonly pods: IP[];
  dry: boolean;
}

type Fault = 'none' | 'lost' | 'committed';

class Cluster {
  now = 1_000_000;
  readonly store = new Map<string, Stored>();
  readonly agents = new Map<string, Agent>(
    NODES.map((name) => [name, { segments: [], pods: [], dry: false }]),
  );

  join(name: string): void {
    if (this.store.has(name)) return;
    this.store.set(name, { version: 1, present: true, segments: [], reports: [], requests: [] });
  }

  living(name: string): boolean {
    return this.store.get(name)?.present === true;
  }

  stored(name: string): Stored {
    const stored = this.store.get(name);
    assert.ok(stored);
    return stored;
  }

  agent(name: string): Agent {
    const agent = this.agents.get(name);
    assert.ok(agent);
    return agent;
  }

  /** Compare-and-swap. @returns Whether the writer hears of success. */
  write({ node, segments }: Assignment, version: number, fault: Fault): 'yes' | 'no' | 'unknown' {
    const stored = this.stored(node);
    if (stored.version !== version) return 'no';
    if (fault !== 'lost') this.store.set(node, { ...stored, version: version + 1, segments });
    return fault === 'none' ? 'yes' : 'unknown';
  }

  /** The agent reads its segments, stops using what is asked back, and says what it sees. */
  sync(name: string): void {
    const stored = this.stored(name);
    const agent = this.agent(name);
    agent.segments = stored.segments;
    const reports = stored.segments.map(({ cidr, generation, state }) => {
      const used = agent.pods.filter((pod) => overlaps(cidr, { address: pod, length: 32 })).length;
      return { cidr, generation, used, pinned: false, drained: state === 'releasing' && used === 0 };
    });
    const requests: Request[] = agent.dry ? [{ family: 4, addresses: 1 }] : [];
    this.store.set(name, { ...stored, version: stored.version + 1, reports, requests });
  }

  add(name: string): void {
    const agent = this.agent(name);
    const usable = agent.segments.filter(({ state }) => state === 'active');
    const free = usable
      .flatMap(({ cidr, reserved = [] }) =>
        [0, 1, 2, 3]
          .map((index) => addressAt(cidr, index))
          .filter((address) => !reserved.some((prefix) => contains(prefix, address))),
      )
      .find((address) => !agent.pods.includes(address));
    agent.dry = free === undefined;
    if (free !== undefined) agent.pods.push(free);
  }

  /** No address has two live owners, and each lies in a segment that its node holds in the store. */
  check(): void {
    const owners = new Map<IP, string>();
    for (const [name, { pods }] of this.agents) {
      if (!this.living(name)) continue;
      for (const pod of pods) {
        assert.equal(
          owners.get(pod),
          undefined,
          `${formatPrefix({ address: pod, length: 32 })} has two owners`,
        );
        owners.set(pod, name);
        const home = this.stored(name).segments.find(({ cidr }) =>
          overlaps(cidr, { address: pod, length: 32 }),
        );
        assert.ok(
          home && home.state !== 'claimed' && home.state !== 'cooling',
          `a pod of ${name} lost its segment`,
        );
        assert.ok(!POOL.reserved.some((reserved) => contains(reserved, pod)));
      }
    }
  }
}

/**
 * An operator that may stop for any length of time between any two steps: it reads the nodes one by one, plans, and writes
 * the assignments one by one.
 */
function* operate(
  cluster: Cluster,
  order: readonly string[],
  nextFault: () => Fault,
): Generator<void, never> {
  let idle: Idle = new Map();
  for (;;) {
    yield;
    const versions = new Map<string, number>();
    const nodes: NodeView[] = [];
    for (const name of order.filter((each) => cluster.store.has(each))) {
      const { version, ...stored } = cluster.stored(name);
      versions.set(name, version);
      nodes.push({ name, labels: {}, ...stored });
      yield;
    }
    const planned = plan(
      {
        pools: [POOL],
        nodes,
        uncertain: [],
        unreadable: [],
        maxBlocksPerNode: 0,
        shrinkAfter: 60_000,
        now: cluster.now,
      },
      idle,
    );
    idle = planned.idle;
    for (const assignment of planned.assignments) {
      yield;
      cluster.write(assignment, versions.get(assignment.node) ?? 0, nextFault());
    }
  }
}

type Step =
  | { do: 'operate'; which: 0 | 1; times: number }
  | { do: 'join' | 'sync' | 'add' | 'remove' | 'die'; node: string }
  | { do: 'wait'; seconds: number };

const node = fc.constantFrom(...NODES);
const step: fc.Arbitrary<Step> = fc.oneof(
  {
    weight: 6,
    arbitrary: fc.record({
      do: fc.constant('operate' as const),
      which: fc.constantFrom(0 as const, 1 as const),
      times: fc.integer({ min: 1, max: 12 }),
    }),
  },
  {
    weight: 6,
    arbitrary: fc.record({ do: fc.constantFrom('sync' as const, 'add' as const, 'join' as const), node }),
  },
  { weight: 3, arbitrary: fc.record({ do: fc.constant('remove' as const), node }) },
  { weight: 1, arbitrary: fc.record({ do: fc.constant('die' as const), node }) },
  {
    weight: 2,
    arbitrary: fc.record({ do: fc.constant('wait' as const), seconds: fc.constantFrom(5, 31, 61) }),
  },
);

function perform(cluster: Cluster, operators: Generator<void, never>[], action: Step): void {
  switch (action.do) {
    case 'operate':
      for (let n = 0; n < action.times; n++) operators[action.which]?.next();
      return;
    case 'join':
      cluster.join(action.node);
      return;
    case 'sync':
      if (cluster.living(action.node)) cluster.sync(action.node);
      return;
    case 'add':
      if (cluster.living(action.node)) cluster.add(action.node);
      return;
    case 'remove':
      cluster.agent(action.node).pods.pop();
      return;
    case 'die': {
      if (!cluster.living(action.node)) return;
      const stored = cluster.stored(action.node);
      cluster.agent(action.node).pods.length = 0;
      cluster.store.set(action.node, { ...stored, version: stored.version + 1, present: false });
      return;
    }
    case 'wait':
      cluster.now += action.seconds * 1000;
  }
}

test('two operators that stop and go as they like never give an address two live owners', () => {
  const faults = fc.array(fc.constantFrom<Fault>('none', 'none', 'none', 'lost', 'committed'), {
    minLength: 1,
    maxLength: 40,
  });
  fc.assert(
    fc.property(fc.array(step, { minLength: 20, maxLength: 160 }), faults, (steps, given) => {
      const cluster = new Cluster();
      let next = 0;
      const fault = () => given[next++ % given.length] ?? 'none';
      const operators = [operate(cluster, NODES, fault), operate(cluster, NODES.toReversed(), fault)];
      for (const action of steps) {
        perform(cluster, operators, action);
        cluster.check();
      }
    }),
    { numRuns: 1000 },
  );
});

test('of two operators that claim one range for two nodes, neither gives it out', () => {
  const cluster = new Cluster();
  const [early, late] = [operate(cluster, NODES, () => 'none'), operate(cluster, NODES, () => 'none')];
  const run = (operator: Generator<void, never>, steps: number) => {
    for (let n = 0; n < steps; n++) operator.next();
  };
  cluster.join('b');
  run(late, 3); // has read b and decided, and stops before it writes
  cluster.join('a');
  run(early, 5); // has written its claim for a, and stops
  run(late, 1); // writes its claim for b
  const claims = ['a', 'b'].map((name) => cluster.stored(name).segments[0]);
  assert.ok(
    claims[0] && claims[1] && samePrefix(claims[0].cidr, claims[1].cidr),
    'both have claimed the same range',
  );
  for (let n = 0; n < 400; n++) {
    run(n % 3 === 0 ? late : early, 1);
    // An agent that writes its status all the time would make every write of the operators fail.
    for (const name of n % 25 === 0 ? ['a', 'b'] : []) {
      cluster.sync(name);
      cluster.add(name);
    }
    cluster.check();
  }
  assert.ok(
    ['a', 'b'].every((name) => cluster.agent(name).pods.length > 0),
    'both have addresses in the end',
  );
});

test('without faults every node that needs an address has one after a few rounds, and what is held and what is free add up', () => {
  const cluster = new Cluster();
  for (const name of NODES) cluster.join(name);
  const operator = operate(cluster, NODES, () => 'none');
  for (let round = 0; round < 20; round++) {
    for (const name of NODES) {
      cluster.sync(name);
      cluster.add(name);
      cluster.sync(name);
    }
    for (let n = 0; n < 12; n++) operator.next();
    cluster.check();
  }
  const held = NODES.flatMap((name) => cluster.stored(name).segments.map(({ cidr }) => cidr));
  assert.equal(held.length, 15, 'sixteen blocks less the one that is reserved whole');
  const apart = (cidr: Prefix) => held.every((other) => samePrefix(other, cidr) || !overlaps(other, cidr));
  assert.ok(held.every(apart));
  assert.ok(NODES.every((name) => cluster.agent(name).pods.length >= 12));
});
