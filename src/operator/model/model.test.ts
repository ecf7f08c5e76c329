import assert from 'node:assert/strict';
import { before, mock, test } from 'node:test';
import fc from 'fast-check';
import type { ReleasePolicy } from '../../ipam/claim.ts';
import type { Cut } from '../../ipam/memoryFiles.rig.ts';
import type { IPPool } from '../../store/kinds/ipPool.ts';
import { Cluster } from './cluster.rig.ts';
import { FAULTS, type Fault } from './gatedStore.rig.ts';

/** `TOMBOLO_MODEL_RUNS=5000 node --import tsx --test src/operator/model/model.test.ts` looks further. */
const RUNS = Number(process.env.TOMBOLO_MODEL_RUNS ?? 80);

const NODES = ['a', 'b', 'c'];
const PODS = ['db-0', 'db-1'];

type Step =
  | { do: 'operate'; which: 0 | 1; calls: number; fault: Fault; order: number }
  | { do: 'restart operator'; which: 0 | 1 }
  | {
      do: 'join' | 'start' | 'kill' | 'burn' | 'switch off' | 'forget' | 'lose' | 'late writes land';
      node: string;
    }
  | { do: 'add' | 'remove'; node: string; count: number }
  | { do: 'hear'; node: string; count: number; answered: boolean }
  | { do: 'schedule'; node: string; pod: string; policy: ReleasePolicy; ttl: number | undefined }
  | { do: 'deal with claims'; node: string; changes: number; calls: number; fault: Fault; order: number }
  | {
      do: 'move';
      pod: string;
      to: string;
      policy: ReleasePolicy;
      gently: boolean;
      fault: Fault;
      order: number;
    }
  | { do: 'borrow'; node: string; count: number; fault: Fault; order: number }
  | { do: 'announce'; node: string }
  | { do: 'delete pod' | 'delete claim'; pod: string }
  | { do: 'scale'; replicas: number }
  | { do: 'tell'; node: string; fault: Fault }
  | { do: 'serve'; node: string; which: 0 | 1; fault: Fault }
  | { do: 'crash soon' | 'disk fails'; node: string; writes: number }
  | { do: 'crash at start'; node: string; writes: number }
  | { do: 'reboot'; node: string; cut: Cut }
  | { do: 'wait' | 'set the clock'; seconds: number }
  | { do: 'pool'; spec: Partial<IPPool['spec']> | 'deleted' };

async function perform(cluster: Cluster, step: Step): Promise<void> {
  if (!('node' in step)) return performOnCluster(cluster, step);
  const machine = cluster.machine(step.node);
  if (!['kill', 'reboot', 'burn', 'switch off', 'crash soon'].includes(step.do)) await machine.settle();
  switch (step.do) {
    case 'join':
      return cluster.join(step.node);
    case 'start':
      return machine.start();
    case 'kill':
      return machine.kill();
    case 'burn':
      return cluster.burn(step.node);
    case 'switch off':
      return cluster.switchOff(step.node);
    case 'forget':
      return cluster.forget(step.node);
    case 'lose':
      return cluster.lose(step.node);
    case 'late writes land':
      return machine.landLate();
    case 'add':
      return machine.add(step.count);
    case 'remove':
      return machine.remove(step.count);
    case 'hear':
      return machine.hear(step.count, step.answered);
    case 'schedule':
      return cluster.schedule(step.pod, step.node, step.policy, step.ttl);
    case 'deal with claims':
      return machine.deal(step.changes, step.calls, step.fault, step.order);
    case 'borrow':
      return cluster.borrow(step.node, step.count, step.fault, step.order);
    case 'announce':
      return machine.announce();
    case 'tell':
      return machine.tell(step.fault);
    case 'serve':
      return cluster.serve(step.node, step.which, step.fault);
    case 'crash soon':
      return machine.disk.crashAfter(step.writes);
    case 'crash at start':
      machine.kill();
      return machine.start(step.writes);
    case 'disk fails':
      return machine.disk.fail(step.writes);
    case 'reboot':
      machine.reboot(step.cut);
      return machine.start();
  }
}

