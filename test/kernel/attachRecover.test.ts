import assert from 'node:assert/strict';
import { once } from 'node:events';
import { after, test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { type AttachmentKind, type AttachmentSpec, hostLinkName } from '../../src/attach/attachment.ts';
import { sweep } from '../../src/attach/detach.ts';
import { noPrograms } from '../../src/attach/podPrograms.ts';
import { writeSpec } from '../../src/attach/recordText.ts';
import { recover, strays } from '../../src/attach/recover.ts';
import { silentLog } from '../../src/log.ts';
import { openNetlink } from '../../src/netlink/socket.ts';
import { snapshot, specFor, TestNode } from './attachRig.ts';
import { TestNamespaces } from './namespaces.ts';

const namespaces = new TestNamespaces('attachrecover');
after(() => namespaces.close());

const VICTIM = fileURLToPath(new URL('attachRecoverVictim.ts', import.meta.url));
const ADDRESSES = ['10.0.0.7/24 via 10.0.0.254', 'fd00::7/64 via fd00::fe'];

/** A process of its own that attaches, and may die at a step; the signal that ended it. */
async function attachElsewhere(
  node: TestNode,
  specs: AttachmentSpec[],
  fatal: number | 'none',
): Promise<string | null> {
  const options = { stdio: ['pipe', 'inherit', 'inherit'] } as const;
  const words = ['--import', 'tsx', VICTIM, node.stateDir, String(fatal)];
  const child = node.at.start(process.execPath, words, { ...options, stdio: [...options.stdio] });
  child.stdin?.end(JSON.stringify(specs.map(writeSpec)));
  const [, signal] = await once(child, 'exit');
  return signal;
}

async function recoverAll(node: TestNode, later = 11_000): Promise<string[]> {
  const { records } = node;
  const hooks = { programs: noPrograms, records, log: silentLog, now: Date.now() + later };
  const undone = await node.at.inside(() => ({ done: recover(records.list().records, hooks) })).done;
  return undone.map(({ spec }) => spec.id);
}

const KINDS: AttachmentKind[] = [
  { kind: 'veth' },
  { kind: 'nic', device: { by: 'name', name: 'ens5' } },
  { kind: 'child', master: 'ens5', type: 'macvlan' },
];

for (const kind of KINDS) {
  test(`after a SIGKILL at any step of a ${kind.kind}, recovery leaves the node as it was`, async (t) => {
    const node = new TestNode(namespaces, `kill${kind.kind}`, t);
    node.plug('ens5');
    node.at.run('sh', '-ec', 'ip addr add 10.5.0.5/24 dev ens5; ip route add 10.55.0.0/16 via 10.5.0.1');
    const steps = await node.stepsOf(specFor(node.pod(), ADDRESSES, kind));
    const before = snapshot(node.at);
    for (const [number, step] of steps.entries()) {
      const spec = specFor(node.pod(), ADDRESSES, kind);
      assert.equal(await attachElsewhere(node, [spec], number), 'SIGKILL', step);
      assert.deepEqual(await recoverAll(node, 0), [], 'somebody may still be working on it');
      const undone = await recoverAll(node);
      // Killed before there was a record, nothing had been touched.
      assert.deepEqual(undone, step === 'write the record' ? [] : [spec.id], step);
      node.records.remove(spec.id);
      assert.deepEqual(snapshot(node.at), before, step);
    }
  });
}

test('host ends without a record are found, and swept away; those of others stay', async (t) => {
  const node = new TestNode(namespaces, 'stray', t);
  const [known, lost] = [specFor(node.pod(), ['10.1.0.2/32']), specFor(node.pod(), ['10.1.0.3/32'])];
  node.attach(known);
  node.attach(lost);
  node.records.remove(lost.id);
  node.at.run('ip', 'link', 'add', 'tbofriend', 'type', 'veth', 'peer', 'name', 'tbxfriend');
  const nl = node.at.inside(openNetlink);
  assert.deepEqual(strays(nl, node.records.list().records), [lost.id]);
  const hooks = { programs: noPrograms, records: node.records, log: silentLog };
  for (let times = 0; times < 2; times++) await node.at.inside(() => ({ done: sweep(lost, hooks) })).done;
  assert.deepEqual(strays(nl, node.records.list().records), []);
  assert.equal(node.at.attempt('ip', 'link', 'show', hostLinkName(known.id)).status, 0);
  assert.equal(node.at.attempt('ip', 'link', 'show', 'tbofriend').status, 0);
  nl.close();
});

test('one attachment that cannot be undone does not keep the others', async (t) => {
  const node = new TestNode(namespaces, 'stuck', t);
  const [stuck, loose] = [specFor(node.pod(), ['10.1.0.2/32']), specFor(node.pod(), ['10.1.0.3/32'])];
  for (const spec of [stuck, loose]) {
    node.attach(spec);
    node.records.write({ ...node.record(spec.id), state: 'detaching' });
  }
  const programs = {
    ...noPrograms,
    detach(id: string) {
      if (id === stuck.id) throw new Error('pin is busy');
    },
  };
  const { records } = node;
  const hooks = { programs, records, log: silentLog, now: Date.now() + 11_000 };
  const undone = await node.at.inside(() => ({ done: recover(records.list().records, hooks) })).done;
  assert.deepEqual(
    undone.map(({ spec }) => spec.id),
    [loose.id],
  );
});

test('two processes attach at the same time without disturbing each other', async (t) => {
  const node = new TestNode(namespaces, 'two', t);
  const before = snapshot(node.at);
  const specs = Array.from({ length: 16 }, (_, n) =>
    specFor(node.pod(), [`10.1.0.${n + 2}/32`, `fd01::${n + 2}/128`]),
  );
  const ended = await Promise.all([
    attachElsewhere(node, specs.slice(0, 8), 'none'),
    attachElsewhere(node, specs.slice(8), 'none'),
  ]);
  assert.deepEqual(ended, [null, null]);
  for (const spec of specs) node.check(spec.id);
  assert.ok(node.at.pings('10.1.0.17'));
  await Promise.all(specs.map(({ id }) => node.detach(id)));
  assert.deepEqual(snapshot(node.at), before);
});
