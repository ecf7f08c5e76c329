// Tools of other networks, and people, clear devices of what is not theirs: agents as they are built put it back.
import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';
import { eventually } from '../../src/eventually.rig.ts';
import { TestNamespaces } from './namespaces.ts';
import { NodesRig, type RigNode } from './nodesRig.ts';

const namespaces = new TestNamespaces('nodefilters');
type Pod = Awaited<ReturnType<RigNode['rig']['pod']>>;

/** How soon they are back: nobody is to notice more than a lost packet or two. */
const BACK_MS = 2_000;

const HOST_END = ['tb_host_ingress', 'tb_host_egress'];
const OVERLAY = ['tb_vxlan_in', 'tb_vxlan_out'];

describe('two nodes of an overlay whose devices somebody clears', () => {
  let rig: NodesRig;
  let pods: Pod[];

  before(async () => {
    rig = new NodesRig(namespaces, 'filt', [{ routing: 'overlay' }, { routing: 'overlay' }]);
    await rig.start();
    pods = await Promise.all([1, 2].map((number) => rig.node(number).rig.pod('pod')));
  });
  after(async () => {
    await rig?.remove();
    namespaces.close();
  });

  const run = (...words: string[]) => rig.node(1).rig.node.attempt('tc', ...words);
  const programsAt = (device: string): string[] =>
    (['ingress', 'egress'] as const).flatMap((direction) => {
      const { stdout } = run('filter', 'show', 'dev', device, direction);
      return [...stdout.matchAll(/ (tb_\w+) direct-action/g)].map(([, name = '']) => name);
    });
  /** Sees that they are gone: the agent, which is quicker than anybody looks, stands still meanwhile. */
  const clear = (device: string, words: readonly string[], programs: readonly string[]) => {
    const { pid } = rig.node(1).rig;
    process.kill(pid, 'SIGSTOP');
    try {
      const { status, stderr } = run(...words.map((word) => word.replace('DEVICE', device)));
      assert.equal(status, 0, stderr);
      assert.notDeepEqual(programsAt(device), programs);
    } finally {
      process.kill(pid, 'SIGCONT');
    }
  };
  const hostEnds = (): string[] =>
    [
      ...rig
        .node(1)
        .rig.node.run('ip', '-o', 'link')
        .matchAll(/(tbo[0-9a-f]{11})@/g),
    ].map(([, name = '']) => name);
  const back = (device: string, programs: readonly string[]) =>
    eventually(() => assert.deepEqual(programsAt(device), programs, device), BACK_MS);
  const reached = () => {
    const [here, there] = pods;
    for (const address of there?.addresses ?? []) {
      assert.equal(here?.namespace.pings(address), true, `the pod of the other node answers at ${address}`);
    }
  };

  for (const [what, words] of [
    ['the place for all filters', ['qdisc', 'delete', 'dev', 'DEVICE', 'clsact']],
    ['all filters of a side', ['filter', 'delete', 'dev', 'DEVICE', 'ingress']],
    ['the one filter', ['filter', 'delete', 'dev', 'DEVICE', 'egress', 'pref', '1']],
  ] as const) {
    test(`a pod's host end has its programs again after ${what} was deleted`, async () => {
      const [device = ''] = hostEnds();
      await back(device, HOST_END);
      clear(device, words, HOST_END);
      await back(device, HOST_END);
      reached();
    });

    test(`tbvxlan has its programs again after ${what} was deleted`, async () => {
      await back('tbvxlan', OVERLAY);
      clear('tbvxlan', words, OVERLAY);
      await back('tbvxlan', OVERLAY);
      reached();
    });
  }

  test('all of a hundred host ends have them again, and new pods come up meanwhile', async () => {
    const { rig: agent } = rig.node(1);
    for (let n = 0; n < 99; n++) await agent.pod(`crowd${n}`);
    const devices = hostEnds();
    assert.equal(devices.length, 100);
    for (const device of devices) run('qdisc', 'delete', 'dev', device, 'clsact');
    await agent.pod('late');
    await eventually(
      () =>
        assert.deepEqual(
          devices.filter((device) => programsAt(device).length < HOST_END.length),
          [],
        ),
      BACK_MS,
    );
    const told = agent.log.filter((line) => line.includes('taken off'));
    assert.ok(told.length > 0 && told.length < 30, `${told.length} lines tell of it`);
  });

  test('a program of somebody else beside ours, and its end, change nothing', async () => {
    const { log } = rig.node(1).rig;
    const [device = ''] = hostEnds();
    const lines = log.length;
    run('filter', 'add', 'dev', device, 'ingress', 'pref', '50', 'matchall', 'action', 'pass');
    run('filter', 'delete', 'dev', device, 'ingress', 'pref', '50');
    await new Promise((resolve) => setTimeout(resolve, 500));
    assert.deepEqual(programsAt(device), HOST_END);
    assert.deepEqual(
      log.slice(lines).filter((line) => line.includes('taken off') && line.includes(device.slice(3))),
      [],
    );
  });
});