async function performOnCluster(cluster: Cluster, step: Exclude<Step, { node: string }>): Promise<void> {
  switch (step.do) {
    case 'operate':
      return cluster.operate(step.which, step.calls, step.fault, step.order);
    case 'restart operator':
      cluster.operators[step.which].kill();
      return cluster.operators[step.which].start();
    case 'wait':
      return cluster.wait(step.seconds * 1000);
    case 'set the clock':
      return cluster.clock.jump(step.seconds * 1000);
    case 'pool':
      return cluster.change(step.spec);
    case 'move':
      return cluster.move(step.pod, step.to, step);
    case 'delete pod':
      return cluster.unschedule(step.pod);
    case 'delete claim':
      return cluster.disclaim(step.pod);
    case 'scale':
      return cluster.scale(step.replicas);
  }
}

const node = fc.constantFrom(...NODES);
const pod = fc.constantFrom(...PODS);
const policy = fc.constantFrom<ReleasePolicy>('Pod', 'Immutable', 'Never');
const usually = fc.integer({ min: 0, max: 3 }).map((number) => number > 0);
const few = fc.integer({ min: 1, max: 6 });
const which = fc.constantFrom(0 as const, 1 as const);
const fault = fc.oneof(
  { weight: 4, arbitrary: fc.constant<Fault>('none') },
  { weight: 1, arbitrary: fc.constantFrom(...FAULTS) },
);
const as = <T extends string>(what: T) => fc.constant(what);

const step: fc.Arbitrary<Step> = fc.oneof(
  {
    weight: 10,
    arbitrary: fc.record({
      do: as('operate'),
      which,
      calls: fc.integer({ min: 1, max: 24 }),
      fault,
      order: fc.nat(7),
    }),
  },
  { weight: 6, arbitrary: fc.record({ do: as('hear'), node, count: few, answered: usually }) },
  {
    weight: 6,
    arbitrary: fc.record({
      do: as('schedule'),
      node,
      pod,
      policy,
      ttl: fc.constantFrom(undefined, undefined, 20),
    }),
  },
  {
    weight: 8,
    arbitrary: fc.record({
      do: as('move'),
      pod,
      to: node,
      policy,
      gently: usually,
      fault,
      order: fc.nat(3),
    }),
  },
  {
    weight: 12,
    arbitrary: fc.record({
      do: as('deal with claims'),
      node,
      changes: fc.integer({ min: 0, max: 20 }),
      calls: fc.integer({ min: 1, max: 12 }),
      fault,
      order: fc.nat(3),
    }),
  },
  { weight: 6, arbitrary: fc.record({ do: as('borrow'), node, count: few, fault, order: fc.nat(3) }) },
  { weight: 2, arbitrary: fc.record({ do: as('announce'), node }) },
  {
    weight: 1,
    arbitrary: fc.record({ do: fc.constantFrom('delete pod' as const, 'delete claim' as const), pod }),
  },
  { weight: 1, arbitrary: fc.record({ do: as('scale'), replicas: fc.nat(PODS.length) }) },
  { weight: 6, arbitrary: fc.record({ do: as('tell'), node, fault }) },
  { weight: 6, arbitrary: fc.record({ do: as('serve'), node, which, fault }) },
  { weight: 6, arbitrary: fc.record({ do: as('add'), node, count: few }) },
  { weight: 4, arbitrary: fc.record({ do: as('remove'), node, count: few }) },
  { weight: 4, arbitrary: fc.record({ do: fc.constantFrom('join' as const, 'start' as const), node }) },
  {
    weight: 3,
    arbitrary: fc.record({
      do: fc.constantFrom('crash soon' as const, 'crash at start' as const, 'disk fails' as const),
      node,
      writes: fc.nat(3),
    }),
  },
  {
    weight: 2,
    arbitrary: fc.record({
      do: fc.constantFrom(
        'kill' as const,
        'burn' as const,
        'switch off' as const,
        'forget' as const,
        'lose' as const,
        'late writes land' as const,
      ),
      node,
    }),
  },
  {
    weight: 1,
    arbitrary: fc.record({
      do: as('reboot'),
      node,
      cut: fc.constantFrom<Cut>('nothing', 'half', 'all', 'hole'),
    }),
  },
  { weight: 1, arbitrary: fc.record({ do: as('restart operator'), which }) },
  { weight: 2, arbitrary: fc.record({ do: as('wait'), seconds: fc.constantFrom(2, 6, 31, 61) }) },
  {
    weight: 1,
    arbitrary: fc.record({ do: as('set the clock'), seconds: fc.constantFrom(-3600, -20, 20) }),
  },
  {
    weight: 1,
    arbitrary: fc.record({
      do: as('pool'),
      spec: fc.constantFrom(
        {},
        { disabled: true },
        { expansion: { low: 3, high: 8 } },
        { cooldownSeconds: 0 },
        { reserved: ['10.0.0.8/31', '10.0.0.0/32', '10.0.0.6/31', '10.0.0.16/29'] },
        'deleted' as const,
      ),
    }),
  },
);

