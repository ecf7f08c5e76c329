import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { eventually } from '../interop/waiting.ts';
import { nextHopsOf } from './fabric.ts';
import { echo, lossOf, Stream } from './stream.ts';
import { type Pod, World } from './world.ts';

/** Blocks of four addresses: the fifth pod needs another one, and with one pod left one block is enough. */
const POOLS = { blockSize: 30, expansion: { low: 1, high: 3, min: 0, max: 64, step: 1 } };

/** Superfluous for a while, withdrawn, and told to be so. */
const RECLAIM_MS = 60_000;

let world: World;
let far: Pod;
const pods: Pod[] = [];
before(async () => {
  world = await World.start('rackssegments', { pools: () => POOLS });
  far = await world.pod('b1', 'server');
  await echo(far.namespace);
});
after(() => world.close());

const beyond = (count: number) => async () => (await world.segments('a1')).length > count;

test('a node that fills up gets another segment, announced without a loss to what is there', async (t) => {
  const had = await world.segments('a1');
  pods.push(await world.pod('a1', 'p0'));
  const [first] = pods;
  assert.ok(first);
  const stream = await Stream.start(first.namespace, far.address);
  for (let number = 1; number < 4 * had.length + 1; number++) pods.push(await world.pod('a1', `p${number}`));
  await eventually('another segment', beyond(had.length));
  await world.announced('a1');
  assert.ok(far.namespace.pings(pods.at(-1)?.address ?? ''), 'a pod out of the new one');
  const report = await stream.stop();
  t.diagnostic(lossOf(report));
  assert.equal(report.lost.length, 0);
});

test('a segment that is given back is withdrawn before it is free, and its neighbours stay', async (t) => {
  const [first, ...others] = pods;
  assert.ok(first);
  const before = await world.segments('a1');
  const stream = await Stream.start(first.namespace, far.address);
  for (const pod of others) await world.remove(pod);
  const states = () => world.assigned('a1');
  const free = await eventually(
    'a segment goes',
    async () => {
      const left = await states();
      return before.find((cidr) => !left.some((one) => one.cidr === cidr && one.state !== 'cooling'));
    },
    RECLAIM_MS,
  );
  for (const place of [world.fabric.spine.router, world.fabric.leaves[0].router, world.nodes.b1]) {
    assert.deepEqual(nextHopsOf(place.namespace, free), [], `nobody leads packets to ${free} any more`);
  }
  const report = await stream.stop();
  t.diagnostic(lossOf(report));
  assert.equal(report.lost.length, 0);
});