async function run(steps: readonly Step[], then: (cluster: Cluster) => Promise<void>): Promise<void> {
  const cluster = new Cluster(NODES);
  try {
    await cluster.start();
    for (const name of NODES.slice(1)) await cluster.join(name);
    await cluster.heal(10);
    for (const each of steps) {
      await perform(cluster, each);
      await cluster.check();
    }
    await then(cluster);
  } finally {
    cluster.stop();
  }
}

/** Faults end, and nothing that they did lasts. */
async function recovers(cluster: Cluster): Promise<void> {
  await perform(cluster, { do: 'pool', spec: {} });
  for (const name of NODES) await cluster.join(name);
  await cluster.scale(PODS.length);
  await cluster.heal(60);
  await cluster.expectReached();
  for (const machine of cluster.machines.values()) {
    const before = machine.pods.size;
    await machine.add(1);
    await machine.settle();
    assert.equal(machine.pods.size, before + 1, `a pod on ${machine.name}, with every fault over`);
  }
  for (const name of PODS) await cluster.unschedule(name);
  await cluster.scale(0);
  for (const machine of cluster.machines.values()) await machine.remove(Number.POSITIVE_INFINITY);
  await cluster.heal(60);
  const kept = (await cluster.claims()).filter((claim) => !claim.endsWith('Never'));
  assert.deepEqual(kept, [], 'claims that nobody comes back for');
  for (const name of PODS) await cluster.disclaim(name);
  await cluster.heal(600);
  const left = await cluster.segments();
  assert.deepEqual(
    left,
    NODES.map((name) => ({ node: name, state: 'active' })),
    'without pods each node keeps one segment',
  );
}

before(() => {
  mock.method(Math, 'random', () => 0.5);
});

test('agents and operators that crash, stall and lose answers never give an address two live owners', async () => {
  const answered = new Map<string, number>();
  await fc.assert(
    fc.asyncProperty(fc.array(step, { minLength: 1, maxLength: 120, size: 'max' }), (steps) =>
      run(steps, async (cluster) => {
        for (const [how, count] of cluster.answered) answered.set(how, (answered.get(how) ?? 0) + count);
      }),
    ),
    { numRuns: RUNS, includeErrorInReport: true },
  );
  for (const how of ['own', 'own by claim', 'borrowed by claim', 'lent']) {
    assert.ok(
      (answered.get(how) ?? 0) > RUNS / 20,
      `${answered.get(how)} of ${RUNS} runs had addresses ${how}`,
    );
  }
  if (process.env.TOMBOLO_MODEL_RUNS) process.stdout.write(`# ${JSON.stringify([...answered])}\n`);
});

test('once the faults are over every node has addresses again, and gives back what it does not need', async () => {
  await fc.assert(
    fc.asyncProperty(fc.array(step, { minLength: 1, maxLength: 80, size: 'max' }), (steps) =>
      run(steps, recovers),
    ),
    { numRuns: Math.ceil(RUNS / 10), includeErrorInReport: true },
  );
});

test('whoever deletes the NodeNetwork and then the Node of pods that run takes nothing from them', async () => {
  const calm = { which: 0, fault: 'none', order: 0 } as const;
  const others: Step[] = [
    { do: 'wait', seconds: 70 },
    { do: 'operate', calls: 40, ...calm },
    { do: 'add', node: 'c', count: 6 },
    { do: 'serve', node: 'c', ...calm },
    { do: 'serve', node: 'c', ...calm },
  ];
  const gone: Step[] = [
    { do: 'add', node: 'b', count: 3 },
    { do: 'serve', node: 'b', ...calm },
    { do: 'lose', node: 'b' },
    { do: 'forget', node: 'b' },
  ];
  await run([...gone, ...others, ...others, ...others], async (cluster) => {
    assert.equal(cluster.machine('b').pods.size, 3);
    assert.notEqual(cluster.machine('c').pods.size, 0);
  });
});
